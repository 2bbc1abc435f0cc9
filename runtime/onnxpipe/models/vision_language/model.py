"""Vision-language models: a causal language model that sees images in its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.causal_lm.graph import CausalGraph
from onnxpipe.models.causal_lm.inputs import EmbeddedTokens, TokenEmbeddings
from onnxpipe.models.causal_lm.model import CausalLM
from onnxpipe.models.vision_encoder import GRAPH, VisionEncoder
from onnxpipe.models.vision_language.families import family_of
from onnxpipe.models.vision_language.family import (
    Array,
    EncodedImages,
    Family,
    join_encoded,
    split_encoded,
    token_of,
)
from onnxpipe.models.vision_language.image_encoding import ImageEncodingMixin


class VisionLanguageModel(ImageEncodingMixin, CausalLM):
    """A language model whose prompts have images: call it for logits, or `generate()` text.

    Args:
        bundle: the folder it came from.
        graph: the decoder.
        name_or_path: what the user called it.
        embeddings: embeds tokens.
        vision: encodes images.
        family: what is special about its family.

    Attributes:
        vision, family: as above.
        image_token_id, video_token_id: the placeholders of features in a prompt.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: CausalGraph,
        name_or_path: str,
        embeddings: TokenEmbeddings,
        vision: VisionEncoder,
        family: Family,
    ) -> None:
        super().__init__(bundle, graph, name_or_path, embeddings)
        self.vision, self.family = vision, family
        token = token_of(bundle.config, "image")
        if token is None:
            raise UnsupportedError(f"{name_or_path}: config.json names no image_token_id, so images have no place")
        self.image_token_id = token
        self.video_token_id = token_of(bundle.config, "video") if family.has_videos else None

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> VisionLanguageModel:
        """Load the model of a bundle's three graphs; the vision encoder is opened when the first image comes.

        Raises:
            UnsupportedError: it does not have them.
        """
        needed = (GRAPH, "embed_tokens", "decoder_model_merged")
        missing = [name for name in needed if name not in bundle.graphs]
        if missing:
            raise UnsupportedError(
                f"{name_or_path} is not a vision-language model: it has {', '.join(sorted(bundle.graphs))}, but not "
                f"{', '.join(missing)}"
            )
        graph = CausalGraph.load(bundle, opener)
        family = family_of(bundle.config)
        vision = VisionEncoder(opener, batched=family.batched)
        return cls(bundle, graph, name_or_path, TokenEmbeddings(opener("embed_tokens")[0]), vision, family)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | self.family.inputs | self.family.unused | {"encoded_images"}

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
        **images: Any,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_ids, attention_mask, position_ids, past_key_values, use_cache, return_dict: see `CausalLM`.
            **images: what the processor made of images and videos: `pixel_values`, and by family more.

        Raises:
            UnknownArgumentError: an input that the family does not have.
            ImageError: as `generate()`.
        """
        known = self.family.inputs | self.family.unused | {"encoded_images", "token_type_ids"}
        for name in images:
            if name not in known:
                raise UnknownArgumentError.among(type(self).__name__, name, known)
        return self.whole(
            input_ids, attention_mask, position_ids, past_key_values, images=images, return_dict=return_dict
        )

    def decoder_inputs(self, rows: list[Array], inputs: Mapping[str, Any]) -> EmbeddedTokens:
        """Embed prompts, with the features of images and videos for placeholders; see `CausalLM.decoder_inputs`.

        Raises:
            ImageError: there are more placeholders than features, or fewer.
        """
        assert self.embeddings is not None
        encoded: EncodedImages = inputs.get("encoded_images") or self.encode_images(inputs)
        encoded = join_encoded(split_encoded(encoded, rows, self.placeholders))
        features = np.concatenate(encoded["features"]) if encoded["features"] else None
        return EmbeddedTokens(
            self.embeddings,
            rows,
            self.placeholders,
            features,
            self.family.positions(rows, encoded),
            self.family.extra(rows, encoded),
        )
