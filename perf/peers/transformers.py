"""transformers' own pipelines and classes, in fp32; for embeddings the model card's code."""

from __future__ import annotations

import time
from typing import Any

from perf.peers.onnxpipe import IMAGE_CLASSES, Clock, map_labels

NAME = PACKAGE = "transformers"
BATCH = {"embedding": 32, "text-classification": 16, "token-classification": 16, "image-classification": 8}
"""The sizes of batches that were the quickest."""


def _torch(threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    return torch


def _pipeline(task: str, model: str, threads: int) -> Any:
    _torch(threads)
    from transformers import pipeline

    pipe, batch = pipeline(task, model=model, device="cpu"), BATCH.get(task, 1)
    return lambda inputs, **kwargs: pipe(inputs, batch_size=batch, **kwargs)


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors: the mean over the tokens, normalised."""
    from transformers import AutoModel

    _torch(threads)
    return {"call": embedder(model, AutoModel.from_pretrained(model).eval())}


def embedder(folder: str, encoder: Any) -> Any:
    """Make the function from texts to vectors, of a model that takes and gives tensors."""
    import torch
    from transformers import AutoTokenizer

    tokenizer, batch = AutoTokenizer.from_pretrained(folder), BATCH["embedding"]

    @torch.inference_mode()
    def call(texts: str | list[str]) -> Any:
        texts, vectors = [texts] if isinstance(texts, str) else texts, []
        for i in range(0, len(texts), batch):
            encoded = tokenizer(
                texts[i : i + batch], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            mask = encoded["attention_mask"][..., None].float()
            pooled = (encoder(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
            vectors.extend(torch.nn.functional.normalize(pooled).numpy())
        return vectors

    return call


def classify_texts(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to labels with scores."""
    return {"call": _pipeline("text-classification", model, threads)}


def classify_tokens(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to entities."""
    return {"call": _pipeline("token-classification", model, threads)}


def classify_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to labels with scores; `scores` has those of all classes."""
    pipe = _pipeline("image-classification", model, threads)
    return {"call": pipe, "scores": lambda paths: pipe(paths, top_k=IMAGE_CLASSES)}


def segment_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to masks; `labels` has the label of each pixel."""
    pipe = _pipeline("image-segmentation", model, threads)
    return {"call": lambda paths: [len(one) for one in pipe(paths)], "labels": lambda paths: map_labels(pipe(paths))}


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    torch = _torch(threads)
    from transformers import AutoModelForCausalLM

    return generator(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval())


def generator(language_model: Any) -> dict[str, Any]:
    """Make the functions of a model with transformers' `generate`."""
    import torch

    def call(prompt: list[int], count: int) -> dict[str, Any]:
        clock, ids, began = Clock(), torch.tensor([prompt]), time.perf_counter()
        language_model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False,
            streamer=clock,
        )  # fmt: skip
        return clock.answer(began)

    @torch.inference_mode()
    def forced(prompt: list[int], text: list[int]) -> list[int]:
        ids = torch.tensor([prompt + text[:-1]])
        places = torch.arange(ids.shape[1])[None]
        logits = language_model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=places).logits
        return list(logits[0, len(prompt) - 1 :].argmax(-1).tolist())

    return {"call": call, "forced": forced}


def translate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A batch of texts to their translations."""
    _torch(threads)
    from transformers import AutoModelForSeq2SeqLM

    return translator(model, AutoModelForSeq2SeqLM.from_pretrained(model).eval())


def translator(folder: str, seq2seq: Any) -> dict[str, Any]:
    """Make the function of a model with transformers' `generate`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def call(texts: list[str], beams: int, longest: int) -> list[str]:
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        rows = seq2seq.generate(**inputs, num_beams=beams, max_length=longest)
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))

    return {"call": call}


def transcribe(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A recording, float32 at 16 kHz in a file of numpy's, to its text."""
    import numpy as np

    pipe = _pipeline("automatic-speech-recognition", model, threads)
    return {"call": lambda path, beams: pipe(np.load(path), generate_kwargs={"num_beams": beams})["text"]}
