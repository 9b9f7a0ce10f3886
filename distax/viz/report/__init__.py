"""Reports: self-contained HTML pages of targets, tables and pictures."""

from distax.viz.report.page import Column, Section, page
from distax.viz.report.pictures import Picture, frame_picture, image_pictures

__all__ = ["Column", "Picture", "Section", "frame_picture", "image_pictures", "page"]
