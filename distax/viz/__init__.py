"""Figures, notebook tables and the HTML report."""
