"""The range of counts that networks made for photographs expect."""

FULL_SCALE = 255.0
"""The brightest pixel of an 8-bit image in counts."""
