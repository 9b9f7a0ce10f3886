"""Reports: one HTML page that holds everything it shows."""

from distax.viz.report.page import Section, page
from distax.viz.report.pictures import Picture, frame_picture, image_pictures
from distax.viz.report.table import Column

__all__ = ["Column", "Picture", "Section", "frame_picture", "image_pictures", "page"]
