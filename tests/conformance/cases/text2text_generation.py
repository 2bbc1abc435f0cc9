"""Calls of text2text-generation, as transformers documents Text2TextGenerationPipeline.

transformers 5 dropped the task: references are of 4.57. Where 4.57 ignores a `max_length` that the model's generation
config does not set, the reference gets the same length in new tokens: ours honours both, as 5.x does.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import (
    BATCHES,
    Case,
    Generator,
    Keyed,
    ReturnType,
    Settings,
    alone_in_reference,
    case_of,
    constructed,
)

HEAD = "seq2seq"
TEXTS = [
    "My name is Sarah Johansson and I live in London, near the old bridge over the Thames.",
    "Paris is the capital of France",
    "We love this movie: it is wonderful, funny and very well made!",
    "El niño vive en España 东京",
]
LONG = " ".join(["The food was good but the service was slow and the room was too noisy."] * 8)
NEW = {"max_new_tokens": 14}
IGNORED = "4.57 ignores max_length beside its own max_new_tokens"

_case = case_of(HEAD, NEW, dropped=True)
_at = constructed(HEAD, TEXTS[0], dropped=True)
_alone = alone_in_reference(HEAD, NEW, core=True, dropped=True)


def _length(name: str, *args: object, total: int, core: bool = False, **kwargs: object) -> Case:
    """`max_length=total`, of which the decoder's start is one."""
    reference = {**kwargs, "max_new_tokens": total - 1}
    given = {**kwargs, "max_length": total}
    return Case(name, HEAD, args, given, core=core, dropped=True, reference=reference, why=IGNORED)


SHAPES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("lists of texts", [TEXTS[:2], TEXTS[2:]]),
    _case("generator", Generator(TEXTS)),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text")),
    _case("more arguments are ignored", TEXTS[0], TEXTS[1]),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("long and short in batches", [LONG, TEXTS[1], TEXTS[0]], batch_size=3, core=True),
    _at("batch_size at construction", {"batch_size": 2}, TEXTS, **NEW),
    _case("empty str", "", core=True),
    _case("long", LONG),
    _case("to the end of the text", TEXTS, num_beams=1, max_new_tokens=40, core=True),
    _case("empty list", []),
)

ANSWERS = (
    _case("return_tensors", TEXTS[0], return_tensors=True, core=True),
    _case("return_tensors of a list", TEXTS, return_tensors=True, max_new_tokens=30),
    _case("return_tensors False", TEXTS[0], return_tensors=False),
    _alone("return_tensors in batches", TEXTS, return_tensors=True, max_new_tokens=30),
    _case("return_text False", TEXTS[0], return_text=False),
    _case("return_type TEXT", TEXTS[0], return_type=ReturnType("TEXT")),
    _case("return_type TENSORS", TEXTS[0], return_type=ReturnType("TENSORS")),
    _case("clean_up_tokenization_spaces", TEXTS, clean_up_tokenization_spaces=True, max_new_tokens=30),
    _case("several sequences", TEXTS[0], num_beams=3, num_return_sequences=3, core=True),
    _case("several sequences of a list", TEXTS, num_beams=3, num_return_sequences=2),
    _case("several sequences in batches", TEXTS, num_beams=3, num_return_sequences=2, batch_size=4),
    _case("several sequences, tensors", TEXTS[:2], num_beams=3, num_return_sequences=2, return_tensors=True),
    _case("truncation", LONG, truncation=True),
    _case("truncation only_first", LONG, truncation="only_first"),
)

LENGTHS = (
    _length("max_length", TEXTS[0], total=9, core=True),
    _length("max_length of a list", TEXTS, total=13, batch_size=2),
    _length("max_length and min_length", TEXTS, total=24, min_length=16),
    _case("max_new_tokens", TEXTS, max_new_tokens=5),
    _case("max_new_tokens and max_length", TEXTS, max_length=30, max_new_tokens=6),
    _case("min_length", TEXTS, min_length=10, core=True),
    _case("min_new_tokens", TEXTS, min_new_tokens=10),
    _at("max_new_tokens at construction", {"max_new_tokens": 6}),
    _at("max_new_tokens at both", {"max_new_tokens": 6}, max_new_tokens=9),
    _at("max_length at construction", {"max_length": 11}),
)

BEAMS = (
    _case("greedy", TEXTS, num_beams=1, core=True),
    *(_case(f"beams {n}", TEXTS, num_beams=n, max_new_tokens=24) for n in (2, 4, 6)),
    _case("the model's beams", TEXTS, max_new_tokens=24, core=True),
    *(_case(f"length_penalty {p}", TEXTS, num_beams=3, length_penalty=p, max_new_tokens=24) for p in (-1.0, 0.0, 2.5)),
    *(
        _case(f"early_stopping {stop}", TEXTS, num_beams=3, early_stopping=stop, max_new_tokens=24)
        for stop in (True, False, "never")
    ),
    _case("beams, several ends", TEXTS, num_beams=3, eos_token_id=[2, 300, 400, 500]),
    _case("beams, no end", TEXTS[0], num_beams=3, eos_token_id=-1, forced_eos_token_id=300),
)

PROCESSORS = (
    _case("repetition_penalty", TEXTS, repetition_penalty=1.7, core=True),
    _case("encoder_repetition_penalty", TEXTS, encoder_repetition_penalty=1.4, num_beams=1),
    _case("no_repeat_ngram_size", TEXTS, no_repeat_ngram_size=2, max_new_tokens=24, core=True),
    _case("encoder_no_repeat_ngram_size", TEXTS, encoder_no_repeat_ngram_size=2, max_new_tokens=24),
    _case("bad_words_ids", TEXTS, bad_words_ids=[[i] for i in range(300, 600)]),
    _case("suppress_tokens", TEXTS, suppress_tokens=list(range(300, 700))),
    _case("begin_suppress_tokens", TEXTS, begin_suppress_tokens=list(range(300, 900))),
    _case("sequence_bias", TEXTS, sequence_bias={(400,): 6.0, (400, 401): 20.0}),
    _case("forced_bos_token_id", TEXTS, forced_bos_token_id=400),
    _case("forced_eos_token_id", TEXTS, forced_eos_token_id=400),
    _case(
        "exponential_decay_length_penalty",
        TEXTS,
        exponential_decay_length_penalty=(3, 1.3),
        max_new_tokens=24,
        min_length=0,  # 4.57 gives NaN where the end is forbidden
    ),
    _case("renormalize_logits", TEXTS, renormalize_logits=True),
    _case("remove_invalid_values", TEXTS[0], remove_invalid_values=True),
    _case("decoder_start_token_id", TEXTS, decoder_start_token_id=300),
    _case("sampling, top_k 1", TEXTS, do_sample=True, top_k=1, num_beams=1, core=True),
    _case("stop_sequence", TEXTS, stop_sequence="the", max_new_tokens=30, core=True),
    _case("generation_config", TEXTS, generation_config=Settings({"max_new_tokens": 7, "num_beams": 2})),
    _case("generation_config alone", TEXTS[:1], generation_config=Settings({"max_new_tokens": 7}), max_new_tokens=None),
    replace(
        _case("prompt lookup", LONG, prompt_lookup_num_tokens=3, num_beams=1),
        reference={**NEW, "num_beams": 1},
        why="it finds what greedy search finds; 4.57 stumbles over a forced first token",
    ),
    _case("use_cache False", TEXTS[0], use_cache=False),
)

ERRORS = (
    _case("int", 3, message=False),
    _case("none", None, message=False),
    _case("dict", {"text": "x"}, message=False),
    _case("unknown argument", TEXTS[0], max_new_tokenz=3, message=False),
    _case("more sequences than beams", TEXTS[0], num_beams=2, num_return_sequences=3, message=False),
    _case("several greedy sequences", TEXTS[0], num_beams=1, num_return_sequences=2, message=False),
    _case("max_new_tokens 0", TEXTS[0], max_new_tokens=0, message=False),
    _case("bad early_stopping", TEXTS[0], num_beams=2, early_stopping="later", message=False),
    _case("repetition_penalty as an int", TEXTS[0], repetition_penalty=2, message=False),
    _case("temperature 0", TEXTS[0], do_sample=True, temperature=0.0, message=False),
)

CASES = (*SHAPES, *ANSWERS, *LENGTHS, *BEAMS, *PROCESSORS, *ERRORS)
