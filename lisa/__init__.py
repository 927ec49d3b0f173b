"""LISA Lab: visual-condition control with likelihood score alignment (arXiv 2606.27192)."""

__version__ = "0.1.0"
