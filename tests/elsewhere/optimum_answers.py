"""Run bundles with optimum-onnx and transformers 4.57, in a Python that has them: jobs in, answers out, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from optimum import onnxruntime as optimum
from transformers import AutoProcessor, AutoTokenizer


def main() -> None:
    """Answer the jobs of the standard input into the file that is named."""
    jobs = json.loads(sys.stdin.read())
    answers = [globals()[job["kind"]](job["folder"], job["suffix"], job["inputs"]) for job in jobs]
    Path(sys.argv[1]).write_text(json.dumps(answers), "utf-8")


def classify(folder: str, suffix: str, texts: list[str]) -> Any:
    """Give the probabilities of a list of texts."""
    model = optimum.ORTModelForSequenceClassification.from_pretrained(
        folder, subfolder="onnx", file_name=f"model{suffix}.onnx"
    )
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    return model(**inputs).logits.softmax(-1).tolist()


def generate(folder: str, suffix: str, texts: list[str]) -> Any:
    """Continue texts: each alone and all together, padded at the left, greedily; then with three beams."""
    model = optimum.ORTModelForCausalLM.from_pretrained(folder, subfolder="onnx", file_name=f"model{suffix}.onnx")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")

    def run(some: list[str], **options: Any) -> Any:
        inputs = tokenizer(some, padding=True, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=40, do_sample=False, **options)
        return tokenizer.batch_decode(ids, skip_special_tokens=True)

    return [[run([text])[0] for text in texts], run(texts), run(texts, num_beams=3)]


def translate(folder: str, suffix: str, texts: list[str]) -> Any:
    """Translate a list of texts with the search of the model's configuration."""
    model = optimum.ORTModelForSeq2SeqLM.from_pretrained(folder, **_seq2seq(suffix))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = model.generate(**tokenizer(texts, padding=True, return_tensors="pt"))
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def transcribe(folder: str, suffix: str, file: str) -> Any:
    """Transcribe samples at 16 kHz, float32 in a file."""
    model = optimum.ORTModelForSpeechSeq2Seq.from_pretrained(folder, **_seq2seq(suffix))
    processor = AutoProcessor.from_pretrained(folder)
    features = processor(np.fromfile(file, np.float32), sampling_rate=16_000, return_tensors="pt")
    return processor.batch_decode(model.generate(features.input_features, num_beams=1), skip_special_tokens=True)


def _seq2seq(suffix: str) -> dict[str, Any]:
    decoder = f"decoder_model_merged{suffix}.onnx"
    return {"subfolder": "onnx", "encoder_file_name": f"encoder_model{suffix}.onnx", "decoder_file_name": decoder,
            "decoder_with_past_file_name": decoder, "use_merged": True}  # fmt: skip


if __name__ == "__main__":
    main()
