"""Reports: self-contained HTML pages of targets, tables and pictures."""

from distax.viz.report.page import Column, Section, page
from distax.viz.report.view import View, frame_view, image_views

__all__ = ["Column", "Section", "View", "frame_view", "image_views", "page"]
