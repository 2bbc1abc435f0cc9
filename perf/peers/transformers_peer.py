"""Run transformers' own pipeline; for embeddings the model card's code. `dtype` is the batch size (fp32 always)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def load(task: str, model: str, dtype: str) -> Callable[[list[str]], Any]:
    """Load a pipeline with a batch size (1 is transformers' default)."""
    import torch

    batch = int(dtype)
    if task != "embedding":
        from transformers import pipeline

        pipe = pipeline(task, model=model, device="cpu")
        return lambda texts: pipe(texts, batch_size=batch)

    from transformers import AutoModel, AutoTokenizer

    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()

    @torch.inference_mode()
    def embed(texts: list[str]) -> Any:
        vectors = []
        for i in range(0, len(texts), batch):
            encoded = tokenizer(
                texts[i : i + batch], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            mask = encoded["attention_mask"][..., None].float()
            pooled = (encoder(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
            vectors.extend(torch.nn.functional.normalize(pooled).numpy())
        return vectors

    return embed
