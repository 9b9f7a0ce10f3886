"""Solvers of the sparse problem on the sub-pixel grid. They have no parameters to train."""
