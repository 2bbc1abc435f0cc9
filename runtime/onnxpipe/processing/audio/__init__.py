"""Load recordings, and convert them to the arrays of a model."""
