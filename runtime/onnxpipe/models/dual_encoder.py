"""Models that put pictures and texts into one space (CLIP, SigLIP, ALIGN): two encoders, and their similarity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Model, Opener, as_array
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.processing.outputs import ModelOutput


class DualEncoder(Model):
    """A picture's encoder and a text's.

    Two graphs, `vision_model` and `text_model`, so that neither is run for what the other has to say again: labels are
    encoded once for any number of pictures. The text's graph also gives `logit_scale` and `logit_bias`, which are
    weights of the original. Folders of others may hold one joint graph `model` instead; it has `joint` set, and is run
    with pictures and texts together.

    Args:
        bundle: the folder it came from.
        vision: the graph of pictures, or the joint one.
        texts: the graph of texts; None for a joint one.
        precision: of the graph of pictures.
        name_or_path: what the user called it.
    """

    main_input_name = "input_ids"

    def __init__(
        self, bundle: Bundle, vision: Session, texts: Session | None, precision: str, name_or_path: str
    ) -> None:
        super().__init__(bundle, vision, precision, name_or_path)
        self._vision = EncoderModel(bundle, vision, precision, name_or_path)
        self._texts = self._vision if texts is None else EncoderModel(bundle, texts, precision, name_or_path)
        self.joint = texts is None

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> DualEncoder:
        """The model of a bundle's graphs "vision_model" and "text_model", or of a joint "model"."""
        if "model" in bundle.graphs:
            session, precision = opener("model")
            if not {"input_ids", "pixel_values"} <= set(session.inputs) or "logits_per_image" not in session.outputs:
                raise UnsupportedError(
                    f"{name_or_path} does not compare pictures with texts: it takes {', '.join(session.inputs)} and "
                    f"gives {', '.join(session.outputs)}, not logits_per_image. Pass a model such as CLIP or SigLIP"
                )
            return cls(bundle, session, None, precision, name_or_path)
        vision, precision = opener("vision_model")
        texts, _ = opener("text_model")
        if "logit_scale" not in texts.outputs:
            raise UnsupportedError(
                f"{name_or_path} has an encoder of pictures and one of texts, and not what their product is scaled "
                "with (logit_scale), nor a joint graph model.onnx. Export the original model: onnxpipe export MODEL "
                "--task zero-shot-image-classification -o DIR"
            )
        return cls(bundle, vision, texts, precision, name_or_path)

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a picture has: pixel_values, pixel_attention_mask, spatial_shapes."""
        return tuple(name for name in self._vision.session.inputs if name not in _OF_TEXTS)

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a text has: input_ids, attention_mask, token_type_ids."""
        return tuple(name for name in self._texts.session.inputs if name in _OF_TEXTS)

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
        feeds = {name: as_array(value) for name, value in given.items() if value is not None}
        if self.joint:
            outputs = ModelOutput(self._vision.run(feeds))
        else:
            texts = self.run_texts({name: value for name, value in feeds.items() if name in _OF_TEXTS})
            images = self.run_images({name: value for name, value in feeds.items() if name not in _OF_TEXTS})
            logits = self.similarity(images["image_embeds"], texts["text_embeds"])
            outputs = ModelOutput(
                {
                    "logits_per_image": logits,
                    "logits_per_text": logits.T,
                    "text_embeds": _unit(texts["text_embeds"]),
                    "image_embeds": _unit(images["image_embeds"]),
                }
            )
        return outputs if return_dict else outputs.to_tuple()

    def run_joint(self, feeds: Mapping[str, Array]) -> Array:
        """`logits_per_image`, float32 (images, texts), of a joint graph, for pictures and texts together."""
        return self._vision.run(feeds)["logits_per_image"]

    def run_images(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`image_embeds` (images, width) of a batch."""
        self._refuse_joint()
        return self._vision.run(feeds)

    def run_texts(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`text_embeds` (texts, width) of a batch."""
        self._refuse_joint()
        return self._texts.run(feeds)

    def get_image_features(self, pixel_values: Any, **inputs: Any) -> Array:
        """Embeddings of pictures, float32 (images, width), of any length."""
        feeds = {"pixel_values": pixel_values, **inputs}
        return self.run_images({name: as_array(value) for name, value in feeds.items()})["image_embeds"]

    def get_text_features(self, input_ids: Any, **inputs: Any) -> Array:
        """Embeddings of texts, float32 (texts, width), of any length."""
        feeds = {"input_ids": input_ids, **inputs}
        return self.run_texts({name: as_array(value) for name, value in feeds.items()})["text_embeds"]

    def similarity(self, image_embeds: Array, text_embeds: Array) -> Array:
        """`logits_per_image`, float32 (images, texts): the cosines, scaled and shifted as the model learnt it.

        Args:
            image_embeds: float32 (images, width), from `run_images` or `get_image_features`.
            text_embeds: float32 (texts, width), from `run_texts` or `get_text_features` of this model.
        """
        scale, bias = self._scale
        product = _unit(image_embeds) @ _unit(text_embeds).T
        return np.asarray(product * scale + bias, np.float32)

    @cached_property
    def _scale(self) -> tuple[np.float32, np.float32]:
        """What cosines are multiplied with and what is added: outputs of the text's graph, the same for any text."""
        length = self._texts.session.inputs["input_ids"].shape[1]
        outputs = self.run_texts({"input_ids": np.zeros((1, length if isinstance(length, int) else 1), np.int64)})
        return np.float32(outputs["logit_scale"]), np.float32(outputs.get("logit_bias", 0.0))

    def _refuse_joint(self) -> None:
        if self.joint:
            raise UnsupportedError(
                f"{self.name_or_path} is one graph for pictures and texts together: call the model with both, or "
                "export the original: onnxpipe export MODEL --task zero-shot-image-classification -o DIR"
            )


_OF_TEXTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)
