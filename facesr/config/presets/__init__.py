"""Bundled presets, as TOML files in this folder, and the scale that they are made for."""

DEFAULT_SCALE = 4
