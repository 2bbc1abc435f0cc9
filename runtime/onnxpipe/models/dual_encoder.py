"""Models that embed texts and another modality in one space: images (CLIP, SigLIP, ALIGN) or audio (CLAP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput


@dataclass(frozen=True)
class Modality:
    """The modality that is compared with texts.

    Attributes:
        title: what messages call its inputs.
        graph: the graph of its encoder.
        values: that graph's main input, and that of a joint graph.
        embeds: that graph's output.
        logits: transformers' name of the similarities, which have a row for each image or recording.
        task: the task that such a model is exported for.
        example: names of such models.
    """

    title: str
    graph: str
    values: str
    embeds: str
    logits: str
    task: str
    example: str


class DualEncoderModel(Model):
    """An encoder of images or audio, and one of texts.

    There are two graphs, so that labels are encoded once for any number of images. The text graph also gives
    `logit_scale` and `logit_bias`, which are weights of the original. Folders of other exporters may hold one joint
    graph `model` instead: then `joint` is set, and both inputs are run together.

    Args:
        bundle: the folder it came from.
        image_or_audio: the graph of images or audio, or the joint one.
        texts: the graph of texts; None for a joint one.
        precision: of the first.
        name_or_path: what the user called it.
    """

    main_input_name = "input_ids"
    modality: ClassVar[Modality]

    def __init__(
        self, bundle: Bundle, image_or_audio: Session, texts: Session | None, precision: str, name_or_path: str
    ) -> None:
        super().__init__(bundle, image_or_audio, precision, name_or_path)
        self._image_or_audio = EncoderModel(bundle, image_or_audio, precision, name_or_path)
        self._texts = self._image_or_audio if texts is None else EncoderModel(bundle, texts, precision, name_or_path)
        self.joint = texts is None

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Self:
        """Load the model of a bundle's two graphs, or of a joint "model"."""
        modality = cls.modality
        if "model" in bundle.graphs:
            session, precision = opener("model")
            if not {"input_ids", modality.values} <= set(session.inputs) or modality.logits not in session.outputs:
                raise UnsupportedError(
                    f"{name_or_path} does not compare {modality.title} with texts: its inputs are "
                    f"{', '.join(session.inputs)} and its outputs {', '.join(session.outputs)}, without "
                    f"{modality.logits}. Pass a model such as {modality.example}"
                )
            return cls(bundle, session, None, precision, name_or_path)
        image_or_audio, precision = opener(modality.graph)
        texts, _ = opener("text_model")
        if "logit_scale" not in texts.outputs:
            raise UnsupportedError(
                f"{name_or_path} has an encoder of {modality.title} and one of texts, but neither the output "
                "logit_scale, which their product is scaled with, nor a joint graph model.onnx. Export the original "
                f"model: onnxpipe export MODEL --task {modality.task} -o DIR"
            )
        return cls(bundle, image_or_audio, texts, precision, name_or_path)

    @property
    def other_inputs(self) -> tuple[str, ...]:
        """Names of the inputs of an image (pixel_values, ...) or a recording (input_features, is_longer)."""
        return tuple(name for name in self._image_or_audio.session.inputs if name not in _TEXT_INPUTS)

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """Names of the inputs of a text: input_ids, attention_mask, token_type_ids."""
        return tuple(name for name in self._texts.session.inputs if name in _TEXT_INPUTS)

    def run_joint(self, feeds: Mapping[str, Array]) -> Array:
        """Compute the similarities, float32 (images or recordings, texts), by a joint graph."""
        return self._image_or_audio.run(feeds)[self.modality.logits]

    def run_other(self, feeds: Mapping[str, Array]) -> Array:
        """Embed a batch of images or recordings: float32 (batch, width), not normalised."""
        self._refuse_joint()
        return self._image_or_audio.run(feeds)[self.modality.embeds]

    def run_texts(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Embed a batch of texts: `text_embeds` (texts, width)."""
        self._refuse_joint()
        return self._texts.run(feeds)

    def get_text_features(self, input_ids: Any, **inputs: Any) -> Array:
        """Embed texts: float32 (texts, width), not normalised."""
        feeds = {"input_ids": input_ids, **inputs}
        return self.run_texts({name: to_array(value) for name, value in feeds.items()})["text_embeds"]

    def similarity(self, embeds: Array, text_embeds: Array) -> Array:
        """Compute the similarities, float32 (images or recordings, texts): cosines, scaled and shifted as the model
        learnt it.

        Args:
            embeds: float32 (images or recordings, width), from `run_other`.
            text_embeds: float32 (texts, width), from `run_texts` or `get_text_features` of this model.
        """
        scale, bias = self._scale
        product = unit(embeds) @ unit(text_embeds).T
        return np.asarray(product * scale + bias, np.float32)

    def compare(self, feeds: Mapping[str, Array]) -> ModelOutput:
        """Compare every image or recording with every text: similarities, and of separate graphs unit embeddings."""
        if self.joint:
            return ModelOutput(self._image_or_audio.run(feeds))
        texts = self.run_texts({name: value for name, value in feeds.items() if name in _TEXT_INPUTS})["text_embeds"]
        image_or_audio = self.run_other({name: value for name, value in feeds.items() if name not in _TEXT_INPUTS})
        return ModelOutput(
            {
                self.modality.logits: self.similarity(image_or_audio, texts),
                "text_embeds": unit(texts),
                self.modality.embeds: unit(image_or_audio),
            }
        )

    @cached_property
    def _scale(self) -> tuple[np.float32, np.float32]:
        """The factor and the offset of the cosines: outputs of the text graph, the same for any text."""
        length = self._texts.session.inputs["input_ids"].shape[1]
        outputs = self.run_texts({"input_ids": np.zeros((1, length if isinstance(length, int) else 1), np.int64)})
        return np.float32(outputs["logit_scale"]), np.float32(outputs.get("logit_bias", 0.0))

    def _refuse_joint(self) -> None:
        if self.joint:
            raise UnsupportedError(
                f"{self.name_or_path} is one graph for {self.modality.title} and texts together: call the model with "
                f"both, or export the original: onnxpipe export MODEL --task {self.modality.task} -o DIR"
            )


class ImageDualEncoder(DualEncoderModel):
    """An encoder of images, and one of texts."""

    modality = Modality(
        "images", "vision_model", "pixel_values", "image_embeds", "logits_per_image",
        "zero-shot-image-classification", "CLIP or SigLIP",
    )  # fmt: skip

    def __call__(self, input_ids: Any = None, pixel_values: Any = None, return_dict: bool = True, **inputs: Any) -> Any:
        """Compare images with texts.

        Args:
            input_ids: token ids, int, shape (texts, sequence).
            pixel_values: float32, shape (images, channels, height, width).
            return_dict: False gives a tuple.
            **inputs: further inputs of the graphs, by name (`attention_mask`, ...).

        Returns:
            `ModelOutput` with `logits_per_image` (images, texts) and `logits_per_text` (texts, images), and of
            separate graphs `image_embeds` and `text_embeds`, each of length 1.
        """
        arguments = {"input_ids": input_ids, "pixel_values": pixel_values, **inputs}
        outputs = self.compare({name: to_array(value) for name, value in arguments.items() if value is not None})
        if not self.joint:
            logits = outputs["logits_per_image"]
            outputs = ModelOutput({"logits_per_image": logits, "logits_per_text": logits.T, **outputs})
        return outputs if return_dict else outputs.to_tuple()

    def get_image_features(self, pixel_values: Any, **inputs: Any) -> Array:
        """Embed images: float32 (images, width), not normalised."""
        feeds = {"pixel_values": pixel_values, **inputs}
        return self.run_other({name: to_array(value) for name, value in feeds.items()})


class AudioDualEncoder(DualEncoderModel):
    """An encoder of recordings, and one of texts."""

    modality = Modality(
        "recordings", "audio_model", "input_features", "audio_embeds", "logits_per_audio",
        "zero-shot-audio-classification", "CLAP",
    )  # fmt: skip

    def __call__(
        self, input_ids: Any = None, input_features: Any = None, return_dict: bool = True, **inputs: Any
    ) -> Any:
        """Compare recordings with texts.

        Args:
            input_ids: token ids, int, shape (texts, sequence).
            input_features: float32, shape (recordings, 1 or 4, frames, mels), as CLAP's feature extractor gives it.
            return_dict: False gives a tuple.
            **inputs: further inputs of the graphs, by name (`attention_mask`, `is_longer`).

        Returns:
            `ModelOutput` with `logits_per_audio` (recordings, texts), and of separate graphs `audio_embeds` and
            `text_embeds`, each of length 1.
        """
        arguments = {"input_ids": input_ids, "input_features": input_features, **inputs}
        outputs = self.compare({name: to_array(value) for name, value in arguments.items() if value is not None})
        return outputs if return_dict else outputs.to_tuple()

    def get_audio_features(self, input_features: Any, **inputs: Any) -> Array:
        """Embed recordings: float32 (recordings, width), not normalised."""
        feeds = {"input_features": input_features, **inputs}
        return self.run_other({name: to_array(value) for name, value in feeds.items()})


_TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


def unit(rows: Array) -> Array:
    """Scale rows to length 1, float32."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)
