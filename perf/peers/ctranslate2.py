"""CTranslate2 in int8, converted by its own converter. Lists of texts run in one worker a thread."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from perf.peers import texts

NAME = PACKAGE = "ctranslate2"
TOKENS = 2048
"""The most tokens of one batch, padding included."""


def convert(checkpoint: Path, task: str, precision: str, target: Path) -> None:
    """Convert a checkpoint with its tokenizer's files."""
    import ctranslate2

    names = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
    files = [name for name in names if (checkpoint / name).is_file()]
    converter = ctranslate2.converters.TransformersConverter(str(checkpoint), copy_files=files)
    converter.convert(str(target), quantization=precision)
    if task == "translate":  # its tokenizer is found by the original's config; CTranslate2 writes another one
        shutil.copytree(checkpoint, target / "tokenizer", ignore=shutil.ignore_patterns("*.bin", "*.safetensors"))


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors."""
    import ctranslate2
    import numpy as np

    tokenizer = texts.tokenizer(model)
    alone = ctranslate2.Encoder(model, device="cpu", compute_type=precision, intra_threads=threads)
    kept: dict[str, Any] = {}

    def forward(encoder: Any, asked: tuple[list[int], Any, Any]) -> tuple[list[int], Any]:
        places, ids, mask = asked
        rows = [row[row_mask > 0].tolist() for row, row_mask in zip(ids, mask)]
        states = np.array(encoder.forward_batch(rows).last_hidden_state)
        return places, texts.pooled(states, mask)

    def call(given: str | list[str]) -> Any:
        if isinstance(given, str):
            ids = np.array([tokenizer.encode(given).ids])
            return list(forward(alone, ([0], ids, np.ones_like(ids)))[1])
        if not kept:
            from concurrent.futures import ThreadPoolExecutor

            kept["encoder"] = ctranslate2.Encoder(
                model, device="cpu", compute_type=precision, inter_threads=threads, intra_threads=1
            )
            kept["pool"] = ThreadPoolExecutor(threads)
        rows = [one.ids for one in tokenizer.encode_batch_fast(given)]
        vectors: list[Any] = [None] * len(rows)
        for places, each in kept["pool"].map(lambda one: forward(kept["encoder"], one), texts.batches(rows, TOKENS)):
            for place, vector in zip(places, each):
                vectors[place] = vector
        return vectors

    return {"call": call}


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    import ctranslate2
    import numpy as np

    vocabulary = texts.tokenizer(model)
    generator = ctranslate2.Generator(model, device="cpu", compute_type=precision, intra_threads=threads)

    def call(prompt: list[int], count: int) -> dict[str, Any]:
        tokens, times, began = [], [], time.perf_counter()
        words = [vocabulary.id_to_token(token) for token in prompt]
        for step in generator.generate_tokens(words, max_length=count, min_length=count, sampling_topk=1):
            tokens.append(step.token_id)
            times.append(time.perf_counter())
        return {"tokens": tokens, "first": times[0] - began, "rest": times[-1] - times[0]}

    def forced(prompt: list[int], text: list[int]) -> list[int]:
        logits = np.array(generator.forward_batch([prompt + text[:-1]]))
        return list(logits[0, len(prompt) - 1 :].argmax(-1).tolist())

    return {"call": call, "forced": forced}


def translate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A batch of texts to their translations."""
    import ctranslate2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(Path(model, "tokenizer")))
    translator = ctranslate2.Translator(model, device="cpu", compute_type=precision, intra_threads=threads)

    def call(given: list[str], beams: int, longest: int) -> list[str]:
        pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in given]
        results = translator.translate_batch(pieces, beam_size=beams, max_decoding_length=longest)
        rows = [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in results]
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))

    return {"call": call}
