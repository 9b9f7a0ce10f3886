"""The physics: PSF, sensor, noise, targets, scenes, motion, the sub-pixel grid."""
