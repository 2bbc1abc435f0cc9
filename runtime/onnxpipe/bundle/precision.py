"""The precisions of graphs: their names, their file names, which one to take, and why."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from onnxpipe.bundle.processor import kernels
from onnxpipe.errors import PrecisionError

#: Precision to the suffix of the file name. First what transformers.js and onnx-community write; O1 to O4 are
#: optimum's levels of optimisation (O4 in float16, for GPUs), the last are sentence-transformers' by the processor.
SUFFIXES = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_int8",
    "q8": "_quantized",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
    "q2": "_q2",
    "q2f16": "_q2f16",
    "q1": "_q1",
    "q1f16": "_q1f16",
    "optimized": "_optimized",
    "O1": "_O1",
    "O2": "_O2",
    "O3": "_O3",
    "O4": "_O4",
    "optimized_quantized": "_optimized_quantized",
    "qint8_avx512_vnni": "_qint8_avx512_vnni",
    "qint8_avx512": "_qint8_avx512",
    "quint8_avx2": "_quint8_avx2",
    "qint8_arm64": "_qint8_arm64",
}

#: The precisions whose weights and arithmetic are made for one processor, to the kernel that they are made for. On a
#: lesser one sums may overflow (int8 without VNNI) or be slow.
MADE_FOR = {"qint8_avx512_vnni": "VNNI", "qint8_avx512": "AVX512", "quint8_avx2": "AVX2", "qint8_arm64": "Arm"}

#: The same numbers by other names: O3 approximates GELU, so it is the last of float32.
_FP32 = ("fp32", "O2", "O1", "optimized", "O3")
_FP16 = ("fp16", "O4")
_INT8 = ("int8", "q8", "optimized_quantized", *MADE_FOR)

#: The order of "auto", best first: the fullest precision, then those with 8-bit weights, then those with fewer.
AUTO_ORDER = (*_FP32, *_FP16, *_INT8, "uint8", "q4f16", "q4", "bnb4", "q2f16", "q2", "q1f16", "q1")

#: What stands in for a precision that is not there; exporters differ in the names.
_STAND_INS = {"fp32": _FP32, "fp16": _FP16, "int8": _INT8, "q8": _INT8, "uint8": ("uint8", "quint8_avx2")}

_ALIASES = {
    "auto": "auto",
    "float32": "fp32",
    "float": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "quantized": "q8",
    "qint8": "int8",
    "quint8": "uint8",
    "int4": "q4",
    **{name.lower(): name for name in SUFFIXES},
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
    if last in _REFUSED:
        raise PrecisionError(f"dtype={text!r}: {_REFUSED[last]}")
    raise PrecisionError(
        f"dtype={text!r} is not known; known: {', '.join(('auto', *SUFFIXES))}; did you mean {_nearest(last)!r}?"
    )


def _nearest(name: str) -> str:
    """Guess which precision was meant: "8bit" is int8, "4-bit" q4; else the name that is spelt most like it."""
    bits = {"8": "int8", "4": "q4", "2": "q2", "1": "q1", "16": "fp16", "32": "fp32"}
    digits = "".join(char for char in name if char.isdigit())
    if "bit" in name and digits in bits:
        return bits[digits]
    return _ALIASES[difflib.get_close_matches(name, _ALIASES, 1, 0)[0]]


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
            parts = [part.partition("=") for part in dtype.split(",")]
            if not all(name.strip() and equals for name, equals, _ in parts):
                raise PrecisionError(f"dtype={dtype!r}: write GRAPH=PRECISION for each, with commas between")
            dtype = {name.strip(): value for name, _, value in parts}
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


@dataclass(frozen=True)
class Choice:
    """A precision that was chosen.

    Attributes:
        precision: its name.
        why: the reason, for people to read.
        ill_suited: whether it is made for a processor with other kernels.
    """

    precision: str
    why: str
    ill_suited: bool = False


def choose_precision(available: Collection[str], wanted: str) -> Choice | None:
    """Choose the available precision for the one wanted (canonical), or None.

    Of files made for processors, the one for the best kernel that this processor has goes first.
    """
    if wanted != "auto" and wanted in available:
        return Choice(wanted, "named by dtype")
    order = AUTO_ORDER if wanted == "auto" else _STAND_INS.get(wanted, ())
    made_for = [name for name in for_this_processor() if name in order]
    places = iter(made_for)  # they stand together in each order, and only change places with each other
    suited = [next(places) if name in MADE_FOR else name for name in order]
    found = next((name for name in suited if name in available), None)
    if found is None:
        return None
    kernel = MADE_FOR.get(found)
    if kernel is not None and kernel in kernels():
        return Choice(found, f"made for {kernel}, which this processor has")
    if kernel is not None:
        return Choice(found, f"made for {kernel}, which this processor lacks: it may be slower or less exact", True)
    return Choice(found, "the fullest there is" if wanted == "auto" else f"stands in for {wanted}")


def for_this_processor() -> list[str]:
    """List the precisions made for processors: those that suit this one, best first, then the others."""
    here = kernels()
    return sorted(MADE_FOR, key=lambda name: MADE_FOR[name] not in here)


def folder_precision(name: str) -> str | None:
    """Read the name of a folder as that of a precision, as in fp16/model.onnx; None if it is none."""
    return _ALIASES.get(name.lower()) if name.lower() not in ("auto", "float", "half", "optimized") else None


def split_stem(stem: str) -> tuple[str, str]:
    """Split a stem into graph name and precision: "model_q4f16" is ("model", "q4f16"), "model" is ("model", "fp32").

    Some write a dot or a hyphen, "kokoro-v1.0.int8", or large letters.
    """
    small = stem.lower()
    for precision, suffix in _LONGEST_FIRST:
        named = suffix[1:].lower()
        if suffix and small.endswith((f"_{named}", f".{named}", f"-{named}")) and len(stem) > len(suffix):
            return stem[: -len(suffix)], precision
    return stem, "fp32"


_LONGEST_FIRST = sorted(SUFFIXES.items(), key=lambda entry: -len(entry[1]))
