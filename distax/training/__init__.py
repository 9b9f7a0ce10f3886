"""Training of models, from a configuration to checkpoints."""
