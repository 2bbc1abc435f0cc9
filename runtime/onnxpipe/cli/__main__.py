"""`python -m onnxpipe.cli`."""

from onnxpipe.cli import main

if __name__ == "__main__":
    main(prog_name="onnxpipe")
