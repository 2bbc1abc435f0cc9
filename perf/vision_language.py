"""Measure a vision-language model: SmolVLM-256M's shape, random weights, one image of one tile, greedy.

    python -m perf.vision_language --work DIR [--rounds 3] [--new 64] [--tiles 1]

transformers fp32 and onnxpipe fp32, int8 and q4 take turns, each in a process of its own, with as many threads. Figures
are medians: seconds from pixels and ids to the first token, tokens per second after it, and the peak of the process's
memory. Ratios to transformers are medians of those of the rounds, so that a noisy machine is noisy for both. A second
turn about the same image is measured too. The models are made in DIR once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perf.turns import ROOT, THREADS
from perf.worker import peak_memory

SIDE, FEATURES = 512, 64
"""The side of a tile in pixels, and its features."""
TEXT = {
    "model_type": "llama",
    "vocab_size": 49280,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": SIDE,
    "patch_size": 16,
}
IMAGE_TOKEN = 300
PEERS = ("transformers", "fp32", "int8", "q4")

Answer = Callable[[dict[str, np.ndarray], int, Any], None]
"""Generates: (inputs, new tokens, streamer)."""


def make(work: Path) -> None:
    """Make the checkpoint and the bundle."""
    if not (work / "smolvlm" / "config.json").is_file():
        _checkpoint(work / "smolvlm")
    if not (work / "bundle" / "bundle.json").is_file():
        from onnxpipe_export import export

        export(work / "smolvlm", work / "bundle", precision=("fp32", "int8", "q4"), progress=print)


def _checkpoint(folder: Path) -> None:
    """Make random weights, with embeddings large enough that the next token is clear, to certify quantised graphs."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, SmolVLMConfig, SmolVLMForConditionalGeneration

    torch.manual_seed(0)
    config = SmolVLMConfig(
        text_config=TEXT, vision_config=VISION, scale_factor=4, image_token_id=IMAGE_TOKEN, tie_word_embeddings=True
    )
    model = SmolVLMForConditionalGeneration(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.5)
    model.save_pretrained(folder)
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{symbol: i for i, symbol in enumerate(symbols, 3)}}
    vocabulary |= {f"<unused{i}>": i for i in range(len(vocabulary), IMAGE_TOKEN)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    settings = {"image_processor_type": "SmolVLMImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "SmolVLMProcessor", "image_seq_len": FEATURES}), encoding="utf-8"
    )


def _inputs(tiles: int, seed: int) -> dict[str, np.ndarray]:
    """Make an image of so many tiles between two short texts."""
    generator = np.random.default_rng(seed)
    ids = [*range(40, 56), *[IMAGE_TOKEN] * (FEATURES * tiles), *range(60, 84)]
    return {
        "input_ids": np.array([ids]),
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "pixel_values": generator.standard_normal((1, tiles, 3, SIDE, SIDE)).astype(np.float32),
        "pixel_attention_mask": np.ones((1, tiles, SIDE, SIDE), np.int64),
    }


class _Clock:
    """A streamer that notes when tokens come."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _load(work: Path, peer: str) -> Answer:
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    if peer == "transformers":
        import torch
        from transformers import AutoModelForImageTextToText

        torch.set_num_threads(THREADS)
        theirs = AutoModelForImageTextToText.from_pretrained(work / "smolvlm").eval()

        def generate(inputs: dict[str, np.ndarray], new: int, clock: Any) -> None:
            tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
            with torch.inference_mode():
                theirs.generate(**tensors, **options, max_new_tokens=new, streamer=clock)

        return generate
    from onnxpipe import AutoModelForImageTextToText as Auto

    ours = Auto.from_pretrained(work / "bundle", dtype=peer, threads=THREADS, device="cpu")
    return lambda inputs, new, clock: ours.generate(**inputs, **options, max_new_tokens=new, streamer=clock)


def measure(work: Path, peer: str, new: int, tiles: int) -> dict[str, float]:
    """Measure one peer in this process: the second image that it sees, then the same image again."""
    answer = _load(work, peer)
    answer(_inputs(tiles, 0), 4, _Clock())
    figures: dict[str, float] = {}
    for name in ("first", "again"):
        clock, started = _Clock(), time.perf_counter()
        answer(_inputs(tiles, 1), new, clock)
        figures[f"{name}_token_s"] = clock.times[1] - started
        figures.setdefault("tokens_per_s", (new - 1) / (clock.times[-1] - clock.times[1]))
    figures["peak_mb"] = peak_memory()
    return figures


def main() -> None:
    """Let the peers take turns, and print medians, also of the ratios to transformers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=1)
    parser.add_argument("--peer", choices=PEERS)
    arguments = parser.parse_args()
    if arguments.peer is not None:
        print(json.dumps(measure(arguments.work, arguments.peer, arguments.new, arguments.tiles)))
        return
    make(arguments.work)
    results: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    for _ in range(arguments.rounds):
        for peer in PEERS:
            command = [sys.executable, "-m", "perf.vision_language", "--work", str(arguments.work), "--peer", peer,
                       "--new", str(arguments.new), "--tiles", str(arguments.tiles)]  # fmt: skip
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            results[peer].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{arguments.tiles} tile(s), {arguments.new} new tokens, {THREADS} threads, {arguments.rounds} rounds")
    theirs = results["transformers"]
    for peer, rows in results.items():
        row = {name: statistics.median(each[name] for each in rows) for name in rows[0]}
        pairs = list(zip(theirs, rows, strict=True))
        first = statistics.median(base["first_token_s"] / each["first_token_s"] for base, each in pairs)
        rate = statistics.median(each["tokens_per_s"] / base["tokens_per_s"] for base, each in pairs)
        print(
            f"{peer:12} first token {row['first_token_s']:6.2f} s (x{first:.2f})  same image again"
            f" {row['again_token_s']:6.2f} s  {row['tokens_per_s']:6.1f} tokens/s (x{rate:.2f})"
            f"  peak {row['peak_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
