"""Conversion of weights and files of other toolkits."""

from distax.interop import grokcso

__all__ = ["grokcso"]
