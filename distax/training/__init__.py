"""Training: configuration to checkpoints."""
