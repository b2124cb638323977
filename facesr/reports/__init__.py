"""Scores of restored images, and the HTML reports and contact sheets that show them."""
