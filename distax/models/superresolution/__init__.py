"""Super-resolution networks from images to the sub-pixel grid."""

FULL_SCALE = 255.0
"""Largest value in counts of the 8-bit photographs that these networks were designed for."""
