"""The version of distax."""

__version__ = "0.1.0"
