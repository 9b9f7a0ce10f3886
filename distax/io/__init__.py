"""Files of images, frames and sensors."""
