"""Run a session with inputs and outputs that stay on its device: the memory behind a KV cache.

On the CPU such an array is numpy's own memory, which ONNX Runtime reads and writes in place; elsewhere it is ONNX
Runtime's, and operations outside of the graph (taking other rows) go through the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.device import CPU, CPU_PROVIDER, Device
from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.engine.session import Session

Array = NDArray[Any]


class DeviceArray:
    """An array in the memory of a device.

    Args:
        shape: its shape.
        dtype: its type.
        device: the device.

    Attributes:
        value: ONNX Runtime's handle.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, device: Device) -> None:
        self._set(np.zeros(tuple(shape), dtype), device)

    @classmethod
    def of(cls, array: Array, device: Device) -> DeviceArray:
        """Put an array on the device; on the CPU its memory is shared, not copied."""
        placed = cls.__new__(cls)
        placed._set(np.asarray(array, order="C"), device)
        return placed

    def _set(self, array: Array, device: Device) -> None:
        self.device = device
        self.shape, self.dtype = array.shape, array.dtype
        self._host = array if device.type != "cuda" else None
        kind, index = ("cuda", device.index or 0) if device.type == "cuda" else ("cpu", 0)
        self.value = import_onnxruntime().OrtValue.ortvalue_from_numpy(array, kind, index)

    def numpy(self) -> Array:
        """Get its content: on the CPU the memory itself, else a copy."""
        return self._host if self._host is not None else np.asarray(self.value.numpy())

    def select(self, rows: Array) -> DeviceArray:
        """Select rows, int64 (new rows,), as a new array."""
        return DeviceArray.of(self.numpy()[rows], self.device)

    def take(self, rows: Array, *, length: int, room: int) -> DeviceArray:
        """Select rows of a cache, as a new array.

        Args:
            rows: int64 (new rows,): the row that each new one copies.
            length: number of entries of the third axis that are copied.
            room: the size of the new third axis.
        """
        old = self.numpy()
        if length == room:
            return DeviceArray.of(old[rows, :, :length], self.device)
        new = np.zeros((len(rows), old.shape[1], room, *old.shape[3:]), old.dtype)
        new[:, :, :length] = old[rows, :, :length]
        return DeviceArray.of(new, self.device)

    def permute(self, rows: Array, *, length: int) -> None:
        """Reorder a cache in place: row i becomes row `rows[i]`. Only rows that move are copied."""
        moved = np.flatnonzero(rows != np.arange(len(rows)))
        if not len(moved):
            return
        memory = self.numpy()
        memory[moved, :, :length] = memory[rows[moved], :, :length]
        if self._host is None:
            self.value.update_inplace(memory)

    def put(self, row: int, other: DeviceArray, columns: Array) -> None:
        """Write the one row of another cache into a row of this one.

        Args:
            row: its number.
            other: the other cache.
            columns: int64 (entries of `other`,): where they go on the third axis.
        """
        memory = self.numpy()
        memory[row][:, columns] = other.numpy()[0]
        if self._host is None:
            self.value.update_inplace(memory)


class StateArray(DeviceArray):
    """A state that every row has once, of any shape behind the rows: it does not grow with the row's tokens."""

    def take(self, rows: Array, *, length: int, room: int) -> DeviceArray:
        """Select rows, whatever the length: see `DeviceArray.take`."""
        return StateArray.of(self.numpy()[rows], self.device)

    def permute(self, rows: Array, *, length: int) -> None:
        """Reorder whole rows in place: see `DeviceArray.permute`."""
        self._fill(self.numpy()[rows])

    def put(self, row: int, other: DeviceArray, columns: Array) -> None:
        """Write the one row of another state into a row of this one: see `DeviceArray.put`."""
        values = self.numpy()
        values[row] = other.numpy()[0]
        self._fill(values)

    def _fill(self, values: Array) -> None:
        if self._host is None:
            self.value.update_inplace(values)
        else:
            self._host[:] = values


class Binding:
    """Runs one session repeatedly, with arrays that stay on its device. For one thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._io = session.raw.io_binding()
        self._inputs: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}
        self._buffers: dict[str, DeviceArray] = {}
        self._own: set[str] = set()  # inputs whose memory is this binding's
        # other providers may copy an input when it is bound, and not when they run
        self._in_place = session.providers == (CPU_PROVIDER,)
        self._held: tuple[Mapping[str, DeviceArray], Mapping[str, DeviceArray]] = {}, {}

    def buffer(self, name: str, shape: Sequence[int]) -> DeviceArray | None:
        """Give memory on the host for a float32 output of `shape` and a last axis that the graph fixes.

        It is the same in every run while the shape stays, so that a large output is neither allocated nor copied. None
        if the graph leaves the last axis open.
        """
        spec = self._session.outputs[name]
        last = spec.shape[-1]
        if spec.dtype != np.float32 or not isinstance(last, int):
            return None
        whole = (*shape, last)
        if name not in self._buffers or self._buffers[name].shape != whole:
            self._buffers[name] = DeviceArray(whole, np.float32, CPU)
        return self._buffers[name]

    def hold(self, inputs: Mapping[str, DeviceArray], outputs: Mapping[str, DeviceArray]) -> None:
        """Bind what every run from now on reads from and writes to, besides the feeds and outputs of `run`.

        Mappings that were held last cost nothing: a step of a decoder finds all its caches bound. They must not change.
        """
        if inputs is not self._held[0]:
            self._bind_inputs(inputs)
        if outputs is not self._held[1]:
            self._bind_outputs(outputs)
        self._held = inputs, outputs

    def run(
        self, feeds: Mapping[str, Array | DeviceArray], outputs: Mapping[str, DeviceArray | None]
    ) -> dict[str, Array]:
        """Run the graph.

        Args:
            feeds: every input that is not held. A `DeviceArray` that was bound in the previous run costs nothing.
            outputs: the memory that each wanted output is written to; None for the host. The same names in every run.

        Returns:
            The outputs that go to the host, float16 as float32.

        Raises:
            ValueError, RuntimeError, RunTimeoutError: as `Session.run`.
        """
        self._bind_inputs(feeds)
        self._bind_outputs(outputs)
        self._session.run_bound(self._io, feeds)
        fetched = [name for name, target in outputs.items() if target is None]
        if not fetched:
            return {}
        values = dict(zip(self._outputs, self._io.get_outputs(), strict=True))
        return {name: _full(values[name].numpy()) for name in fetched}

    def _bind_inputs(self, feeds: Mapping[str, Array | DeviceArray]) -> None:
        for name, value in feeds.items():
            if not isinstance(value, DeviceArray):
                self._put(name, value)
            elif self._inputs.get(name) is not value:
                self._io.bind_ortvalue_input(name, value.value)
                self._inputs[name] = value
                self._own.discard(name)

    def _put(self, name: str, value: Array) -> None:
        """Feed an array of the host. One of the same shape as before goes into memory that stays bound, if it can."""
        array, before = self._session.fit(name, value), self._inputs.get(name)
        if name in self._own and self._inputs[name].shape == array.shape:
            self._inputs[name].numpy()[...] = array
            return
        again = isinstance(before, np.ndarray) and before.shape == array.shape and self._in_place
        if not again and not self._session.inputs[name].optional:
            self._own.discard(name)
            self._inputs[name] = np.ascontiguousarray(array)
            self._io.bind_cpu_input(name, self._inputs[name])
            return
        # inputs with a default come here at once: ONNX Runtime binds no arrays of numpy to them
        own = DeviceArray.of(np.array(array, order="C"), CPU)
        self._io.bind_ortvalue_input(name, own.value)
        self._inputs[name] = own
        if self._in_place:
            self._own.add(name)

    def _bind_outputs(self, outputs: Mapping[str, DeviceArray | None]) -> None:
        for name, target in outputs.items():
            if target is None:
                self._io.bind_output(name, "cpu")  # a new one each time: its shape may have changed
            elif self._outputs.get(name) is not target:
                self._io.bind_ortvalue_output(name, target.value)
            self._outputs[name] = target


def _full(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == np.float16 else array
