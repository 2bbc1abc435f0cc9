"""Find, fetch, check and describe a model folder (a bundle)."""

from onnxpipe.bundle.bundle import Bundle, open_bundle
from onnxpipe.bundle.config import AutoConfig, Config
from onnxpipe.bundle.exporter import load_exporter
from onnxpipe.bundle.hub import fetch
from onnxpipe.bundle.hub_options import HubKeywords, HubOptions
from onnxpipe.bundle.places import Place
from onnxpipe.bundle.precision import canonical_dtype

__all__ = [
    "AutoConfig",
    "Bundle",
    "Config",
    "HubKeywords",
    "HubOptions",
    "Place",
    "canonical_dtype",
    "fetch",
    "load_exporter",
    "open_bundle",
]
