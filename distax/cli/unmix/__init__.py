"""`distax unmix`: the command, and its answers as JSON, tables, figures and a report."""

from distax.cli.unmix.command import Unmix

__all__ = ["Unmix"]
