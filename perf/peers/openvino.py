"""OpenVINO: converted from PyTorch by its own converter, int8 by NNCF.

"bf16" is what it chooses by itself on a processor with bfloat16; fp32 is asked for by a hint. One input runs on all
threads; a list runs in a stream for each thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perf.peers import images, texts

NAME, PACKAGE = "OpenVINO", "openvino"
TOKENS, PHOTOS = 512, 4
"""The most tokens, padding included, and photos in one request of a list."""


def convert(checkpoint: Path, task: str, precision: str, target: Path) -> None:
    """Convert a checkpoint; int8 is calibrated on the samples that the parent left beside the target."""
    import json
    import shutil

    import openvino
    import torch
    from transformers import AutoModel, AutoModelForImageClassification

    target.mkdir(parents=True)
    for file in checkpoint.glob("*.json"):
        shutil.copy(file, target)
    samples = json.loads((target.parent / "samples.json").read_text("utf-8"))
    if task == "embed":
        tokenizer = texts.tokenizer(str(checkpoint))
        rows = [tokenizer.encode(text).ids for text in samples["texts"]]
        inputs = [{"input_ids": ids, "attention_mask": mask} for _, ids, mask in texts.batches(rows, 1)]
        model = AutoModel.from_pretrained(checkpoint).eval()
    else:
        read = images.reader(checkpoint)
        inputs = [{"pixel_values": read(path)[None]} for path in samples["images"]]
        model = AutoModelForImageClassification.from_pretrained(checkpoint).eval()
    example = {name: torch.from_numpy(array) for name, array in inputs[0].items()}
    with torch.no_grad():
        graph = openvino.convert_model(model, example_input=example)
    for place, name in enumerate(example):
        graph.inputs[place].get_tensor().set_names({name})
    if precision == "int8":
        import nncf

        kind = nncf.ModelType.TRANSFORMER if json.loads((checkpoint / "config.json").read_text())["model_type"] in (
            "bert", "vit") else None  # fmt: skip
        graph = nncf.quantize(graph, nncf.Dataset(inputs), model_type=kind, subset_size=len(inputs))
    openvino.save_model(graph, target / "model.xml", compress_to_fp16=False)


class _Graph:
    """A model compiled for one request on all threads and, once a list comes, for a stream a thread."""

    def __init__(self, model: str, precision: str, threads: int) -> None:
        import openvino

        self._core, self._path, self._threads = openvino.Core(), Path(model, "model.xml"), threads
        self._hint = {"INFERENCE_PRECISION_HINT": "f32"} if precision == "fp32" else {}
        self._alone = self._compiled(1)
        self._streams: Any = None

    def _compiled(self, streams: int) -> Any:
        hints = {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": streams, **self._hint}
        return self._core.compile_model(self._path, "CPU", hints)

    def run(self, feeds: dict[str, Any]) -> Any:
        """Run one request."""
        return self._alone(feeds)[0]

    def run_all(self, requests: list[dict[str, Any]]) -> list[Any]:
        """Run requests in streams."""
        import openvino

        if self._streams is None:
            self._streams = openvino.AsyncInferQueue(self._compiled(self._threads), 2 * self._threads)
        outputs: list[Any] = [None] * len(requests)

        def keep(request: Any, place: int) -> None:
            outputs[place] = request.get_output_tensor(0).data.copy()

        self._streams.set_callback(keep)
        for place, feeds in enumerate(requests):
            self._streams.start_async(feeds, place)
        self._streams.wait_all()
        return outputs


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors."""
    tokenizer, graph = texts.tokenizer(model), _Graph(model, precision, threads)

    def call(given: str | list[str]) -> Any:
        alone = isinstance(given, str)
        rows = [one.ids for one in tokenizer.encode_batch_fast([given] if alone else given)]
        asked = list(texts.batches(rows, TOKENS))
        feeds = [{"input_ids": ids, "attention_mask": mask} for _, ids, mask in asked]
        outputs = [graph.run(feeds[0])] if alone else graph.run_all(feeds)
        vectors: list[Any] = [None] * len(rows)
        for (places, _, mask), states in zip(asked, outputs):
            for place, vector in zip(places, texts.pooled(states, mask)):
                vectors[place] = vector
        return vectors

    return {"call": call}


def classify_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to labels with scores; `scores` has those of all classes."""
    import numpy as np

    graph = _Graph(model, precision, threads)

    def logits(pixels: Any) -> Any:
        if len(pixels) == 1:
            return graph.run({"pixel_values": pixels})
        parts = [{"pixel_values": pixels[i : i + PHOTOS]} for i in range(0, len(pixels), PHOTOS)]
        return np.concatenate(graph.run_all(parts))

    return images.functions(model, logits, batch=64)
