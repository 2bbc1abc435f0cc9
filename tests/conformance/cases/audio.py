"""What the cases of every audio task share: the recordings, and the ways of passing them."""

from __future__ import annotations

from typing import Any

from conformance.cases.common import BATCHES, Audio, Case, Generator, Keyed, PipeFeatureExtractor, case_of
from conformance.cases.images import at_construction
from zoo.audio.recordings import FILES, ODD, ORDINARY, SAME_LENGTH

SPEECH = Audio("speech")
RECORDINGS = [Audio(name) for name in ORDINARY]
MATES = [Audio(name) for name in (*SAME_LENGTH, *ORDINARY)]
ROWS = [{"audio": recording, "name": recording.name} for recording in RECORDINGS]

CORE_ODD = ("silence", "quiet", "brief")
"""Troublesome recordings that every family gets; the others are for the families of the full list."""

ALONE = "transformers pads the recordings of a batch with zeros that the model takes for audio"

__all__ = ["ALONE", "MATES", "RECORDINGS", "ROWS", "SPEECH", "at_construction", "errors", "inputs"]


def inputs(task: str, *, dicts: bool = True, **kwargs: Any) -> tuple[Case, ...]:
    """List every form of input that an audio task takes, and every kind of recording.

    Args:
        dicts: the task takes `{"raw": …, "sampling_rate": …}`.
        kwargs: what each call needs beside the recording.
    """
    case = case_of(task)

    def in_batches(name: str, recordings: Any, size: int, core: bool = False) -> Case:
        return Case(name, task, (recordings,), {**kwargs, "batch_size": size}, core=core, reference=kwargs, why=ALONE)

    forms = (
        case("array", SPEECH, core=True, **kwargs),
        case("float64", Audio("speech", "float64"), **kwargs),
        case("path", Audio("speech", "path"), core=True, **kwargs),
        case("bytes of a file", Audio("second", "bytes"), **kwargs),
        *(case(f"path, {name}", Audio(name, "path"), **kwargs) for name in FILES),
        case("list", RECORDINGS, core=True, **kwargs),
        case("list of paths", [Audio(name, "path") for name in ("stereo", "ogg")], **kwargs),
        case("list of one", RECORDINGS[:1], **kwargs),
        case("mixed list", [SPEECH, Audio("second", "path"), Audio("third", "bytes")], **kwargs),
        case("generator", Generator(RECORDINGS), **kwargs),
        case("dataset", Keyed(ROWS, "audio"), **kwargs),
        *(in_batches(f"batch_size {size}", MATES, size, core=size == 4) for size in BATCHES),
        in_batches("batches of a generator", Generator(MATES), 4),
        in_batches("batches of a dataset", Keyed([{"audio": recording} for recording in MATES], "audio"), 2),
        Case("own feature extractor", task, (SPEECH,), kwargs, ctor={"feature_extractor": PipeFeatureExtractor()}),
        *((*_dicts(task, **kwargs), case("tensor", Audio("speech", "tensor"), **kwargs)) if dicts else ()),
    )
    odd = (case(f"recording, {name}", Audio(name), core=name in CORE_ODD, **kwargs) for name in ODD)
    return (*forms, *odd)


def _dicts(task: str, **kwargs: Any) -> tuple[Case, ...]:
    case = case_of(task)
    rows = [{"audio": Audio(recording.name, "array dict")} for recording in RECORDINGS]
    return (
        case("dict", Audio("speech", "raw"), core=True, **kwargs),
        case("dict of datasets", Audio("second", "array dict"), **kwargs),
        *(case(f"dict, {name}", Audio(name, "raw"), **kwargs) for name in ("stereo", "telephone", "odd rate")),
        case("list of dicts", [Audio(name, "raw") for name in ORDINARY], **kwargs),
        case("dataset of dicts", Keyed(rows, "audio"), **kwargs),
        case("dict without a rate", {"raw": SPEECH}, **kwargs),
        case("dict without samples", {"sampling_rate": 16_000}, **kwargs),
    )


def errors(task: str, *, lists: bool = True, **kwargs: Any) -> tuple[Case, ...]:
    """List inputs that are not audio.

    Args:
        lists: a list with something else in it is refused as that is alone.
    """
    case = case_of(task)
    return (
        case("path of nothing", "no/such/recording.wav", message=False, core=True, **kwargs),
        case("broken file", Audio("speech", "broken"), message=False, core=True, **kwargs),
        case("number", 3, message=False, **kwargs),
        case("none", None, message=False, **kwargs),
        case("list of floats", Audio("speech", "list"), message=False, **kwargs),
        *((case("a list with a number", [SPEECH, 3], message=False, **kwargs),) if lists else ()),
    )
