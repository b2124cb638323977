"""Training: the loop, what it lowers, what moves the weights, and what a run leaves."""
