"""Conversion of weights of other toolkits."""

from distax.interop import grokcso

__all__ = ["grokcso"]
