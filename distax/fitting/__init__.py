"""Estimation off the grid: the imaging model around one blob, its fits and its posterior.

Everything here works on lanes: arrays whose last axis runs over independent problems (starts,
particles, images), because a processor's vector units want that axis contiguous. A scene of K
targets is `[K, 3, lanes]`: row and column in pixels from the window's central pixel, and
intensity in counts.
"""
