"""Calls of image-to-text, as transformers documents ImageToTextPipeline.

transformers 5 dropped the task; its answers are those of 4.57.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import Case
from conformance.cases.images import MATES, PHOTO, PHOTOS, errors, inputs

TASK = "image-to-text"
NEW = {"max_new_tokens": 12}
ODD = ("grey", "rgba", "exif 6", "jpeg", "wide")
"""Troublesome images; all of them are in the cases of other tasks."""
BEAMS = {"num_beams": 3, "num_return_sequences": 2}


def _case(name: str, *args: object, core: bool = False, message: bool = True, **kwargs: object) -> Case:
    return Case(name, TASK, args, {**NEW, **kwargs}, core=core, dropped=True, message=message)


def _plain(name: str, *args: object, core: bool = False, message: bool = True, **kwargs: object) -> Case:
    return Case(name, TASK, args, kwargs, core=core, dropped=True, message=message)


def _is_new(case: Case) -> bool:
    return not case.name.startswith("image, ") or case.name.removeprefix("image, ") in ODD


CASES = (
    *(replace(case, dropped=True) for case in (*inputs(TASK, **NEW), *errors(TASK, **NEW)) if _is_new(case)),
    _plain("the model's own length", PHOTO, core=True),
    _case("beams", PHOTOS, generate_kwargs={"num_beams": 3}, core=True),
    _case("several sequences", PHOTO, generate_kwargs=BEAMS, core=True),
    _case("several sequences, list", PHOTOS, generate_kwargs=BEAMS),
    replace(
        _case("several sequences in batches", MATES, generate_kwargs=BEAMS, batch_size=4),
        reference={**NEW, "generate_kwargs": BEAMS},
        why="4.57 makes an answer of each sequence in a batch",
    ),
    _plain("length in generate_kwargs", PHOTO, generate_kwargs={"max_new_tokens": 5}),
    _plain("length twice", PHOTO, max_new_tokens=5, generate_kwargs={"max_new_tokens": 5}),
    _case("generate_kwargs", PHOTOS, generate_kwargs={"min_new_tokens": 6, "no_repeat_ngram_size": 1}),
    _case("prompt that is not a text", PHOTO, prompt=3, message=False),
    _case("loose parameter", PHOTO, num_beams=2, message=False, core=True),
    _case("unknown argument", PHOTO, max_new_tokenz=3, message=False),
    _case("unknown parameter", PHOTO, generate_kwargs={"num_beamz": 2}, message=False),
    _case("empty list", []),
    replace(_plain("length at construction", PHOTO), ctor={"max_new_tokens": 5}),
    replace(
        _plain("parameters at construction", PHOTO), ctor={"generate_kwargs": {"num_beams": 2, "max_new_tokens": 9}}
    ),
    replace(_case("parameters at both", PHOTO, generate_kwargs={"num_beams": 3}), ctor={"max_new_tokens": 7}),
)

NO_PROMPT = (_case("prompt", PHOTO, prompt="a photo of"),)
"""For the families that continue no text."""

PROMPT = (
    _case("prompt", PHOTO, prompt="a photo of", core=True),
    _case("prompt, list", PHOTOS, prompt="a photo of"),
    _case("prompt, beams", PHOTO, prompt="a photo of", generate_kwargs=BEAMS),
)
"""For the families that continue a text."""
