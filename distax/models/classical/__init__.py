"""Solvers of the sparse problem on the grid, with nothing to train."""
