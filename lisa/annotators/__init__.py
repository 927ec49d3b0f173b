"""Annotators turn an image into a condition map; each file here adds its own, with its knobs as data."""
