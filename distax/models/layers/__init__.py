"""Layers that several models share: maps are [batch, height, width, channels]."""
