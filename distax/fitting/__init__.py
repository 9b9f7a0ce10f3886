"""Estimation off the grid: least-squares fits and posterior samples of the scene around one blob.

Arrays have lanes on their last axis: independent problems, such as starts, particles or images. A
processor's vector units work along this axis, so it has to be contiguous. Scenes of K targets are
`[K, 3, lanes]`: row and column in pixels from the window's central pixel, and intensity in counts.
"""
