"""Weights: finding, reading, checking and writing them. Free of torch until `load` is imported."""
