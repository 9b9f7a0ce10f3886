"""Networks that unmix a frame of a sequence from the frames around it."""
