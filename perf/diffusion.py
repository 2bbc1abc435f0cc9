"""Measure image generation against diffusers: Stable Diffusion 1.5 of its real size, with random weights.

    python -m perf.diffusion FOLDER [--precisions fp32] [--size 256] [--steps 4] [--rounds 3] [--threads 2]

FOLDER gets the pipeline (original, 4 GB) and its export (bundle) when it has none yet; the export's time and peak
memory are printed. Each peer runs in a process of its own with the same number of threads; the processes take turns,
so that a noisy machine is noisy for all. Prints seconds a step with guidance (one run of the UNet, batch 2) and seconds
for the VAE (medians of the rounds, and the quickest), the ratio against diffusers in the same round, the peak memory of
the process, and how far the images are apart. With --threads 1 seconds are the processor's, which do not depend on what
else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perf import turns
from perf.turns import THREADS
from perf.worker import peak_memory

BASE = "diffusers fp32"
PROMPT, SEED = "a lighthouse at dusk", 7
#: The vocabulary's size of CLIP, whose last two tokens begin and end a text.
_WORDS = 49408


def build(folder: Path) -> None:
    """Write a pipeline of the sizes of stable-diffusion-v1-5: random weights, a tokenizer of single characters."""
    import diffusers
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280)}
    unet = diffusers.UNet2DConditionModel(**sizes, cross_attention_dim=768, attention_head_dim=8)
    vae = diffusers.AutoencoderKL(
        sample_size=512,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    text = transformers.CLIPTextConfig(
        vocab_size=_WORDS, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        eos_token_id=_WORDS - 1, bos_token_id=_WORDS - 2, pad_token_id=1,
    )  # fmt: skip
    scheduler = diffusers.PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=transformers.CLIPTextModel(text), tokenizer=_tokenizer(folder / "tokenizer"), unet=unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def _tokenizer(folder: Path) -> Any:
    import transformers

    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = {word: number for number, word in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    marks = {"<|startoftext|>": _WORDS - 2, "<|endoftext|>": _WORDS - 1}
    (folder / "vocab.json").write_text(json.dumps(words | marks), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )


def export(original: Path, bundle: Path, precisions: list[str]) -> None:
    """Export the pipeline in a process of its own, and print how long that took and the most memory it had."""
    command = [sys.executable, "-m", "onnxpipe", "export", str(original), "-o", str(bundle)]
    command += ["--precision", ",".join(precisions), "--offline"]
    began = time.perf_counter()
    child = subprocess.Popen(command)
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, own_memory(child.pid))
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit("the export failed")
    print(f"export: {time.perf_counter() - began:.0f} s, at most {peak / 1e6:.1f} GB besides pages of files")


def own_memory(process: int) -> float:
    """Read the kilobytes that a process has for itself; pages of files, which the system may drop, do not count."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0.0)


def load(peer: str, folder: str, threads: int) -> tuple[Any, Callable[[], Any]]:
    """Load the pipeline of a peer, and what makes the generator of its noise."""
    library, dtype = peer.split()
    if library == "onnxpipe":
        sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
        import onnxpipe

        ours = onnxpipe.StableDiffusionPipeline.from_pretrained(folder, dtype=dtype, device="cpu", threads=threads)
        return ours, lambda: onnxpipe.Generator().manual_seed(SEED)

    import diffusers
    import torch

    torch.set_num_threads(threads)
    diffusers.logging.set_verbosity_error()
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    return theirs, lambda: torch.Generator().manual_seed(SEED)


def worker(peer: str, folder: str, size: int, steps: int, threads: int) -> None:
    """Run a peer's process: for every message, a file to keep the image in or None, reply seconds and memory."""
    pipe, generator = load(peer, folder, threads)
    pipe.set_progress_bar_config(disable=True)
    clock = time.process_time if threads == 1 else time.perf_counter

    def reply(keep: str | None) -> dict[str, float]:
        moments: list[float] = []

        def note(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            moments.append(clock())
            return values

        image = pipe(
            PROMPT, num_inference_steps=steps, height=size, width=size, generator=generator(), output_type="np",
            callback_on_step_end=note,
        ).images[0]  # fmt: skip
        end = clock()
        if keep:
            np.save(keep, image)
        return {"step": statistics.median(np.diff(moments)), "vae": end - moments[-1], "memory": peak_memory()}

    turns.answer(reply)


def main() -> None:
    """Run the command line; see the module's docstring."""
    if sys.argv[1:2] == ["--worker"]:
        peer, folder, size, steps, threads = sys.argv[2:]
        worker(peer, folder, int(size), int(steps), int(threads))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=THREADS)
    args = parser.parse_args()
    original, bundle = args.folder.resolve() / "original", args.folder.resolve() / "bundle"
    if not (original / "model_index.json").is_file():
        build(original)
    if not (bundle / "model_index.json").is_file():
        export(original, bundle, args.precisions)
    peers = {BASE: original, **{f"onnxpipe {precision}": bundle for precision in args.precisions}}
    rest = (str(args.size), str(args.steps), str(args.threads))
    commands = {peer: ("perf.diffusion", "--worker", peer, str(folder), *rest) for peer, folder in peers.items()}
    figures: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    images: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as work, turns.started(commands) as processes:
        for peer, process in processes.items():  # this round warms up
            keep = str(Path(work) / f"{peer}.npy")
            process.ask(keep)
            images[peer] = np.load(keep)
        for _ in range(args.rounds):
            for peer, process in processes.items():
                figures[peer].append(process.ask(None))
    print(f"{args.size} pixels, {args.threads} threads, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for peer, rounds in figures.items():
        apart = 255 * float(np.abs(images[peer] - images[BASE]).max())
        memory = max(one["memory"] for one in rounds) / 1000
        parts = [_figure(name, rounds, figures[BASE]) for name in ("step", "vae")]
        print(f"{peer:16} {'  '.join(parts)}  {memory:5.1f} GB  {apart:.2f} of 255 apart")


def _figure(name: str, rounds: list[dict[str, float]], base: list[dict[str, float]]) -> str:
    mine = [one[name] for one in rounds]
    ratio = statistics.median(other[name] / one[name] for other, one in zip(base, rounds, strict=True))
    return f"{name} {statistics.median(mine):6.2f} s (quickest {min(mine):6.2f})  {ratio:5.2f} x"


if __name__ == "__main__":
    main()
