"""Models that write about an image: an encoder of images with a decoder of text (VisionEncoderDecoder, BLIP)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.models.image_to_text.base import ImageToTextModel
from onnxpipe.models.seq2seq.base import EncoderDecoder, find_main_input
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs
from onnxpipe.models.seq2seq.inputs import full_mask

#: Names of the encoder's input for images: pixels, or patches.
IMAGE_INPUTS = ("pixel_values", "flattened_patches")


class ImageToText(ImageToTextModel, EncoderDecoder):
    """An encoder of images with a decoder of text: call it for logits, or `generate()` text.

    Attributes:
        main_input_name: "pixel_values" or "flattened_patches".
    """

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs, name_or_path)
        self.main_input_name = find_main_input(graphs.encoder, IMAGE_INPUTS, "images")

    def __call__(
        self,
        pixel_values: Any = None,
        flattened_patches: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        encoder_outputs: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Compute the logits of a batch, without a cache.

        Args:
            pixel_values, flattened_patches: the images as the processor returns them, float32, under the model's
                `main_input_name`.
            attention_mask: of patches: 1 except for padding; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: the encoder's output (its first entry is `last_hidden_state`), instead of the images.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, places, width).

        Raises:
            ValueError: no input, or of a wrong shape.
        """
        images = {"pixel_values": pixel_values, "flattened_patches": flattened_patches}
        given = {**images, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs}
        return self.whole(given, decoder_input_ids, return_dict=return_dict)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | ({"attention_mask"} & self.graphs.encoder.inputs.keys())

    @property
    def image_inputs(self) -> Collection[str]:
        """Inputs of the graph that encodes images."""
        return self.graphs.encoder.inputs.keys()

    @property
    def vocab_size(self) -> int:
        """Logits of a position: the number of tokens."""
        inner = self.config.get("decoder") or self.config.get("text_config") or {}
        size = self.session.outputs["logits"].shape[-1]
        return int(inner["vocab_size"]) if not isinstance(size, int) and "vocab_size" in inner else super().vocab_size

    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode images: `main_input_name`; `attention_mask` of patches.

        Raises:
            ValueError: there are none, or of another size than the graph takes.
        """
        images = self.main_input(inputs)
        feeds = {self.main_input_name: images}
        if "attention_mask" in self.graphs.encoder.inputs:
            feeds["attention_mask"] = full_mask(images.shape[:2], inputs.get("attention_mask"))
        return self.graphs.encode(feeds, feeds.get("attention_mask"))
