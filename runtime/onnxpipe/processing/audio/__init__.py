"""Sound to the arrays of a model."""
