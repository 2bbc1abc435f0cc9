"""What a case is, and the marks that stand for inputs which each library makes in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BATCHES = (1, 2, 4)


@dataclass(frozen=True)
class Generator:
    """A generator over these items."""

    items: Sequence[Any]


@dataclass(frozen=True)
class Keyed:
    """`KeyDataset` over these rows."""

    rows: Sequence[Mapping[str, Any]]
    key: str


@dataclass(frozen=True)
class KeyedPair:
    """`KeyPairDataset` over these rows."""

    rows: Sequence[Mapping[str, Any]]
    key: str
    pair: str


@dataclass(frozen=True)
class Squad:
    """`SquadExample` of this question and context."""

    question: str
    context: str


@dataclass(frozen=True)
class Settings:
    """`GenerationConfig` of these values."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Ids:
    """A tensor (transformers) or an array of these token ids."""

    values: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ReturnType:
    """A member of the pipeline's enumeration of answers: "TENSORS", "TEXT", "NEW_TEXT", "FULL_TEXT"."""

    name: str


@dataclass(frozen=True)
class Image:
    """A synthetic image of `zoo.vision.images`, passed in one of the forms that a pipeline takes.

    Args:
        form: "image" (PIL), "path", "base64", "data" (base64 with its prefix) or "array" (uint8, in RGB).
    """

    name: str
    form: str = "image"


@dataclass(frozen=True)
class Video:
    """The path of a synthetic video of `count` frames."""

    name: str
    count: int = 12


@dataclass(frozen=True)
class Audio:
    """A synthetic recording of `zoo.audio.recordings`, passed in one of the forms that a pipeline takes.

    What transformers would give to ffmpeg, or to torchaudio, the suite has decoded and resampled for it.

    Args:
        form: "array" (float32, mono, at the recording's own rate), "float64", "int16", "tensor", "list" (of floats),
            "one channel" (1, n), "channels" (2, n), "channels last" (n, 2), "three axes", "path", "bytes", "broken"
            (half a header), or a dict: "raw", "array dict" (as `datasets` has it, path included).
        extra: more entries of a dict.
    """

    name: str
    form: str = "array"
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Floats:
    """A tensor (transformers) or an array of float32 (rows, columns), drawn from a seed."""

    rows: int
    columns: int
    seed: int = 0


@dataclass(frozen=True)
class Vocoder:
    """The zoo's HiFi-GAN: a model (transformers) or the folder of its export."""


@dataclass(frozen=True)
class PipeFeatureExtractor:
    """A feature extractor of the case's model, loaded by the library itself."""


@dataclass(frozen=True)
class PipeImageProcessor:
    """An image processor of the case's model, loaded by the library itself."""


@dataclass(frozen=True)
class PipeTokenizer:
    """The pipeline's own tokenizer."""


@dataclass(frozen=True)
class Case:
    """One call: `pipeline(task, model, **ctor)(*args, **kwargs)`.

    In every text, `<>` stands for the mask token, `<src>` and `<tgt>` for the family's names of two languages.

    Args:
        head: one of `zoo.HEADS`, or for images and audio the task, with `+` and a name of `VARIANTS` of `zoo.vision`
            or `zoo.audio` behind it.
        task: the name given to `pipeline`, where it is not the suite's name of the task.
        core: run on every family, not only on the three of the full list.
        dropped: the reference is transformers 4.57 (recorded), because 5.x dropped the task or the argument.
        message: compare the error's message, not only its type. False where ours says more on purpose.
        reference: keyword arguments of the call that the reference gets instead of `kwargs`.
        why: the reason for `reference`.
    """

    name: str
    head: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    ctor: Mapping[str, Any] = field(default_factory=dict)
    core: bool = False
    dropped: bool = False
    message: bool = True
    reference: Mapping[str, Any] | None = None
    why: str = ""
    task: str = ""

    def __str__(self) -> str:
        return self.name


Make = Callable[..., Case]


def case_of(head: str, defaults: Mapping[str, Any] | None = None, *, dropped: bool = False) -> Make:
    """Return `case(name, *args, core=False, message=True, **kwargs)`: a call of a pipeline on `head`.

    Args:
        defaults: arguments of every call; None in `kwargs` takes one away.
        dropped: see `Case`.
    """
    defaults = defaults or {}

    def case(
        name: str, *args: object, core: bool = False, message: bool = True, head: str = head, **kwargs: object
    ) -> Case:
        merged = {
            key: value for key, value in {**defaults, **kwargs}.items() if value is not None or key not in defaults
        }
        return Case(name, head, args, merged, core=core, message=message, dropped=dropped)

    return case


def constructed(head: str, *text: str, dropped: bool = False) -> Make:
    """Return `at(name, ctor, *args, **kwargs)`: a call of a pipeline constructed with `ctor`, on `text` by default."""

    def at(name: str, ctor: Mapping[str, Any], *args: object, **kwargs: object) -> Case:
        return Case(name, head, args or text, kwargs, ctor=ctor, dropped=dropped)

    return at


def alone_in_reference(head: str, defaults: Mapping[str, Any], *, core: bool = False, dropped: bool = False) -> Make:
    """Return `alone(name, *args, **kwargs)`: a batch of four; the reference runs one by one.

    The reference's ids in a batch end in padding.
    """

    def alone(name: str, *args: object, **kwargs: object) -> Case:
        reference = {**defaults, **kwargs}
        why = "an answer does not depend on its neighbours"
        given = {**reference, "batch_size": 4}
        return Case(name, head, args, given, reference=reference, why=why, core=core, dropped=dropped)

    return alone
