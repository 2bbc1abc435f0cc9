"""`onnxpipe serve`."""
