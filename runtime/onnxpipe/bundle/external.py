"""Find the files beside a graph that hold its weights, and check that they may be read."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from onnxpipe.bundle.files import check_inside, instead
from onnxpipe.bundle.graph_reader import ExternalTensor, external_tensors
from onnxpipe.bundle.precision import split_stem
from onnxpipe.errors import BundleError, ModelNotFoundError

#: Bits of an element by ONNX's number of its type (onnx.proto, TensorProto.DataType). Strings (8) cannot be external.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip

#: The precisions that run without a second copy of their weights, and the bytes above which that is worth its time.
_FLOATS, _LARGE = frozenset({"fp32", "fp16"}), 1_000_000_000
_MOST = (1 << 63) - 1
#: Axes that a tensor may have. The product of a million would take minutes.
_MOST_AXES = 64
_DRIVE = re.compile(r"^[A-Za-z]:")


def data_locations(graph: Path) -> list[str]:
    """List the names, relative to the graph's folder, of the files that hold its weights; sorted, without repetition.

    Raises:
        BundleError: the graph is damaged, or a name points out of its folder.
    """
    return sorted({_location(graph, tensor) for tensor in external_tensors(graph)})


def check_external(graph: Path, root: Path) -> dict[str, Path]:
    """Find the files that hold a graph's weights, and check that each may be read and is large enough.

    Args:
        graph: the .onnx file.
        root: the model's folder; data must lie inside it.

    Returns:
        The location as the graph has it to the file's path; empty if the weights are in the graph itself.

    Raises:
        BundleError: the graph is damaged; a file is missing, outside the folder, or shorter than the graph says.
    """
    check_inside(root, graph)
    files: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    for tensor in external_tensors(graph):
        location = _location(graph, tensor)
        if location not in files:
            files[location], sizes[location] = _file(graph, root, location)
        _check_range(graph, tensor, sizes[location])
    return files


def _location(graph: Path, tensor: ExternalTensor) -> str:
    location = tensor.entries.get("location", "")
    where = f"{graph}: the weights {tensor.name!r}"
    if not location:
        raise BundleError(f"{where} lie in another file, but the graph does not say in which")
    parts = location.split("/")
    if location.startswith("/") or "\\" in location or "\0" in location or _DRIVE.match(location) or ".." in parts:
        raise BundleError(f"{where} lie in {location!r}, outside the graph's folder; that is never right")
    # ONNX Runtime marks tensors that lie in its own memory with the location "*/_ORT_MEM_ADDR_/*" and takes the offset
    # for an address: from a file this would read any memory of the process.
    if "*" in location or "_ORT_MEM_ADDR_" in location:
        raise BundleError(f"{where} have the location {location!r}, which is not a file name")
    return location


def _file(graph: Path, root: Path, location: str) -> tuple[Path, int]:
    path = graph.parent / posixpath.normpath(location)
    try:
        check_inside(root, path)
    except ModelNotFoundError:
        raise BundleError(f"{graph} has its weights in {location!r}, and there is no such file beside it") from None
    status = path.stat()
    # A hard link shows no target that could be checked: an archive can hold one to any file of the disk it is unpacked
    # on, whose bytes would then be served as weights. Neither the Hub's cache nor an exporter makes them.
    if status.st_nlink > 1:
        raise BundleError(f"{path} is a hard link, so it may be a file from elsewhere: put a copy in its place")
    return path, status.st_size


def _check_range(graph: Path, tensor: ExternalTensor, size: int) -> None:
    where = f"{graph}: the weights {tensor.name!r}"
    offset = _number(where, tensor.entries, "offset", 0)
    bits = _BITS.get(tensor.data_type)
    if bits is None:
        raise BundleError(f"{where} have the type {tensor.data_type}, which cannot lie in another file")
    if len(tensor.dims) > _MOST_AXES:
        raise BundleError(f"{where} have {len(tensor.dims)} axes, more than {_MOST_AXES}")
    if any(dim > _MOST for dim in tensor.dims):
        raise BundleError(f"{where} have a negative dimension")
    elements = math.prod(tensor.dims)
    if elements * bits > _MOST:
        raise BundleError(f"{where} have the shape {tensor.dims}, more than any memory holds")
    needed = (elements * bits + 7) // 8
    length = _number(where, tensor.entries, "length", needed)
    if length != needed:
        raise BundleError(f"{where} have {needed} bytes by their shape, and {length} by their length")
    if offset + length > size:
        with (graph.parent / posixpath.normpath(tensor.entries["location"])).open("rb") as file:
            what = instead(file.read(1 << 10))
        if what:
            raise BundleError(f"{graph.parent / tensor.entries['location']}: {what}")
        raise BundleError(
            f"{where} lie at bytes {offset} to {offset + length} of {tensor.entries['location']!r}, which has {size}: "
            "the file is cut off or belongs to another graph"
        )


def _number(where: str, entries: Mapping[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise BundleError(f"{where} have the {key} {text!r}: not a number of bytes")
    return int(text)


def file_size(path: Path, root: Path) -> int:
    """Add up the bytes of a graph's file and of the files of its weights.

    Raises:
        BundleError: see `check_external`.
    """
    return path.stat().st_size + sum(each.stat().st_size for each in check_external(path, root).values())


def is_large_in_floats(path: Path, root: Path) -> bool:
    """Whether a graph has so many weights that a second copy of them counts, and runs without one.

    Kernels of smaller precisions need theirs packed.

    Raises:
        BundleError: see `check_external`.
    """
    return split_stem(path.stem)[1] in _FLOATS and file_size(path, root) > _LARGE
