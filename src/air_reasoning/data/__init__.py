"""Building training data: the two-stage cold start."""
