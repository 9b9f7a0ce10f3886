"""How programs run: errors, files, settings, batches, devices, processes."""
