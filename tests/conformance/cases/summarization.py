"""Calls of summarization, as transformers documents SummarizationPipeline.

The key, the model's parameters for the task, its prefix.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import Case, Generator, ReturnType, case_of, constructed
from conformance.cases.text2text_generation import BATCHES, HEAD, IGNORED, LONG, NEW, TEXTS

_TASK_LENGTH = 60
"""`max_length` of T5's task_specific_params and BART's generation config in the zoo."""

_case = case_of(HEAD, NEW, dropped=True)
_at = constructed(HEAD, TEXTS[0], dropped=True)


def _length(name: str, *args: object, total: int, core: bool = False, ask: bool = True, **kwargs: object) -> Case:
    """`max_length=total`, set by the call or by the model's parameters for the task."""
    reference = {**kwargs, "max_new_tokens": total - 1}
    given = {**kwargs, "max_length": total} if ask else kwargs
    return Case(name, HEAD, args, given, core=core, dropped=True, reference=reference, why=IGNORED)


CASES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("generator", Generator(TEXTS)),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("long", LONG, core=True),
    _case("truncation", LONG, truncation=True),
    _length("max_length, min_length", LONG, total=30, min_length=20, do_sample=False, core=True),
    _length("max_length below the input", TEXTS[1], total=40),
    _case("min_length above max_length", TEXTS[0], min_length=20, max_new_tokens=6),
    _case("return_tensors", TEXTS[0], return_tensors=True, core=True),
    _case("return_type", TEXTS[0], return_type=ReturnType("TENSORS")),
    _case("several sequences", TEXTS[:2], num_return_sequences=2, num_beams=3),
    _case("clean_up_tokenization_spaces", TEXTS[0], clean_up_tokenization_spaces=True),
    _case("greedy", TEXTS, num_beams=1, min_length=0),
    _case("no_repeat_ngram_size", TEXTS, no_repeat_ngram_size=1),
    _case("length_penalty", TEXTS, length_penalty=0.3, max_new_tokens=30),
    replace(
        _at("arguments at construction", {"max_new_tokens": 9, "num_beams": 2}),
        reference={"max_new_tokens": 9, "num_beams": 2},
        why="4.57 lets the config's parameters for the task overrule the constructor's",
    ),
    _at("arguments at both", {"max_new_tokens": 9, "num_beams": 2}, num_beams=3),
    _case("int", 3, message=False),
    _case("unknown argument", TEXTS[0], max_new_tokenz=3, message=False),
    _case("empty list", []),
)

LENGTH_OF_TASK = (_length("the task's own length", TEXTS, total=_TASK_LENGTH, ask=False),)
"""For the families whose configuration says 60 for this task."""
