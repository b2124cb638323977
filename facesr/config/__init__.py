"""All options of facesr as frozen dataclasses: reading, merging and validating them. Free of torch."""
