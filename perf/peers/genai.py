"""onnxruntime-genai: the graphs of its own model builder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAME, PACKAGE = "onnxruntime-genai", "onnxruntime_genai"


def convert(checkpoint: Path, task: str, precision: str, target: Path) -> None:
    """Build the graph for CPUs."""
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(target)]
    command += ["-p", precision, "-e", "cpu", "-c", str(target.with_name(target.name + "-cache"))]
    subprocess.run(command, check=True)


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    import numpy as np
    import onnxruntime_genai as genai

    config = genai.Config(model)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    loaded = genai.Model(config)

    def begin(length: int) -> Any:
        params = genai.GeneratorParams(loaded)
        params.set_search_options(max_length=length, min_length=length, do_sample=False, batch_size=1)
        return genai.Generator(loaded, params)

    def call(prompt: list[int], count: int) -> dict[str, Any]:
        tokens, times, began = [], [], time.perf_counter()
        generator = begin(len(prompt) + count)
        generator.append_tokens(np.array([prompt], np.int32))
        for _ in range(count):
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
            times.append(time.perf_counter())
        return {"tokens": tokens, "first": times[0] - began, "rest": times[-1] - times[0]}

    def forced(prompt: list[int], text: list[int]) -> list[int]:
        chosen, generator = [], begin(len(prompt) + len(text) + 1)
        for given in [prompt, *[[token] for token in text[:-1]]]:
            generator.append_tokens(np.array([given], np.int32))
            chosen.append(
                int(np.asarray(generator.get_logits()).reshape(-1, generator.get_logits().shape[-1])[-1].argmax())
            )
        return chosen

    return {"call": call, "forced": forced}
