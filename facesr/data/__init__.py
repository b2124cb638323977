"""Training data: what is there, how a pair is drawn from it, and in which order pairs are used."""
