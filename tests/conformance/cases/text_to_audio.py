"""Calls of text-to-audio, as transformers documents TextToAudioPipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conformance.cases.common import Case, Floats, Generator, Keyed, Vocoder

TASK = "text-to-audio"
TEXT = "one dog"
TEXTS = [TEXT, "hello there, old friend", "ten"]

NO_BATCH = "transformers pads the recordings of a batch to one length"


def _speech(head: str, *, ctor: Mapping[str, Any], **kwargs: Any) -> tuple[Case, ...]:
    """The calls that every model takes; `kwargs` and `ctor` are what each call of this one needs."""

    def case(name: str, *args: object, core: bool = True, message: bool = True, **more: Any) -> Case:
        return Case(name, head, args, {**kwargs, **more}, ctor=ctor, core=core, message=message)

    return (
        case("text", TEXT),
        case("list", TEXTS),
        case("list of one", TEXTS[:1]),
        case("generator", Generator(TEXTS[:2])),
        case("dataset", Keyed([{"text": text} for text in TEXTS[:2]], "text")),
        Case(
            "batch_size 2",
            head,
            (TEXTS[:2],),
            {**kwargs, "batch_size": 2},
            ctor=ctor,
            core=True,
            reference=kwargs,
            why=NO_BATCH,
        ),
        Case("by its other name", head, (TEXT,), kwargs, ctor=ctor, core=True, task="text-to-speech"),
        Case("sampling_rate", head, (TEXT,), kwargs, ctor={**ctor, "sampling_rate": 12_345}, core=True),
        case("preprocess_params", TEXT, preprocess_params={"add_special_tokens": True}),
        case("number", 3, message=False),
        case("unknown argument", TEXT, speaker=3, message=False),
    )


def _one(head: str, name: str, *args: object, ctor: Mapping[str, Any] | None = None, **kwargs: Any) -> Case:
    return Case(name, head, args, kwargs, ctor=ctor or {}, core=True)


_STEADY = f"{TASK}+steady"
_VOCODER = {"vocoder": Vocoder()}
_SPEAKER = {"speaker_embeddings": Floats(1, 24)}

SPEECHT5 = (
    *_speech(_STEADY, ctor=_VOCODER, forward_params=_SPEAKER),
    *(
        _one(_STEADY, f"{name} {value}", TEXT, ctor=_VOCODER, forward_params={**_SPEAKER, name: value})
        for name, value in (("threshold", 0.9), ("maxlenratio", 3.0), ("minlenratio", 2.0))
    ),
    _one(_STEADY, "in generate_kwargs", TEXT, ctor=_VOCODER, generate_kwargs={**_SPEAKER, "maxlenratio": 3.0}),
    _one(
        _STEADY,
        "in both",
        TEXT,
        ctor=_VOCODER,
        forward_params={**_SPEAKER, "maxlenratio": 9.0},
        generate_kwargs={"maxlenratio": 2.0},
    ),
    _one(_STEADY, "another speaker", TEXT, ctor=_VOCODER, forward_params={"speaker_embeddings": Floats(1, 24, seed=1)}),
    Case("no speaker", _STEADY, (TEXT,), ctor=_VOCODER, core=True, message=False),
)

_QUIET = f"{TASK}+quiet"
_NO_LOOP = {"generate_kwargs": {"max_new_tokens": 3}}

VITS = (
    *_speech(_QUIET, ctor={}),
    Case("generate_kwargs", _QUIET, (TEXT,), _NO_LOOP, core=True, message=False),
    _one(_QUIET, "longer", "The quick brown fox jumps over the lazy dog."),
    _one(_QUIET, "letters that are not there", "déjà vu: 3 × 2!"),
)

VITS_SPEAKERS = (
    *_speech(_QUIET, ctor={}, forward_params={"speaker_id": 1}),
    *(_one(_QUIET, f"speaker {number}", TEXT, forward_params={"speaker_id": number}) for number in (0, 2)),
    _one(_QUIET, "no speaker", TEXT),
    Case("no such speaker", _QUIET, (TEXT,), {"forward_params": {"speaker_id": 3}}, core=True, message=False),
)

_GREEDY = {"do_sample": False, "max_new_tokens": 12}

MUSICGEN = (
    *_speech(TASK, ctor={}, generate_kwargs=_GREEDY),
    *(
        _one(TASK, f"guidance_scale {value}", TEXT, generate_kwargs={**_GREEDY, "guidance_scale": value})
        for value in (1.0, 2.5)
    ),
    _one(TASK, "forward_params", TEXT, forward_params=_GREEDY),
    _one(TASK, "in both", TEXT, forward_params=_GREEDY, generate_kwargs={"max_new_tokens": 7}),
    _one(TASK, "at construction", TEXT, ctor={"do_sample": False, "max_new_tokens": 9}),
)

_SHORT = {"do_sample": False, "fine_temperature": 1.0, "semantic_max_new_tokens": 12}

BARK = (
    *_speech(TASK, ctor={}, generate_kwargs=_SHORT),
    _one(TASK, "forward_params", TEXT, forward_params={**_SHORT, "semantic_max_new_tokens": 8}),
)

OF_FAMILY = {
    "speecht5": SPEECHT5,
    "vits": VITS,
    "vits_speakers": VITS_SPEAKERS,
    "musicgen": MUSICGEN,
    "musicgen-stereo": MUSICGEN[:4],
    "bark": BARK,
}
CASES: tuple[Case, ...] = ()
"""A text-to-audio model needs arguments of its own: no call suits all."""
