"""Find the tensors of an ONNX file whose data lie in other files, without the onnx package.

An ONNX file is a protobuf message; this reads just enough of the wire format
(https://protobuf.dev/programming-guides/encoding/) to walk every place where a tensor can stand: initializers, sparse
initializers, attributes, subgraphs, functions and training graphs (onnx/onnx.proto of ONNX 1.19). Weights inside the
file are stepped over, and so is every part without the word "location", the key that each reference has. Whatever a
well-behaved writer would not write is refused (tags and lengths above 32 bits or padded, field 0, groups), since ONNX
Runtime's own parser may see it differently.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onnxpipe.bundle.files import instead
from onnxpipe.errors import BundleError

#: Protobuf's own limits: a message has less than 2 GiB, and nests at most 100 deep.
_MOST_BYTES = (1 << 31) - 1
_MOST_DEPTH = 100
#: Real graphs have below a million; each costs about 0.2 µs.
_MOST_FIELDS = 20_000_000

#: Message to field number to the message in that field.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
#: Fields that may stand once. Protobuf merges repetitions, so that a reference could be dealt out over several.
_ONCE = {"model": {7}, "training": {1, 2}, "attribute": {5, 6, 22}, "sparse": {1, 2}}

#: The key that every reference to another file has.
_KEY = b"location"
_LONG = 1 << 14

_MANGLED = "the file is not a valid ONNX graph"


@dataclass(frozen=True)
class ExternalTensor:
    """A tensor whose data lie in another file.

    Attributes:
        name: the tensor's name.
        dims: its shape, as the file has it.
        data_type: ONNX's number of its type.
        entries: the reference as the file has it: "location", "offset", "length", "checksum", ...
    """

    name: str
    dims: tuple[int, ...]
    data_type: int
    entries: dict[str, str]


@dataclass
class _Tensor:
    name: str = ""
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    entries: dict[str, str] = field(default_factory=dict)
    external: bool = False


def external_tensors(path: Path) -> list[ExternalTensor]:
    """List every tensor of an ONNX file whose data lie in another file.

    Raises:
        BundleError: the file is damaged, or is not an ONNX file.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if not 0 < size <= _MOST_BYTES:
        raise BundleError(f"{path}: {_MANGLED}: it has {size} bytes")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(data).tensors()
    except (ValueError, IndexError) as error:
        raise _mangled(path, error) from None


def _mangled(path: Path, error: Exception) -> BundleError:
    """Make the error for a file that is no graph; where another file lies in its place, it says what that is."""
    with path.open("rb") as file:
        what = instead(file.read(1 << 10))
    return BundleError(f"{path}: {what}" if what else f"{path}: {_MANGLED}: {error}")


def operators(path: Path) -> frozenset[str]:
    """List the operators of an ONNX file's main graph (not of subgraphs inside nodes).

    Raises:
        BundleError: the file is damaged, or is not an ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(data).operators()
    except (ValueError, IndexError) as error:
        raise _mangled(path, error) from None


def graph_inputs(path: Path) -> tuple[str, ...]:
    """List the names of a graph's inputs.

    Raises:
        BundleError: the file is damaged, or is not an ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(_Walk(data).inputs())
    except (ValueError, IndexError) as error:
        raise _mangled(path, error) from None


@dataclass(frozen=True)
class Inside:
    """A tensor whose data are in the graph's own file: where it stands, as offsets of bytes.

    Attributes:
        start, stop: of the tensor as a field of the graph, its tag and length included.
        message: where the tensor alone starts.
        before: where the field of its data starts.
        first, last: of its data.
    """

    start: int
    stop: int
    message: int
    before: int
    first: int
    last: int


def weights_inside(data: mmap.mmap, least: int) -> tuple[tuple[int, int, int], list[Inside]]:
    """Find the main graph of an ONNX file, and its initializers with at least so many bytes of raw data.

    Args:
        data: the file.
        least: the fewest bytes of data.

    Returns:
        Where the graph's field starts, where its message starts, and where both stop; and the initializers in order.

    Raises:
        ValueError, IndexError: the file is damaged.
    """
    walk = _Walk(data)
    graphs = [(first, last) for number, wire, first, last in walk.fields(0, len(data)) if (number, wire) == (7, 2)]
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs")
    (first, last), found = graphs[0], []
    for number, wire, start, stop in walk.fields(first, last):
        if (number, wire) == (5, 2) and stop - start >= least:
            raw = [(low, high) for part, kind, low, high in walk.fields(start, stop) if (part, kind) == (9, 2)]
            if raw and raw[-1][1] - raw[-1][0] >= least:
                found.append(Inside(_field_start(start, stop), stop, start, _field_start(*raw[-1]), *raw[-1]))
    return (_field_start(first, last), first, last), found


def _field_start(first: int, last: int) -> int:
    """Find where a field starts whose message stands at these bytes: before its length, and its tag of one byte."""
    return first - 1 - max(1, -(-(last - first).bit_length() // 7))


class _Walk:
    """One pass over a file. `ValueError` and `IndexError` mean that it is mangled."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = _MOST_FIELDS

    def tensors(self) -> list[ExternalTensor]:
        found = []
        todo = [("model", 0, len(self._data), 0)]
        while todo:  # a stack of its own: hostile nesting must not meet Python's recursion limit
            kind, start, stop, depth = todo.pop()
            if depth > _MOST_DEPTH:
                raise ValueError(f"nested more than {_MOST_DEPTH} deep")
            if kind == "tensor":
                tensor = self._tensor(start, stop)
                if tensor is not None:
                    found.append(tensor)
                continue
            children, once = _CHILDREN[kind], _ONCE.get(kind, set())
            seen = set()
            for number, wire, first, last in self.fields(start, stop):
                child = children.get(number)
                if child is None:
                    continue
                if wire != 2:
                    raise ValueError(f"field {number} of a {kind} has wire type {wire}")
                if number in once:
                    if number in seen:
                        raise ValueError(f"field {number} of a {kind} stands twice")
                    seen.add(number)
                # Searching costs 1 ns a byte, so long parts (subgraphs, weights) are walked unsearched.
                if last - first > _LONG or self._data.find(_KEY, first, last) >= 0:
                    todo.append((child, first, last, depth + 1))
        return found

    def operators(self) -> frozenset[str]:
        return frozenset(self._texts(1, 4))

    def inputs(self) -> Iterator[str]:
        return self._texts(11, 1)

    def _texts(self, part: int, name: int) -> Iterator[str]:
        """Yield the texts in field `name` of the messages in field `part` of the main graph."""
        for child, wire, first, last in self.fields(0, len(self._data)):
            if (child, wire) != (7, 2):
                continue
            for number, kind, start, stop in self.fields(first, last):
                if (number, kind) == (part, 2):
                    fields = self.fields(start, stop)
                    yield from (
                        self._text(low, high) for field, form, low, high in fields if (field, form) == (name, 2)
                    )

    def _tensor(self, start: int, stop: int) -> ExternalTensor | None:
        tensor = _Tensor()
        for number, wire, first, last in self.fields(start, stop):
            if number == 1:
                tensor.dims += [first] if wire == 0 else self._packed(first, last)
            elif number == 2:
                tensor.data_type = first
            elif number == 8 and wire == 2:
                tensor.name = self._text(first, last)
            elif number == 13:
                if wire != 2:
                    raise ValueError("external_data has a wrong wire type")
                self._entry(tensor, first, last)
            elif number == 14:
                tensor.external = first == 1
        if not tensor.external and not tensor.entries:
            return None
        return ExternalTensor(tensor.name, tuple(tensor.dims), tensor.data_type, tensor.entries)

    def _entry(self, tensor: _Tensor, start: int, stop: int) -> None:
        key = value = ""
        for number, wire, first, last in self.fields(start, stop):
            if number in (1, 2) and wire == 2:
                text = self._text(first, last)
                key, value = (text, value) if number == 1 else (key, text)
        if key in tensor.entries:
            raise ValueError(f"a tensor's external_data has {key!r} twice")
        tensor.entries[key] = value

    def _text(self, start: int, stop: int) -> str:
        return self._data[start:stop].decode("utf-8")

    def _packed(self, start: int, stop: int) -> list[int]:
        values = []
        while start < stop:
            value, start = self._varint(start, stop)
            values.append(value)
        return values

    def fields(self, position: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (field number, wire type, first, last): the value in `first`, or the bounds of bytes."""
        data, left = self._data, self._left
        while position < stop:
            left -= 1
            if left < 0:
                raise ValueError(f"more than {_MOST_FIELDS} fields")
            tag = data[position]
            if tag < 128:
                position += 1
            else:
                tag, position = self._short(position, stop)
            wire = tag & 7
            if tag < 8:
                raise ValueError(f"field 0 at byte {position}")
            if wire == 2:
                size, position = self._short(position, stop)
                last = position + size
                if last > stop:
                    raise ValueError(f"cut off or overlapping at byte {position}")
                yield tag >> 3, 2, position, last
                position = last
            elif wire == 0:
                value, position = self._varint(position, stop)
                yield tag >> 3, 0, value, 0
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
                if position + size > stop:
                    raise ValueError(f"cut off at byte {position}")
                yield tag >> 3, wire, position, position + size
                position += size
            else:
                raise ValueError(f"wire type {wire} at byte {position}")
        self._left = left

    def _short(self, position: int, stop: int) -> tuple[int, int]:
        """Read a tag or a length: a number of 32 bits in as few bytes as hold it.

        Parsers differ in what they make of any other: protobuf drops the bits above 32, so that a tag could be that of
        another field for it than for us.
        """
        value, after = self._varint(position, stop)
        if value >> 32 or (after - position > 1 and not self._data[after - 1]):
            raise ValueError(f"a tag or a length of more than 32 bits, or padded, at byte {position}")
        return value, after

    def _varint(self, position: int, stop: int) -> tuple[int, int]:
        value = shift = 0
        while position < stop and shift < 70:
            byte = self._data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise ValueError(f"a number is cut off or too long at byte {position}")
