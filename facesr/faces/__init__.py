"""Faces in photographs: finding them, cutting them out upright for a network, and pasting them back."""
