"""Reports: one HTML page that holds everything it shows."""

from distax.reports.page import Section, page
from distax.reports.pictures import Picture, frame_picture, image_pictures
from distax.reports.table import Column

__all__ = ["Column", "Picture", "Section", "frame_picture", "image_pictures", "page"]
