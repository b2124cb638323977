"""Training data: finding images, making pairs from them, and the order in which pairs are used."""
