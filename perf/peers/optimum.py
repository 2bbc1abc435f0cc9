"""optimum-onnx: its exports, and what it quantises with one scale a tensor found while it runs (int8)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from perf.peers import images
from perf.peers.transformers import embedder, generator, translator

NAME, PACKAGE = "optimum-onnx", "optimum.onnxruntime"
_TASKS = {
    "embed": "feature-extraction",
    "classify_images": "image-classification",
    "generate": "text-generation-with-past",
    "translate": "text2text-generation-with-past",
}


def convert(checkpoint: Path, task: str, precision: str, target: Path) -> None:
    """Export by optimum's command, then quantise where int8 is wanted."""
    from optimum.exporters.onnx import main_export

    main_export(str(checkpoint), str(target), task=_TASKS[task], do_validation=False, monolith=False)
    for file in checkpoint.iterdir():  # tokenizers that this transformers cannot load are not written
        if file.is_file() and file.suffix in (".json", ".spm", ".txt") and not (target / file.name).exists():
            shutil.copy(file, target)
    if precision == "int8":
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
        ORTQuantizer.from_pretrained(target).quantize(save_dir=target, quantization_config=settings)
        (target / "model.onnx").unlink()
        (target / "model_quantized.onnx").rename(target / "model.onnx")


def _options(threads: int) -> Any:
    import onnxruntime
    import torch

    torch.set_num_threads(threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors."""
    options = _options(threads)
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    return {"call": embedder(model, ORTModelForFeatureExtraction.from_pretrained(model, session_options=options))}


def classify_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to labels with scores; `scores` has those of all classes."""
    options = _options(threads)
    from optimum.onnxruntime import ORTModelForImageClassification

    classifier = ORTModelForImageClassification.from_pretrained(model, session_options=options)
    return images.functions(model, lambda pixels: classifier(pixel_values=pixels).logits)


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    options = _options(threads)
    from optimum.onnxruntime import ORTModelForCausalLM

    return generator(ORTModelForCausalLM.from_pretrained(model, session_options=options))


def translate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A batch of texts to their translations."""
    options = _options(threads)
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    return translator(model, ORTModelForSeq2SeqLM.from_pretrained(model, session_options=options))
