"""fastembed in fp32, on the graph that optimum exports of the checkpoint: it ships none that is made from it here."""

from __future__ import annotations

from typing import Any

from perf.peers.optimum import convert as convert

NAME = PACKAGE = "fastembed"
CONVERTER = "optimum"


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="local", pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="local/local"), dim=384,
        model_file="model.onnx",
    )  # fmt: skip
    loaded = TextEmbedding("local", specific_model_path=model, threads=threads)
    return {"call": lambda texts: list(loaded.embed(texts))}
