"""What a target of the fuzzer is, and the seeds of those that read one file of a model's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """One way in which bytes from outside come in.

    Attributes:
        name: the folder of its findings.
        seeds: makes a few small valid inputs; every one of them is accepted.
        mutate: makes an input from a seed and all seeds.
        run: reads the input; the folder is empty.
        refusals: the errors that may come out; a built-in type counts for itself alone, not for its subclasses.
        count: how many inputs an ordinary test run tries.
        cpu_seconds: the most work that one input may cause.
        memory: the most address space, in bytes, that the process may take beyond what it has after the seeds.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[Random, bytes, Sequence[bytes]], bytes]
    run: Callable[[bytes, Path], object]
    refusals: tuple[type[Exception], ...]
    count: int = 200
    cpu_seconds: int = 10
    memory: int = 1024 * MIB

    def refuses(self, error: BaseException) -> bool:
        """Whether an error is one that may come out."""
        own = tuple(each for each in self.refusals if each.__module__ != "builtins")
        return isinstance(error, own) or type(error) in self.refusals

    def input(self, seed: int, number: int, seeds: Sequence[bytes]) -> bytes:
        """Make the input of a number; the same one every time."""
        random = Random(f"{self.name} {seed} {number}")
        return self.mutate(random, random.choice(seeds), seeds)


def named(name: str, content: bytes) -> bytes:
    """Write an input that is one file of a folder: its name, a line end, and its content."""
    return name.encode() + b"\n" + content


def split(data: bytes) -> tuple[str, bytes]:
    """Read the name and the content back."""
    name, _, content = data.partition(b"\n")
    return name.decode(), content
