"""The degradation model: what turns a clean image into one to be restored."""
