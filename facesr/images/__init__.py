"""Images between files, Pillow and arrays."""
