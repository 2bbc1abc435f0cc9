"""Calls of translation and translation_XX_to_YY, as transformers documents TranslationPipeline.

Languages, prefixes, forced tokens.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import Case, Generator, Keyed, ReturnType
from conformance.cases.text2text_generation import BATCHES, HEAD, IGNORED, LONG, NEW, TEXTS

_LANGUAGES = {"src_lang": "<src>", "tgt_lang": "<tgt>"}


def _case(name: str, *args: object, core: bool = False, message: bool = True, task: str = "", **kwargs: object) -> Case:
    """With the family's languages at the call, unless they are set to None."""
    merged = {key: value for key, value in {**NEW, **_LANGUAGES, **kwargs}.items() if value is not None}
    return Case(name, HEAD, args, merged, core=core, message=message, dropped=True, task=task)


def _at(name: str, ctor: dict[str, object], *args: object, core: bool = False, **kwargs: object) -> Case:
    return Case(name, HEAD, args or (TEXTS[0],), {**NEW, **kwargs}, ctor=ctor, core=core, dropped=True)


def _named(name: str, task: str, *args: object, core: bool = False, message: bool = True, **kwargs: object) -> Case:
    """A task that names its languages; none at the call."""
    without = {"src_lang": None, "tgt_lang": None}
    return _case(name, *(args or (TEXTS[0],)), core=core, message=message, task=task, **{**without, **kwargs})


CASES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("generator", Generator(TEXTS)),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text")),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("long and short in batches", [LONG, *TEXTS], batch_size=5),
    _at("languages at construction", _LANGUAGES, TEXTS, core=True),
    _at("languages at both", {"src_lang": "<tgt>", "tgt_lang": "<tgt>"}, **_LANGUAGES),
    _at("languages at construction and in batches", _LANGUAGES, TEXTS, batch_size=3),
    _case("other way round", TEXTS[0], src_lang="<tgt>", tgt_lang="<src>", core=True),
    _case("after the other way round", TEXTS[0]),
    _case("source alone", TEXTS[0], tgt_lang=None),
    _case("target alone", TEXTS[0], src_lang=None),
    _case("no language", TEXTS[0], src_lang=None, tgt_lang=None),
    _case("return_tensors", TEXTS[0], return_tensors=True, core=True),
    replace(
        _case("return_tensors in batches", TEXTS, return_tensors=True, batch_size=4),
        reference={**NEW, **_LANGUAGES, "return_tensors": True},
        why="an answer does not depend on its neighbours",
    ),
    _case("return_type", TEXTS[0], return_type=ReturnType("TENSORS")),
    _case("several sequences", TEXTS[:2], num_return_sequences=2, num_beams=3),
    _case("clean_up_tokenization_spaces", TEXTS, clean_up_tokenization_spaces=True),
    _case("greedy", TEXTS, num_beams=1, max_new_tokens=30),
    _case("truncation", LONG, truncation=True),
    _case("no_repeat_ngram_size", TEXTS, no_repeat_ngram_size=1),
    replace(
        _case("max_length", TEXTS, max_length=12, max_new_tokens=None),
        reference={**_LANGUAGES, "max_new_tokens": 11},
        why=IGNORED,
    ),
    _case("empty str", ""),
    _case("empty list", []),
    _case("unknown argument", TEXTS[0], max_new_tokenz=3, message=False),
)

NAMED = (
    _named("task with languages", "translation_en_to_fr"),
    _named("task with languages, list", "translation_en_to_fr", TEXTS, batch_size=2),
    _named("task with a prefix", "translation_en_to_de", TEXTS, num_beams=2),
    _named("task without a prefix", "translation_en_to_ko", TEXTS),
    _named("task and languages", "translation_en_to_fr", src_lang="<tgt>", tgt_lang="<src>"),
    _case("int", 3, message=False),
)
"""For the families that know these languages by these names, or need none; ours refuses unknown ones (see
`test_generation_pipelines`), 4.57 takes some for the unknown token."""
