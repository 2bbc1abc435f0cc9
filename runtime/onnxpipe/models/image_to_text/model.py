"""Models that write about an image: an encoder of images with a decoder of text (VisionEncoderDecoder, BLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.models.seq2seq.decoder import Seq2SeqDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs, encoder_states
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]

#: Names of the encoder's input for images: pixels, or patches.
IMAGE_INPUTS = ("pixel_values", "flattened_patches")


class ImageToText(GenerativeModel):
    """An encoder of images with a decoder of text: call it for logits, or `generate()` text.

    Args:
        bundle: the folder it came from.
        graphs: its graphs.
        name_or_path: what the user called it.

    Attributes:
        main_input_name: "pixel_values" or "flattened_patches".
        takes_prompt: whether a text may begin what is generated.
    """

    is_encoder_decoder: ClassVar[bool] = True
    takes_prompt: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs.steps, graphs.precision, name_or_path)
        self.graphs = graphs
        known = graphs.encoder.inputs
        image_input = next((name for name in IMAGE_INPUTS if name in known), None)
        if image_input is None:
            raise UnsupportedError(
                f"{graphs.encoder.path} is not an encoder of images: its inputs are {', '.join(known)}"
            )
        self.main_input_name = image_input

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Self:
        """Load the model of a bundle's encoder and decoder."""
        return cls(bundle, Seq2SeqGraphs.load(bundle, opener), name_or_path)

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
        if decoder_input_ids is None:
            raise ValueError("decoder_input_ids must be given: int, shape (batch, decoder sequence)")
        given = {"pixel_values": pixel_values, "flattened_patches": flattened_patches}
        encoded = self.encode({**given, "attention_mask": attention_mask, "encoder_outputs": encoder_outputs})
        tokens = np.asarray(to_array(decoder_input_ids), np.int64)
        logits = self.graphs.whole(tokens, encoded, ["logits"])["logits"]
        outputs = ModelOutput(logits=logits, encoder_last_hidden_state=encoded.states.numpy())
        return outputs if return_dict else outputs.to_tuple()

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        masked = {"attention_mask"} & set(self.graphs.encoder.inputs)
        return frozenset({self.main_input_name, *masked, "encoder_outputs", "decoder_input_ids"})

    @property
    def vocab_size(self) -> int:
        """Logits of a position: the number of tokens."""
        inner = self.config.get("decoder") or self.config.get("text_config") or {}
        size = self.session.outputs["logits"].shape[-1]
        return int(inner["vocab_size"]) if not isinstance(size, int) and "vocab_size" in inner else super().vocab_size

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Seq2SeqDecoder:
        """Begin a decoding of a batch of prompts; see `onnxpipe.generation.protocols.GenerationModel`."""
        encoded = self.encode(inputs)
        tokens = np.asarray(prompt, np.int64)
        if len(tokens) != len(encoded):
            raise ValueError(f"decoder_input_ids has {len(tokens)} rows and there are {len(encoded)} images")
        return Seq2SeqDecoder(self.graphs, tokens, encoded, copies, hidden=hidden)

    def encode(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode images, or take the encoder's output that was passed.

        Args:
            inputs: the images under `main_input_name`; or `encoder_outputs`.

        Raises:
            ValueError: neither is there, or images of another size than the graph takes.
        """
        outputs = inputs.get("encoder_outputs")
        if isinstance(outputs, Encoded) and outputs.owner is self.graphs:
            return outputs
        mask = inputs.get("attention_mask")
        if outputs is not None and not isinstance(outputs, Encoded):
            return self.graphs.encoded(encoder_states(outputs), None if mask is None else to_array(mask))
        name = self.main_input_name
        shape = self.graphs.encoder.inputs[name].shape
        if inputs.get(name) is None:
            raise ValueError(f"{name} must be given: float32, shape {shape}")
        images = to_array(inputs[name])
        self.check_shape(name, images, shape)
        feeds = {name: images}
        if "attention_mask" in self.graphs.encoder.inputs:
            ones = np.ones(images.shape[:2], np.int64)
            feeds["attention_mask"] = ones if mask is None else np.asarray(to_array(mask), np.int64)
        return self.graphs.encode(feeds, feeds.get("attention_mask"))

    def check_shape(self, name: str, images: Array, shape: Sequence[int | str | None]) -> None:
        """Raise ValueError where images have not the shape that their graph takes."""
        fits = len(images.shape) == len(shape) and all(
            not isinstance(own, int) or own == size for own, size in zip(shape, images.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name} has the shape {images.shape}, and {self.name_or_path} takes {tuple(shape)}")
