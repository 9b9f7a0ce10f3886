"""Weights of GrokCSO, the toolkit DISTA-Net was published with, as distax models."""

from distax.interop.grokcso.checkpoint import read_arrays, read_matrix
from distax.interop.grokcso.loading import load, names, sizes, unwrapped

__all__ = ["load", "names", "read_arrays", "read_matrix", "sizes", "unwrapped"]
