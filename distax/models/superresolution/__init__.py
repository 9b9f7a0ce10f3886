"""Super-resolution networks of the field, from images to a finer grid."""

FULL_SCALE = 255.0
"""The brightest value in counts of the 8-bit photographs that these networks were made for."""
