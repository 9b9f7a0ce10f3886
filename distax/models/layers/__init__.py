"""Layers shared by several models. Maps have shape [batch, height, width, channels]."""
