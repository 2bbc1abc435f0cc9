"""GIT: a causal language model whose texts stand behind the features of an image.

Source: "GIT: A Generative Image-to-text Transformer for Vision and Language" (Wang et al. 2022), section 3.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.causal_lm.graph import CausalGraph
from onnxpipe.models.causal_lm.inputs import EmbeddedTokens, Positions, TokenEmbeddings, TokenFeature
from onnxpipe.models.causal_lm.model import CausalLM
from onnxpipe.models.causal_lm.switching import SwitchingDecoder
from onnxpipe.models.causal_lm.uncached import CausalDecoder
from onnxpipe.models.image_to_text.base import ImageToTextModel
from onnxpipe.models.vision_encoder import VisionEncoder
from onnxpipe.models.vision_language.family import Array, Family
from onnxpipe.models.vision_language.image_encoding import ImageEncodingMixin
from onnxpipe.processing.arrays import to_array

#: Stands for a feature of an image in a row; no token has this id.
_FEATURE = -1


class GitCaptioner(ImageEncodingMixin, ImageToTextModel, CausalLM):
    """GIT for captions, which may continue a text: call it for logits, or `generate()` text.

    Args:
        bundle: the folder it came from.
        graph: the decoder.
        name_or_path: what the user called it.
        embeddings: embeds tokens.
        vision: encodes images.
    """

    takes_prompt: ClassVar[bool] = True

    def __init__(
        self, bundle: Bundle, graph: CausalGraph, name_or_path: str, embeddings: TokenEmbeddings, vision: VisionEncoder
    ) -> None:
        super().__init__(bundle, graph, name_or_path, embeddings)
        self.vision, self.family = vision, Family(bundle.config)

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> GitCaptioner:
        """Load the model of a bundle's three graphs; the vision encoder is opened when the first image comes."""
        graph, embeddings = CausalGraph.load(bundle, opener), TokenEmbeddings(opener("embed_tokens")[0])
        return cls(bundle, graph, name_or_path, embeddings, VisionEncoder(opener, batched=True))

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | self.family.inputs

    @property
    def image_inputs(self) -> Collection[str]:
        """Inputs of the graph that encodes images."""
        return self.vision.session.inputs.keys()

    def prompt_ids(self, tokenizer: Any, prompt: str | None) -> list[int]:
        """Tokenize the beginning of a text as `generate()` takes it: [CLS] and its words, without an end.

        Raises:
            UnsupportedError: there is no beginning, and the model names no token to begin with.
        """
        if prompt is not None:
            return [tokenizer.cls_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        first = self.generation_config.bos_token_id
        if not isinstance(first, int):
            raise UnsupportedError(f"{self.name_or_path}: its config names no bos_token_id, with which a text begins")
        return [first]

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
        *,
        pixel_values: Any = None,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, use_cache, return_dict: see `CausalLM`.
            pixel_values: the images, float32, shape (images, channels, height, width): one for each row, or as many
                that the rows are a multiple of them, which then take turns; None for text alone.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, features of an image + sequence, vocabulary); zeros at padding.

        Raises:
            UnsupportedError: an argument that is refused.
            ImageError: the images are not as many as the rows, or of a size that the model does not take.
            ValueError: no input, or a mask of another shape.
        """
        if input_ids is None:
            raise ValueError("input_ids must be given: int, shape (batch, sequence)")
        ids = np.asarray(to_array(input_ids), np.int64)
        rows, inputs = self._behind_images(ids, {"pixel_values": pixel_values, "attention_mask": attention_mask})
        mask = inputs["attention_mask"]
        return self.whole(rows, mask, position_ids, past_key_values, images=inputs, return_dict=return_dict)

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> CausalDecoder | SwitchingDecoder:
        """Begin a decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`.

        Raises:
            ImageError: as a call.
        """
        rows, inputs = self._behind_images(np.asarray(prompt, np.int64), inputs)
        max_length += rows.shape[1] - np.shape(prompt)[1]
        return super().start(rows, inputs, copies=copies, max_length=max_length, hidden=hidden)

    def _behind_images(self, ids: Array, inputs: Mapping[str, Any]) -> tuple[Array, Mapping[str, Any]]:
        """Encode the images of rows, and put places for their features before the rows and in their mask."""
        encoded = self.encode_images(inputs)
        images = encoded["features"]
        if not images:
            return ids, inputs
        if ids.ndim != 2 or len(ids) % len(images):
            raise ImageError(
                f"input_ids has the shape {ids.shape} and there are {len(images)} images: one for each row"
            )
        places = np.full((len(ids), len(images[0])), _FEATURE)
        mask = inputs.get("attention_mask")
        if mask is not None:
            mask = np.concatenate([np.ones_like(places), to_array(mask)], axis=1)
        encoded["features"] = images * (len(ids) // len(images))
        return np.concatenate([places, ids], axis=1), {**inputs, "attention_mask": mask, "encoded_images": encoded}

    def decoder_inputs(self, rows: list[Array], inputs: Mapping[str, Any]) -> EmbeddedTokens:
        """Embed texts behind the features of their images; the positions are those of the text alone."""
        assert self.embeddings is not None
        images = inputs["encoded_images"]["features"] if "encoded_images" in inputs else []
        types = [(row == _FEATURE).astype(np.int64) for row in rows]
        counts = np.array([int(each.sum()) for each in types], np.int64)
        return EmbeddedTokens(
            self.embeddings,
            rows,
            (_FEATURE,),
            np.concatenate(images) if images else None,
            Positions([_text_positions(each) for each in types], -counts),
            {"token_type_ids": TokenFeature(types)},
        )


def _text_positions(types: Array) -> Array:
    """Count the tokens of text, int64 (1, length); features, whose type is 1, have 0."""
    return np.asarray(np.maximum((1 - types).cumsum() - 1, 0))[None]
