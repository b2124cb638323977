"""The degradation model, which turns clean HQ images into the LQ images that networks restore."""
