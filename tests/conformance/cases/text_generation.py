"""Calls of text-generation, as transformers documents TextGenerationPipeline.

Values are compared, so almost nothing samples.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import (
    BATCHES,
    Case,
    Generator,
    Ids,
    Keyed,
    PipeTokenizer,
    ReturnType,
    Settings,
    alone_in_reference,
    case_of,
    constructed,
)

HEAD = "causal"
TEXTS = [
    "My name is Sarah Johansson and I live in London, near the old bridge over the Thames.",
    "Paris is",
    "We love this movie: it is wonderful",
    "El niño vive en España 东京",
]
LONG = " ".join(["The food was good but the service was slow and the room was too noisy."] * 6)
USER = {"role": "user", "content": "Where does Sarah live?"}
CHAT = [USER]
TURNS = [USER, {"role": "assistant", "content": "In London."}, {"role": "user", "content": "And Bob?"}]
PREFILLED = [USER, {"role": "assistant", "content": "Sarah lives in"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, USER]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Its name"}},
            "required": ["city"],
        },
    },
}
NEW = {"do_sample": False, "max_new_tokens": 12}

_case = case_of(HEAD, NEW)
_at = constructed(HEAD, TEXTS[0])
_alone = alone_in_reference(HEAD, NEW)


SHAPES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("keyword text_inputs", text_inputs=TEXTS[1]),
    _case("generator", Generator(TEXTS)),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text")),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("batches of a generator", Generator(TEXTS), batch_size=3),
    _at("batch_size at construction", {"batch_size": 2}, TEXTS, **NEW),
    _case("empty str", ""),
    _case("empty str without special tokens", "", add_special_tokens=False),
    _case("long", LONG, core=True),
    _case("long and short", [LONG, TEXTS[1], LONG[:90]], batch_size=3, core=True),
    _case("to the end of the text", TEXTS, max_new_tokens=60, core=True),
    _case("default length", TEXTS[1], max_new_tokens=None),
    _case("num_workers", TEXTS, num_workers=1),
)

ANSWERS = (
    _case("return_full_text", TEXTS[0], return_full_text=True),
    _case("new text", TEXTS, return_full_text=False, core=True),
    _at("new text at construction", {"return_full_text": False}, **NEW),
    _at("new text at both", {"return_full_text": False}, **NEW, return_full_text=True),
    _case("return_tensors", TEXTS[0], return_tensors=True, core=True),
    _case("return_tensors False", TEXTS[0], return_tensors=False),
    _alone("return_tensors in batches", TEXTS, return_tensors=True),
    _case("return_text", TEXTS[0], return_text=True),
    *(
        _case(f"return_type {name}", TEXTS[0], return_type=ReturnType(name))
        for name in ("TENSORS", "NEW_TEXT", "FULL_TEXT")
    ),
    *(
        _case(f"clean_up_tokenization_spaces {value}", TEXTS[2], clean_up_tokenization_spaces=value, max_new_tokens=30)
        for value in (True, False)
    ),
    _case("special tokens are kept", TEXTS, skip_special_tokens=False, max_new_tokens=40, core=True),
    _case("skip_special_tokens", TEXTS[0], skip_special_tokens=True),
    _case("several sequences", TEXTS[0], num_beams=3, num_return_sequences=3, core=True),
    _case("several sequences of a list", TEXTS[:2], num_beams=3, num_return_sequences=2),
    _case("several sequences in batches", TEXTS, num_beams=3, num_return_sequences=2, batch_size=4),
    _case("scores", TEXTS[1], return_dict_in_generate=True, output_scores=True, max_new_tokens=3, eos_token_id=-1),
    _case("dict without scores", TEXTS[1], return_dict_in_generate=True),
)

TOKENIZING = (
    _case("prefix", TEXTS[1], prefix="Once upon a time "),
    _at("prefix at construction", {"prefix": "Once "}, TEXTS[1], **NEW),
    _case("prefix and max_length", TEXTS[1], prefix="Once upon a time ", max_length=20, max_new_tokens=None),
    _case("prefix, empty text", "", prefix="Once upon a time "),
    _case("add_special_tokens", TEXTS[0], add_special_tokens=False, core=True),
    _case("special tokens", TEXTS[0], add_special_tokens=True),
    _case("truncation", LONG, truncation=True, max_length=30, max_new_tokens=8),
    _case("tokenizer_encode_kwargs", LONG, tokenizer_encode_kwargs={"truncation": True, "max_length": 5}),
    _case("padding", TEXTS[1], padding="max_length", tokenizer_encode_kwargs={"max_length": 24}),
    _case("hole", LONG, handle_long_generation="hole", max_new_tokens=100),
    _case("hole, nothing to cut", TEXTS[1], handle_long_generation="hole"),
    _case("hole too large", LONG, handle_long_generation="hole", max_new_tokens=128),
    replace(
        _case("hole, max_length", TEXTS[1], handle_long_generation="hole", max_length=40, max_new_tokens=None),
        reference={"do_sample": False, "max_length": 40},
        why="5.x forgets max_length here and counts its own 256 new tokens; nothing has to be cut",
    ),
    _case(
        "hole, max_length too small",
        LONG,
        handle_long_generation="hole",
        max_length=20,
        max_new_tokens=None,
        message=False,
    ),
)

CHATS = (
    _case("chat", CHAT, core=True),
    _case("chat of three turns", TURNS),
    _case("chat with a system message", SYSTEM),
    _case("tuple of messages", tuple(CHAT)),
    _case("chats", [CHAT, TURNS], core=True),
    _case("chats of one", [CHAT]),
    _case("chats in batches", [CHAT, TURNS, CHAT], batch_size=3),
    _case("generator of chats", Generator([CHAT, TURNS])),
    _case("generator of messages", Generator(TURNS)),
    _case("dataset of chats", Keyed([{"chat": CHAT}, {"chat": TURNS}], "chat")),
    _case("chat, new text", CHAT, return_full_text=False),
    _case("chat, tensors", CHAT, return_tensors=True),
    _case("chat, several sequences", CHAT, num_beams=2, num_return_sequences=2),
    _case("prefilled chat", PREFILLED, core=True),
    _case("prefilled chat, new text", PREFILLED, return_full_text=False),
    _case("prefilled chat is not continued", PREFILLED, continue_final_message=False),
    _case("last message continued", CHAT, continue_final_message=True),
    _case("extra keys in a message", [{**USER, "name": "Bob"}]),
    _case("tools", CHAT, tools=[TOOL]),
    _case("documents", CHAT, documents=[{"title": "One", "text": "Sarah lives in Rome."}]),
    _case("chat, template arguments", CHAT, tokenizer_encode_kwargs={"enable_thinking": False}),
    _case("chat, truncated", TURNS, tokenizer_encode_kwargs={"truncation": True, "max_length": 12}),
    _case("chat, special tokens asked", CHAT, add_special_tokens=True),
    _case("roles out of order", [USER, USER]),
    _case("second message without content", [USER, {"role": "assistant"}]),
)

STOPPING = (
    _case("max_length", TEXTS[1], max_length=14, max_new_tokens=None, core=True),
    _at("max_length at construction", {"max_length": 12}, TEXTS[1], do_sample=False),
    _case("max_length and max_new_tokens", TEXTS[1], max_length=9),
    _case("min_length", TEXTS, min_length=24, max_new_tokens=30, core=True),
    _case("min_new_tokens", TEXTS, min_new_tokens=20, max_new_tokens=30, core=True),
    _case("min above max", TEXTS[1], min_new_tokens=20, max_new_tokens=8),
    _case("another end", TEXTS, eos_token_id=300),
    _case("several ends", TEXTS, eos_token_id=[300, 301, 302, 400, 500, 600, 700], max_new_tokens=40),
    _case("no end", TEXTS, eos_token_id=-1, max_new_tokens=40),
    _alone("padding token", TEXTS, pad_token_id=7, return_tensors=True, max_new_tokens=40),
    _case("stop_sequence", TEXTS, stop_sequence="e", max_new_tokens=30, core=True),
    _case("stop_sequence list", TEXTS, stop_sequence=["ing", "a"], max_new_tokens=30),
    _case("stop_strings", TEXTS, stop_strings=["e", "xyz"], tokenizer=PipeTokenizer(), max_new_tokens=30),
    _case("stop_strings in batches", TEXTS, stop_strings="o", tokenizer=PipeTokenizer(), batch_size=4),
    _case("stop_strings across tokens", TEXTS, stop_strings=["a t", "er "], tokenizer=PipeTokenizer()),
    _case("stop_strings without tokenizer", TEXTS[0], stop_strings="e"),
    _case("max_time", TEXTS[0], max_time=1000.0),
    _case("no time", TEXTS[0], max_time=0.0),
)

PROCESSORS = (
    _case("repetition_penalty", TEXTS, repetition_penalty=1.7, max_new_tokens=30, batch_size=4, core=True),
    _case("repetition_penalty below one", TEXTS[0], repetition_penalty=0.6),
    _case("encoder_repetition_penalty", TEXTS[0], encoder_repetition_penalty=1.5),
    _case("no_repeat_ngram_size", TEXTS, no_repeat_ngram_size=2, max_new_tokens=40, core=True),
    _case("no_repeat_ngram_size 1", TEXTS[1], no_repeat_ngram_size=1, max_new_tokens=40),
    _case("encoder_no_repeat_ngram_size", TEXTS[0], encoder_no_repeat_ngram_size=1),
    _case("bad_words_ids", TEXTS, bad_words_ids=[[i] for i in range(300, 600)], max_new_tokens=20, core=True),
    _case("bad words of several tokens", TEXTS, bad_words_ids=[[i, i + 1] for i in range(300, 900)] + [[7, 8, 9]]),
    _case("sequence_bias", TEXTS, sequence_bias={(400,): 9.0, (500,): -5.0, (400, 401): 20.0}),
    _case("sequence_bias as a list", TEXTS[0], sequence_bias=[[[400], 9.0], [[400, 401], 20.0]]),
    _case("suppress_tokens", TEXTS, suppress_tokens=list(range(400, 800))),
    _case("begin_suppress_tokens", TEXTS, begin_suppress_tokens=list(range(300, 900))),
    _case("forced_bos_token_id", TEXTS[0], forced_bos_token_id=400),
    _case("forced_eos_token_id", TEXTS, forced_eos_token_id=400, core=True),
    _case("forced ends", TEXTS[0], forced_eos_token_id=[400, 401]),
    _case("forced_bos_token_id, one token", "", forced_bos_token_id=400),
    _case("exponential_decay_length_penalty", TEXTS, exponential_decay_length_penalty=(3, 1.5), max_new_tokens=40),
    _case("remove_invalid_values", TEXTS[0], remove_invalid_values=True),
    _case("renormalize_logits", TEXTS[0], renormalize_logits=True),
    _case("guidance_scale", TEXTS, guidance_scale=1.6, core=True),
    _case("guidance_scale, negative prompt", TEXTS[0], guidance_scale=1.6, negative_prompt_ids=Ids([[310, 320, 330]])),
    _case(
        "many processors", TEXTS, repetition_penalty=1.2, no_repeat_ngram_size=3, min_length=20, suppress_tokens=[400]
    ),
)

BEAMS = (
    *(_case(f"beams {n}", TEXTS, num_beams=n, max_new_tokens=20, core=n == 4) for n in (2, 4, 7)),
    _case("beams in batches", [*TEXTS, LONG], num_beams=3, batch_size=5, max_new_tokens=20, core=True),
    *(_case(f"length_penalty {p}", TEXTS, num_beams=3, length_penalty=p, max_new_tokens=30) for p in (-1.0, 0.0, 2.5)),
    *(
        _case(f"early_stopping {stop}", TEXTS, num_beams=3, early_stopping=stop, max_new_tokens=30)
        for stop in (True, False, "never")
    ),
    _case("beams, min_new_tokens", TEXTS, num_beams=3, min_new_tokens=12, max_new_tokens=20),
    _case("beams, no_repeat_ngram_size", TEXTS, num_beams=3, no_repeat_ngram_size=2, max_new_tokens=20),
    _case("beams, repetition_penalty", TEXTS, num_beams=3, repetition_penalty=1.4),
    _case("beams, several ends", TEXTS, num_beams=3, eos_token_id=[300, 400, 500, 600]),
    _case("beams, no end", TEXTS[0], num_beams=3, eos_token_id=-1),
    _case("beams, tensors", TEXTS, num_beams=3, return_tensors=True, max_new_tokens=30),
    _case("beams, stop_strings", TEXTS, num_beams=3, stop_strings=["e"], tokenizer=PipeTokenizer()),
    _case("beams, exponential decay", TEXTS, num_beams=3, exponential_decay_length_penalty=(2, 1.4)),
    _case("beams, forced end", TEXTS, num_beams=3, forced_eos_token_id=400),
    _case("beams, guidance", TEXTS[0], num_beams=2, guidance_scale=1.4),
    _case("beams, chat", CHAT, num_beams=3, max_new_tokens=20),
)

SAMPLING = (  # The settings leave one token.
    _case("sampling, top_k 1", TEXTS, do_sample=True, top_k=1, core=True),
    _case("sampling, top_p 0", TEXTS, do_sample=True, top_p=0.0),
    _case("sampling, min_p 1", TEXTS, do_sample=True, min_p=1.0),
    _case("sampling, epsilon", TEXTS[0], do_sample=True, epsilon_cutoff=0.999),
    _case("sampling, top_k 1, several sequences", TEXTS, do_sample=True, top_k=1, num_return_sequences=3),
    _case("sampling, temperature, top_k 1", TEXTS[0], do_sample=True, temperature=0.3, top_k=1),
    _at("sampling at construction", {"do_sample": True, "top_k": 1, "max_new_tokens": 9}, TEXTS),
    _case("sampling flags of a greedy run", TEXTS[0], temperature=0.3, top_k=4, top_p=0.5),
)

CONFIGURATION = (
    _case(
        "generation_config",
        TEXTS,
        generation_config=Settings({"max_new_tokens": 7, "do_sample": False}),
        do_sample=None,
        max_new_tokens=None,
    ),
    _case("generation_config and an argument", TEXTS, generation_config=Settings({"max_new_tokens": 7})),
    _case("generation_config of beams", TEXTS[0], generation_config=Settings({"num_beams": 3, "length_penalty": 0.5})),
    _at("generation_config at construction", {"generation_config": Settings({"max_new_tokens": 4})}, do_sample=False),
    _at("arguments at construction", {"max_new_tokens": 5, "do_sample": False, "num_beams": 2}),
    _at("arguments at both", {"max_new_tokens": 5, "do_sample": False, "num_beams": 2}, max_new_tokens=9),
    _case("use_cache False", TEXTS[0], use_cache=False),
    _case("prompt lookup", LONG, prompt_lookup_num_tokens=3, max_new_tokens=30, core=True),
    _case("prompt lookup, ngrams", LONG, prompt_lookup_num_tokens=5, max_matching_ngram_size=1, max_new_tokens=20),
    _case("custom arguments of the model", TEXTS[0], output_logits=False),
)

ERRORS = (
    _case("list in a list", [["a", "b"]], message=False),
    _case("int", 3, message=False),
    _case("none", None, message=False),
    _case("dict", {"text": "x"}, message=False),
    _case("unknown argument", TEXTS[0], max_new_tokenz=3, message=False),
    _case("return_full_text and return_text", TEXTS[0], return_full_text=True, return_text=True),
    _case("return_full_text and return_tensors", TEXTS[0], return_full_text=True, return_tensors=True),
    _case("return_text and return_tensors", TEXTS[0], return_text=True, return_tensors=True),
    _case("bad handle_long_generation", TEXTS[0], handle_long_generation="cut"),
    _case("several greedy sequences", TEXTS[0], num_return_sequences=2, message=False),
    _case("more sequences than beams", TEXTS[0], num_beams=2, num_return_sequences=3, message=False),
    _case("max_new_tokens 0", TEXTS[0], max_new_tokens=0, message=False),
    _case("max_new_tokens negative", TEXTS[0], max_new_tokens=-1, message=False),
    _case("prompt as long as max_length", TEXTS[0], max_length=5, max_new_tokens=None, message=False),
    _case("bad early_stopping", TEXTS[0], num_beams=2, early_stopping="later", message=False),
    _case("bad cache_implementation", TEXTS[0], cache_implementation="none such", message=False),
    _case("temperature 0", TEXTS[0], do_sample=True, temperature=0.0, message=False),
    _case("temperature as an int", TEXTS[0], do_sample=True, temperature=2, message=False),
    _case("top_k negative", TEXTS[0], do_sample=True, top_k=-1, message=False),
    _case("top_p negative", TEXTS[0], do_sample=True, top_p=-0.1, message=False),
    _case("typical_p 0", TEXTS[0], do_sample=True, typical_p=-1.0, message=False),
    _case("min_p 2", TEXTS[0], do_sample=True, min_p=2.0, message=False),
    _case("repetition_penalty as an int", TEXTS[0], repetition_penalty=2, message=False),
    _case("repetition_penalty 0", TEXTS[0], repetition_penalty=0.0, message=False),
    _case("no bad words", TEXTS[0], bad_words_ids=[], message=False),
    _case("bad words as strings", TEXTS[0], bad_words_ids=["a"], message=False),
    _case("no sequence bias", TEXTS[0], sequence_bias={}, message=False),
    _case("streamer with beams", TEXTS[0], num_beams=2, streamer=print, message=False),
    _case("low_memory", TEXTS[0], num_beams=2, low_memory=True, message=False),
    Case("unknown argument at construction", HEAD, (TEXTS[0],), ctor={"max_new_tokenz": 3}, message=False),
)

CASES = (
    *SHAPES,
    *ANSWERS,
    *TOKENIZING,
    *CHATS,
    *STOPPING,
    *PROCESSORS,
    *BEAMS,
    *SAMPLING,
    *CONFIGURATION,
    *ERRORS,
)
