"""Scores of restored images, and the pages and sheets that show them."""
