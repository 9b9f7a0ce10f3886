"""Datasets for TensorFlow Datasets (TFDS), one module or folder each."""
