"""`python -m onnxpipe` is the `onnxpipe` command."""

from onnxpipe.cli import main

if __name__ == "__main__":
    main(prog_name="onnxpipe")
