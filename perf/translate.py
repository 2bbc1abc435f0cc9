"""Measure translation speed of an encoder-decoder: opus-mt-en-fr, four beams, beside transformers and CTranslate2.

    python -m perf.translate MODEL BUNDLE SENTENCES.jsonl [--count 64] [--batch 16] [--rounds 3] [--beams 4]

MODEL is the checkpoint, BUNDLE its export (fp32 and int8). All peers get the same batches (sorted by length) of token
ids; CTranslate2 (int8) takes part where its package is installed. Prints seconds (medians), ratios against
transformers, and how many translations are the same as transformers'.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_LONGEST = 80
Translate = Callable[[list[str]], list[list[int]]]


def onnxpipe(bundle: Path, dtype: str, beams: int) -> Translate:
    """Load onnxpipe: batches of texts to token ids."""
    from onnxpipe import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundle)
    model = AutoModelForSeq2SeqLM.from_pretrained(bundle, dtype=dtype, device="cpu", threads=THREADS)

    def translate(texts: list[str]) -> list[list[int]]:
        inputs = tokenizer(texts, padding=True, return_tensors="np")
        return _cut(model.generate(**inputs, num_beams=beams, max_length=_LONGEST), model.config)

    return translate


def transformers(folder: Path, beams: int) -> Translate:
    """Load the original."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.set_num_threads(THREADS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()

    def translate(texts: list[str]) -> list[list[int]]:
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        return _cut(model.generate(**inputs, num_beams=beams, max_length=_LONGEST).numpy(), model.config)

    return translate


def ctranslate2(folder: Path, work: Path, beams: int) -> Translate:
    """Load CTranslate2 in int8, converted by its own converter."""
    import ctranslate2 as library
    from transformers import AutoTokenizer

    library.converters.TransformersConverter(str(folder)).convert(str(work / "ct2"), quantization="int8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    translator = library.Translator(str(work / "ct2"), device="cpu", intra_threads=THREADS, inter_threads=1)

    def translate(texts: list[str]) -> list[list[int]]:
        pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts]
        results = translator.translate_batch(pieces, beam_size=beams, max_decoding_length=_LONGEST)
        return [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in results]

    return translate


def _cut(rows: np.ndarray, config: object) -> list[list[int]]:
    """Strip start, end and padding from rows."""
    special = {config.pad_token_id, config.eos_token_id}  # type: ignore[attr-defined]
    return [[int(token) for token in row if int(token) not in special] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, default=4)
    args = parser.parse_args()
    texts = [json.loads(line)["en"] for line in args.sentences.read_text("utf-8").splitlines()][: args.count]
    texts.sort(key=len)
    batches = [texts[i : i + args.batch] for i in range(0, len(texts), args.batch)]
    with tempfile.TemporaryDirectory() as work:
        peers: dict[str, Translate] = {
            "onnxpipe fp32": onnxpipe(args.bundle, "fp32", args.beams),
            "onnxpipe int8": onnxpipe(args.bundle, "int8", args.beams),
            "transformers fp32": transformers(args.model, args.beams),
        }
        if importlib.util.find_spec("ctranslate2"):
            peers["ctranslate2 int8"] = ctranslate2(args.model, Path(work), args.beams)
        seconds: dict[str, list[float]] = {name: [] for name in peers}
        answers: dict[str, list[list[int]]] = {}
        for translate in peers.values():
            translate(batches[0])
        for _ in range(args.rounds):
            for name, translate in peers.items():
                began = time.perf_counter()
                answers[name] = [row for batch in batches for row in translate(batch)]
                seconds[name].append(time.perf_counter() - began)
    base, wanted = statistics.median(seconds["transformers fp32"]), answers["transformers fp32"]
    print(f"{len(texts)} sentences in batches of {args.batch}, {args.beams} beams, {THREADS} threads")
    for name, times in seconds.items():
        middle = statistics.median(times)
        same = sum(a == b for a, b in zip(answers[name], wanted, strict=True))
        print(f"{name:18} {middle:7.2f} s  {base / middle:5.2f} x transformers  {same} of {len(texts)} the same")


if __name__ == "__main__":
    main()
