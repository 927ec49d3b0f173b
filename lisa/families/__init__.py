"""Families of dual-branch networks, one file each; base.py says what a family is and finds them."""
