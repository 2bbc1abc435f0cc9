"""The precisions of graphs: their names, their file names, and which one to take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from onnxpipe.errors import PrecisionError

#: Precision to the suffix of the file name, as in transformers.js and onnx-community.
SUFFIXES = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_int8",
    "q8": "_quantized",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
}

#: The order of "auto", best first: the fullest precision, then those with 8-bit weights, then those with 4.
AUTO_ORDER = ("fp32", "fp16", "int8", "q8", "q4f16", "q4", "uint8", "bnb4")

#: Both mean 8-bit weights; exporters differ in the name.
_TWINS = {"int8": "q8", "q8": "int8"}

_ALIASES = {
    "auto": "auto",
    "float32": "fp32",
    "float": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "quantized": "q8",
    "int4": "q4",
    **{name: name for name in SUFFIXES},
}

_REFUSED = {
    "bfloat16": "ONNX Runtime's CPU kernels have no bfloat16; use fp32 (same range, more digits) or fp16",
    "float64": "graphs are exported in fp32 at most; use fp32",
}
_REFUSED |= {"bf16": _REFUSED["bfloat16"], "double": _REFUSED["float64"], "fp64": _REFUSED["float64"]}


def canonical_dtype(name: object) -> str:
    """Find the precision of a name: "float16", `np.float16`, `torch.float16` are "fp16"; "auto" and None "auto".

    Takes strings, numpy dtypes and anything whose `str()` ends in a dtype's name, so torch is not needed.

    Raises:
        PrecisionError: no such precision here.
    """
    if name is None:
        return "auto"
    text = name.__name__ if isinstance(name, type) else str(name)
    last = text.strip().lower().rpartition(".")[2]
    if last in _ALIASES:
        return _ALIASES[last]
    known = ", ".join(("auto", *SUFFIXES))
    why = _REFUSED.get(last)
    raise PrecisionError(f"dtype={text!r}: {why}" if why else f"dtype={text!r} is not known; known: {known}")


@dataclass(frozen=True)
class Precisions:
    """The precisions in which a model's graphs are wanted: one for all, or one for each.

    Attributes:
        default: of graphs that have none of their own.
        of_graphs: graph name to precision.
    """

    default: str = "auto"
    of_graphs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, dtype: object) -> Precisions:
        """Read a `dtype`: a precision, `{"vision_encoder": "fp16", "decoder_model_merged": "q4"}`, or the same as a
        text, "vision_encoder=fp16,decoder_model_merged=q4". Graphs that are not named get "auto".

        Raises:
            PrecisionError: no such precision here.
        """
        if isinstance(dtype, cls):
            return dtype
        if isinstance(dtype, str) and "=" in dtype:
            dtype = dict(part.strip().split("=", 1) for part in dtype.split(",") if "=" in part)
        if isinstance(dtype, Mapping):
            return cls("auto", {str(graph): canonical_dtype(name) for graph, name in dtype.items()})
        return cls(canonical_dtype(dtype))

    def wanted(self, graph: str) -> str:
        """Get the precision of a graph."""
        return self.of_graphs.get(graph, self.default)

    def check(self, graphs: Iterable[str], where: str) -> None:
        """Refuse precisions of graphs that the model does not have.

        Raises:
            PrecisionError: one of them; the message lists the graphs.
        """
        known = sorted(graphs)
        for graph in self.of_graphs:
            if graph not in known:
                raise PrecisionError(f"dtype= names the graph {graph!r}, and {where} has {', '.join(known)}")


def pick(available: Collection[str], wanted: str) -> str | None:
    """Pick the available precision for the one wanted (canonical), or None."""
    if wanted == "auto":
        return next((name for name in AUTO_ORDER if name in available), None)
    if wanted in available:
        return wanted
    twin = _TWINS.get(wanted)
    return twin if twin in available else None


def split_stem(stem: str) -> tuple[str, str]:
    """Split a stem into graph name and precision: "model_q4f16" is ("model", "q4f16"), "model" is ("model", "fp32")."""
    for precision, suffix in SUFFIXES.items():
        if suffix and stem.endswith(suffix) and len(stem) > len(suffix):
            return stem[: -len(suffix)], precision
    return stem, "fp32"
