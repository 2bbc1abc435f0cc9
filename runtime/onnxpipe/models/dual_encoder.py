"""Models that put texts and something else into one space: pictures (CLIP, SigLIP, ALIGN) or sounds (CLAP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Model, Opener, as_array
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.processing.model_output import ModelOutput


@dataclass(frozen=True)
class Sense:
    """What is compared with texts.

    Attributes:
        title: what messages call it.
        graph: the graph of its encoder.
        values: that graph's main input, and that of a joint graph.
        embeds: that graph's output.
        logits: the similarities, a row for each of it, as transformers calls them.
        task: what such a model is exported for.
        example: models of the kind.
    """

    title: str
    graph: str
    values: str
    embeds: str
    logits: str
    task: str
    example: str


class TwoEncoders(Model):
    """An encoder of pictures or sounds, and one of texts.

    Two graphs, so that neither is run for what the other has to say again: labels are encoded once for any number of
    pictures. The text's graph also gives `logit_scale` and `logit_bias`, which are weights of the original. Folders of
    others may hold one joint graph `model` instead; it has `joint` set, and is run with both together.

    Args:
        bundle: the folder it came from.
        seen: the graph of what is compared with texts, or the joint one.
        texts: the graph of texts; None for a joint one.
        precision: of the first.
        name_or_path: what the user called it.
    """

    main_input_name = "input_ids"
    sense: ClassVar[Sense]

    def __init__(self, bundle: Bundle, seen: Session, texts: Session | None, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, seen, precision, name_or_path)
        self._seen = EncoderModel(bundle, seen, precision, name_or_path)
        self._texts = self._seen if texts is None else EncoderModel(bundle, texts, precision, name_or_path)
        self.joint = texts is None

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> TwoEncoders:
        """The model of a bundle's two graphs, or of a joint "model"."""
        sense = cls.sense
        if "model" in bundle.graphs:
            session, precision = opener("model")
            if not {"input_ids", sense.values} <= set(session.inputs) or sense.logits not in session.outputs:
                raise UnsupportedError(
                    f"{name_or_path} does not compare {sense.title} with texts: it takes {', '.join(session.inputs)} "
                    f"and gives {', '.join(session.outputs)}, not {sense.logits}. Pass a model such as {sense.example}"
                )
            return cls(bundle, session, None, precision, name_or_path)
        seen, precision = opener(sense.graph)
        texts, _ = opener("text_model")
        if "logit_scale" not in texts.outputs:
            raise UnsupportedError(
                f"{name_or_path} has an encoder of {sense.title} and one of texts, and not what their product is "
                "scaled with (logit_scale), nor a joint graph model.onnx. Export the original model: onnxpipe export "
                f"MODEL --task {sense.task} -o DIR"
            )
        return cls(bundle, seen, texts, precision, name_or_path)

    @property
    def seen_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a picture or sound has: pixel_values, ..., or input_features, is_longer."""
        return tuple(name for name in self._seen.session.inputs if name not in _OF_TEXTS)

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a text has: input_ids, attention_mask, token_type_ids."""
        return tuple(name for name in self._texts.session.inputs if name in _OF_TEXTS)

    def run_joint(self, feeds: Mapping[str, Array]) -> Array:
        """The similarities, float32 (pictures or sounds, texts), of a joint graph, for both together."""
        return self._seen.run(feeds)[self.sense.logits]

    def run_seen(self, feeds: Mapping[str, Array]) -> Array:
        """Embeddings, float32 (batch, width), of any length."""
        self._refuse_joint()
        return self._seen.run(feeds)[self.sense.embeds]

    def run_texts(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`text_embeds` (texts, width) of a batch."""
        self._refuse_joint()
        return self._texts.run(feeds)

    def get_text_features(self, input_ids: Any, **inputs: Any) -> Array:
        """Embeddings of texts, float32 (texts, width), of any length."""
        feeds = {"input_ids": input_ids, **inputs}
        return self.run_texts({name: as_array(value) for name, value in feeds.items()})["text_embeds"]

    def similarity(self, embeds: Array, text_embeds: Array) -> Array:
        """The similarities, float32 (pictures or sounds, texts): cosines, scaled and shifted as the model learnt it.

        Args:
            embeds: float32 (pictures or sounds, width), from `run_seen`.
            text_embeds: float32 (texts, width), from `run_texts` or `get_text_features` of this model.
        """
        scale, bias = self._scale
        product = unit(embeds) @ unit(text_embeds).T
        return np.asarray(product * scale + bias, np.float32)

    def compare(self, feeds: Mapping[str, Array]) -> ModelOutput:
        """Everything against everything: the similarities, and of separate graphs the embeddings of length 1."""
        if self.joint:
            return ModelOutput(self._seen.run(feeds))
        texts = self.run_texts({name: value for name, value in feeds.items() if name in _OF_TEXTS})["text_embeds"]
        seen = self.run_seen({name: value for name, value in feeds.items() if name not in _OF_TEXTS})
        return ModelOutput(
            {
                self.sense.logits: self.similarity(seen, texts),
                "text_embeds": unit(texts),
                self.sense.embeds: unit(seen),
            }
        )

    @cached_property
    def _scale(self) -> tuple[np.float32, np.float32]:
        """What cosines are multiplied with and what is added: outputs of the text's graph, the same for any text."""
        length = self._texts.session.inputs["input_ids"].shape[1]
        outputs = self.run_texts({"input_ids": np.zeros((1, length if isinstance(length, int) else 1), np.int64)})
        return np.float32(outputs["logit_scale"]), np.float32(outputs.get("logit_bias", 0.0))

    def _refuse_joint(self) -> None:
        if self.joint:
            raise UnsupportedError(
                f"{self.name_or_path} is one graph for {self.sense.title} and texts together: call the model with "
                f"both, or export the original: onnxpipe export MODEL --task {self.sense.task} -o DIR"
            )


class DualEncoder(TwoEncoders):
    """Pictures and texts."""

    sense = Sense(
        "pictures", "vision_model", "pixel_values", "image_embeds", "logits_per_image",
        "zero-shot-image-classification", "CLIP or SigLIP",
    )  # fmt: skip

    def __call__(self, input_ids: Any = None, pixel_values: Any = None, return_dict: bool = True, **inputs: Any) -> Any:
        """Pictures against texts.

        Args:
            input_ids: token ids, int, shape (texts, sequence).
            pixel_values: float32, shape (images, channels, height, width).
            return_dict: False gives a tuple.
            **inputs: further inputs of the graphs, by name (`attention_mask`, ...).

        Returns:
            `ModelOutput` with `logits_per_image` (images, texts) and `logits_per_text` (texts, images), and of
            separate graphs `image_embeds` and `text_embeds`, each of length 1.
        """
        given = {"input_ids": input_ids, "pixel_values": pixel_values, **inputs}
        outputs = self.compare({name: as_array(value) for name, value in given.items() if value is not None})
        if not self.joint:
            logits = outputs["logits_per_image"]
            outputs = ModelOutput({"logits_per_image": logits, "logits_per_text": logits.T, **outputs})
        return outputs if return_dict else outputs.to_tuple()

    def get_image_features(self, pixel_values: Any, **inputs: Any) -> Array:
        """Embeddings of pictures, float32 (images, width), of any length."""
        feeds = {"pixel_values": pixel_values, **inputs}
        return self.run_seen({name: as_array(value) for name, value in feeds.items()})


class AudioDualEncoder(TwoEncoders):
    """Sounds and texts."""

    sense = Sense(
        "sounds", "audio_model", "input_features", "audio_embeds", "logits_per_audio",
        "zero-shot-audio-classification", "CLAP",
    )  # fmt: skip

    def __call__(
        self, input_ids: Any = None, input_features: Any = None, return_dict: bool = True, **inputs: Any
    ) -> Any:
        """Sounds against texts.

        Args:
            input_ids: token ids, int, shape (texts, sequence).
            input_features: float32, shape (sounds, 1 or 4, frames, mels), as CLAP's feature extractor gives it.
            return_dict: False gives a tuple.
            **inputs: further inputs of the graphs, by name (`attention_mask`, `is_longer`).

        Returns:
            `ModelOutput` with `logits_per_audio` (sounds, texts), and of separate graphs `audio_embeds` and
            `text_embeds`, each of length 1.
        """
        given = {"input_ids": input_ids, "input_features": input_features, **inputs}
        outputs = self.compare({name: as_array(value) for name, value in given.items() if value is not None})
        return outputs if return_dict else outputs.to_tuple()

    def get_audio_features(self, input_features: Any, **inputs: Any) -> Array:
        """Embeddings of sounds, float32 (sounds, width), of any length."""
        feeds = {"input_features": input_features, **inputs}
        return self.run_seen({name: as_array(value) for name, value in feeds.items()})


_OF_TEXTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


def unit(rows: Array) -> Array:
    """Rows of length 1, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)
