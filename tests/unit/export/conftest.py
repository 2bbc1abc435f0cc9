"""Collect the exporter's tests where PyTorch is installed: an environment of the runtime alone has none of them."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
