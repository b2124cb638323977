"""Images: decoding, encoding, and converting between Pillow and arrays."""
