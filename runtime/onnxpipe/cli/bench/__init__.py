"""`onnxpipe bench`: time a model on this machine, write the figures, and compare them with earlier ones."""
