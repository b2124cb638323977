"""Training: the loop, the losses, the optimisers, and the files of a run."""
