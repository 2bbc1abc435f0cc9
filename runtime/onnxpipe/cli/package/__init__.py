"""`onnxpipe package`: write what another system needs to run a bundle: Docker, Triton."""
