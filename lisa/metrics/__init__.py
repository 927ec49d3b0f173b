"""Measures of how well images follow their condition."""
