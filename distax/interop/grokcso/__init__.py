"""Conversion of weights of GrokCSO, the toolkit DISTA-Net was published with, to distax models."""

from distax.interop.grokcso.checkpoint import read_arrays, read_matrix
from distax.interop.grokcso.loading import load, names, sizes, strip_prefix

__all__ = ["load", "names", "read_arrays", "read_matrix", "sizes", "strip_prefix"]
