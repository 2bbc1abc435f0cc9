"""Florence-2: an encoder-decoder model whose encoder reads images among the tokens of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.causal_lm.inputs import TokenEmbeddings
from onnxpipe.models.seq2seq.base import EncoderDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs
from onnxpipe.models.seq2seq.inputs import text_inputs
from onnxpipe.models.vision_encoder import VisionEncoder
from onnxpipe.models.vision_language.family import Array, EncodedImages, Family
from onnxpipe.models.vision_language.image_encoding import ImageEncodingMixin


class VisionSeq2SeqLM(ImageEncodingMixin, EncoderDecoder):
    """An encoder-decoder model that sees images: call it for logits, or `generate()` text.

    Args:
        bundle: the folder it came from.
        graphs: the graphs of encoder and decoder.
        name_or_path: what the user called it.
        embeddings: embeds tokens.
        vision: encodes images.

    Attributes:
        vision: as above.
        image_token_id: the placeholder of an image's features in a prompt.
    """

    def __init__(
        self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str, embeddings: TokenEmbeddings,
        vision: VisionEncoder,
    ) -> None:  # fmt: skip
        super().__init__(bundle, graphs, name_or_path)
        self.embeddings, self.vision = embeddings, vision
        self.family = Family(bundle.config)
        token = bundle.config.get("image_token_id")
        if not isinstance(token, int):
            raise UnsupportedError(f"{name_or_path}: config.json names no image_token_id, so images have no place")
        self.image_token_id = token

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> VisionSeq2SeqLM:
        """Load the model of a bundle's four graphs; the vision encoder is opened when the first image comes."""
        graphs, embeddings = Seq2SeqGraphs.load(bundle, opener), TokenEmbeddings(opener("embed_tokens")[0])
        return cls(bundle, graphs, name_or_path, embeddings, VisionEncoder(opener, batched=True))

    def __call__(
        self,
        input_ids: Any = None,
        pixel_values: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        encoder_outputs: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            input_ids: the prompts' token ids, int, shape (batch, sequence).
            pixel_values: the images, float32, shape (images, channels, height, width).
            attention_mask: 1 for tokens of the prompts, 0 for padding; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: the encoder's output, instead of the prompts and the images.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            ValueError: no input, or of a wrong shape.
            ImageError: there are more placeholders than features, or fewer.
        """
        prompts = {"input_ids": input_ids, "attention_mask": attention_mask}
        given = {**prompts, "pixel_values": pixel_values, "encoder_outputs": encoder_outputs}
        return self.whole(given, decoder_input_ids, return_dict=return_dict)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | {"attention_mask", "pixel_values", "encoded_images"}

    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode prompts with their images.

        Raises:
            ValueError: a prompt is missing, or has a wrong shape.
            ImageError: there are more placeholders than features, or fewer.
        """
        ids, mask = text_inputs(inputs)
        encoded: EncodedImages = inputs.get("encoded_images") or self.encode_images(inputs)
        embeds = self._merged(ids, encoded["features"])
        return self.graphs.encode({"inputs_embeds": embeds, "attention_mask": mask}, mask)

    def _merged(self, ids: Array, features: Sequence[Array]) -> Array:
        """Embed prompts, int64 (batch, length), with the features of images where their placeholders are."""
        marks = ids == self.image_token_id
        count = sum(map(len, features))
        if marks.sum() != count:
            raise ImageError(
                f"Image features and image tokens do not match, tokens: {marks.sum()}, features: {count}. A prompt "
                "with images has to be whole (no truncation), with the images that it names and no others"
            )
        embeds = np.array(self.embeddings(np.where(marks, 0, ids))["inputs_embeds"])
        if features:
            embeds[marks] = np.concatenate(features)
        return embeds
