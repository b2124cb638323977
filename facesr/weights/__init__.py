"""Weights: finding them, reading and checking them, writing them. Free of torch until `load` is imported."""
