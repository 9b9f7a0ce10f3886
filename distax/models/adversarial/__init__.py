"""Super-resolution networks that are trained against a discriminator."""
