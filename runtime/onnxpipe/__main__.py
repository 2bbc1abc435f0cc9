"""`python -m onnxpipe` is the `onnxpipe` command."""

from onnxpipe.cli import main

main()
