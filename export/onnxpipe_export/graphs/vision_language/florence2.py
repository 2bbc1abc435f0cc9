"""Florence-2: an encoder that reads the features of an image and the tokens of a task, and BART's decoder.

Four graphs, in the Hub's cut: `vision_encoder`: pixel_values (images, 3, side, side) to image_features (images, tokens,
width); `embed_tokens`; `encoder_model`: inputs_embeds (batch, length, width) and attention_mask to last_hidden_state;
and the decoder, as `seq2seq.decoder` says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from onnxpipe.errors import ExportError
from onnxpipe_export import tasks, tracing
from onnxpipe_export.cases.text import SENTENCES
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Case, GraphExport
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport
from onnxpipe_export.graphs.seq2seq.layers import find_layers
from onnxpipe_export.graphs.vision_language.family import Family, original_features
from onnxpipe_export.graphs.vision_language.one_size import describe_encoder, model_features, synthetic_feeds
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import seq2seq


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a Florence-2 checkpoint."""
    return Family(_vision(checkpoint), lambda number: _image(checkpoint, number), graphs=graphs)


def graphs(checkpoint: Checkpoint, embeddings: GraphExport) -> list[GraphExport]:
    """Describe the four graphs; `embeddings` is the second.

    Raises:
        ExportError: the decoder's layers are not supported.
    """
    text = dataclasses.replace(
        checkpoint,
        model=text_model(checkpoint.model),
        config=checkpoint.config.text_config,
        task=tasks.TASKS["text2text-generation"],
    )
    layers = find_layers(text.model)
    if layers is None:
        raise ExportError(f"{checkpoint.name}: the layers of this decoder are not those of BART")
    source = PromptSource(checkpoint)
    decoder = Seq2SeqDecoderExport(checkpoint=text, layers=layers, source=source, max_length=max_length(text.model))
    return [_vision(checkpoint), embeddings, source.export(), decoder]


def text_model(model: Any) -> Any:
    """Make the encoder-decoder model of text inside of a Florence-2, which shares its weights."""
    from transformers import BartForConditionalGeneration

    with torch.device("meta"):
        text = BartForConditionalGeneration(model.config.text_config)
    text.model, text.lm_head = model.model.language_model, model.lm_head
    text.final_logits_bias = torch.zeros(1, model.lm_head.weight.shape[0])
    text.generation_config = model.generation_config
    return text.eval()


def _image(checkpoint: Checkpoint, number: int) -> dict[str, np.ndarray]:
    return synthetic_feeds(checkpoint, _size(checkpoint), number)


def _size(checkpoint: Checkpoint) -> tuple[int, int]:
    size = checkpoint.preprocessor.get("size") or {}
    if not {"height", "width"} <= set(size):
        raise ExportError(f"{checkpoint.name}: preprocessor_config.json names no height and width of an image")
    return int(size["height"]), int(size["width"])


def _vision(checkpoint: Checkpoint) -> WrappedExport:
    return describe_encoder(checkpoint, _size(checkpoint), model_features)


@dataclass(frozen=True)
class PromptSource:
    """Prompts with and without images, and their states; implements `seq2seq.decoder.EncoderSource`.

    Attributes:
        checkpoint: the model.
    """

    checkpoint: Checkpoint

    def export(self) -> WrappedExport:
        """Describe `encoder_model`."""
        encoder = self.checkpoint.model.model.language_model.encoder
        names = ("inputs_embeds", "attention_mask")
        rows = self._rows
        return WrappedExport(
            self.checkpoint,
            "encoder_model",
            names,
            ("last_hidden_state",),
            {name: {0: BATCH, 1: "encoder_sequence_length"} for name in (*names, "last_hidden_state")},
            lambda tensors: {"last_hidden_state": encoder(**tensors)[0]},
            lambda: _padded(rows[:3]),
            lambda tokenizer: [
                *(Case(_padded([row]), golden=number == 1, calibrates=True) for number, row in enumerate(rows)),
                Case(_padded(rows[:2])),
                Case(_padded(rows)),
            ],
            seq2seq.ENCODER,
        )

    def rows(self, tokenizer: Any) -> list[np.ndarray]:
        """Return the embeddings of prompts, float32 (length, width) each."""
        return self._rows

    def encode(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch: the states, and their mask."""
        feeds = _padded(rows)
        with torch.inference_mode(), tracing.quiet():
            tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}
            states = self.checkpoint.model.model.language_model.encoder(**tensors)[0].float().numpy()
        return states, feeds["attention_mask"]

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        model = self.checkpoint.model
        found = []
        for number, sentence in enumerate(SENTENCES[:6]):
            ids = torch.tensor(self.checkpoint.tokenizer(sentence).input_ids[: 8 + number])
            with torch.inference_mode():
                words = np.asarray(model.get_input_embeddings()(ids).float().numpy())
            images = [original_features(model, _image(self.checkpoint, number))] if number % 3 else []
            found.append(np.concatenate([*images, words]))
        return found


def _padded(rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Batch embeddings, padded at the right."""
    length = max(map(len, rows))
    embeds = np.zeros((len(rows), length, rows[0].shape[1]), np.float32)
    mask = np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        embeds[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"inputs_embeds": embeds, "attention_mask": mask}
