"""Faces in photographs: found, cut out upright for a network, and put back."""
