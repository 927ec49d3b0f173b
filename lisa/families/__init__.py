"""Dual-branch architectures, one file per kind; a file registers its families when it is imported."""
