"""Weights and files of other toolkits."""
