"""Support for running programs: errors, files, settings, batches, devices and processes."""
