"""Export BLIP's model of questions about images: graphs of the image, of the question, and of the decoder.

The image's states are computed once, whatever the number of questions. The decoder attends to all states of a question,
its padding too, in the original as here: so the runtime runs questions of one length together, and none is padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases.common import stacked
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Case, GraphExport
from onnxpipe_export.graphs.seq2seq.image import ImageSource, decoder_kind, describe_decoder, name_ends, run_encoder
from onnxpipe_export.graphs.vision.cases import tokens
from onnxpipe_export.graphs.vision.patches import traceable
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import seq2seq

QUESTIONS = (
    "What is this?",
    "How many dogs are there in the image?",
    "What colour is the car on the left side of the street, and who is standing next to it?",
    "Is it raining?",
    "Where?",
    "What is the man in the red jacket holding?",
)
_WORDS = ("input_ids", "attention_mask")


def describe(checkpoint: Checkpoint) -> tuple[GraphExport, GraphExport, GraphExport]:
    """Describe the graphs of the image's encoder, of the question's, and of the decoder.

    Raises:
        ExportError: the decoder's layers are not supported.
    """
    images = ImageSource(checkpoint)
    name_ends(checkpoint.model)
    vision = images.export()
    named = replace(
        vision, name="vision_encoder", outputs=("image_features",),
        axes={"pixel_values": {0: BATCH}, "image_features": {0: BATCH}},
        forward=lambda feeds: {"image_features": run_encoder(checkpoint.model, feeds["pixel_values"])},
    )  # fmt: skip
    source = QuestionSource(checkpoint, images)
    return named, source.export(), describe_decoder(checkpoint, source)


def run_questions(model: Any, feeds: Mapping[str, Any]) -> Any:
    """Compute the states of questions about images, (batch, length, width), from their tokens and image_features."""
    features = feeds["image_features"]
    return model.text_encoder(
        input_ids=feeds["input_ids"], attention_mask=feeds["attention_mask"], encoder_hidden_states=features
    )[0]


@dataclass(frozen=True)
class QuestionSource:
    """Questions about images, and their states; implements `seq2seq.decoder.EncoderSource`.

    Attributes:
        checkpoint: the model.
        images: the images.
    """

    checkpoint: Checkpoint
    images: ImageSource

    def export(self) -> WrappedExport:
        """Describe `encoder_model`: input_ids and attention_mask int64 (batch, length), image_features float32 (batch,
        places, width) to last_hidden_state (batch, length, width)."""
        model = self.checkpoint.model
        text = {0: BATCH, 1: "sequence_length"}
        return WrappedExport(
            checkpoint=self.checkpoint,
            name="encoder_model",
            inputs=(*_WORDS, "image_features"),
            outputs=("last_hidden_state",),
            axes={**dict.fromkeys((*_WORDS, "last_hidden_state"), text), "image_features": {0: BATCH}},
            forward=lambda feeds: {"last_hidden_state": run_questions(model, feeds)},
            example=lambda: self._batch([0, 1, 3]),
            make_cases=lambda tokenizer: self._cases(),
            makers=seq2seq.ENCODER,
            max_length=max_length(model.text_encoder),
            replacements=lambda: traceable(model),
            eager=False,  # `traceable` sees to it, for every part
        )

    def rows(self, tokenizer: Any) -> list[dict[str, np.ndarray]]:
        """Return feeds of one question each."""
        return self._rows

    def encode(self, rows: Sequence[Mapping[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original on questions, all cut to the shortest: the states, and a mask of ones."""
        import torch

        shortest = min(row["input_ids"].shape[1] for row in rows)
        cut = [{name: array[:, :shortest] if name in _WORDS else array for name, array in row.items()} for row in rows]
        with torch.inference_mode(), tracing.quiet():
            feeds = {name: torch.from_numpy(array) for name, array in stacked(cut).items()}
            states = run_questions(self.checkpoint.model, feeds).float().numpy()
        return states, np.ones(states.shape[:2], np.int64)

    @cached_property
    def _rows(self) -> list[dict[str, np.ndarray]]:
        return [self._batch([number]) for number in range(len(QUESTIONS))]

    def _batch(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """Tokenize questions, padded to one length, beside the features of an image each."""
        longest = max_length(self.checkpoint.model.text_encoder)
        words = tokens(self.checkpoint.tokenizer, [QUESTIONS[number] for number in numbers], _WORDS, longest)
        images = self.images.rows(None)
        features = np.concatenate([self.images.encode([images[number % len(images)]])[0] for number in numbers])
        return {**words, "image_features": features}

    def _cases(self) -> list[Case]:
        alone = [Case(row, golden=number == 4, calibrates=True) for number, row in enumerate(self._rows)]
        return [*alone, Case(self._batch([0, 1])), Case(self._batch([2, 4, 5])), Case(self._batch([3, 0, 2, 1]))]


def question_batches(checkpoint: Checkpoint) -> list[Mapping[str, np.ndarray]]:
    """Make batches for `generate`: questions alone, and one question about two images."""
    images = ImageSource(checkpoint).rows(None)
    alone: list[Mapping[str, np.ndarray]] = []
    for number, pixels in enumerate(images[:3]):
        words = tokens(checkpoint.tokenizer, [QUESTIONS[number]], _WORDS, max_length(checkpoint.model.text_encoder))
        alone.append({**words, "pixel_values": pixels})
    pair = [{**alone[0], "pixel_values": pixels} for pixels in images[:2]]
    return [*alone, stacked(pair)]


def decoder_logits(model: Any, feeds: Mapping[str, np.ndarray], ids: np.ndarray) -> Any:
    """Compute the original's logits for the decoder's tokens, (batch, length, vocabulary).

    Args:
        model: one that writes about images, with or without a question.
        feeds: pixel_values; input_ids and attention_mask of the question.
        ids: int64 (batch, length).
    """
    import torch

    given = {name: torch.from_numpy(array) for name, array in feeds.items()}
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "use_cache": False}
    if "pixel_values" not in given:
        states = model.encoder(**given)[0]
        inputs["encoder_attention_mask"] = given["attention_mask"]
    else:
        states = run_encoder(model, given["pixel_values"])
    if "input_ids" in given:
        states = run_questions(model, {**given, "image_features": states})
    inputs["encoder_hidden_states"] = states
    return decoder_kind(model).run(model, **inputs)[0]
