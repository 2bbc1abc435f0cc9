"""`onnxpipe verify`: placeholder."""

import click


@click.command("verify")
def command() -> None:
    """Verify."""
