"""Iterative algorithms with learned steps: each layer is one iteration of a solver."""
