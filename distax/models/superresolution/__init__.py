"""Super-resolution networks of the field, from images to a finer grid."""
