"""BLIP: captions of images, and answers to questions about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Opener
from onnxpipe.models.generative import GenerativeModel
from onnxpipe.models.image_to_text.model import ImageToText
from onnxpipe.models.seq2seq.base import EncoderDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs
from onnxpipe.models.seq2seq.inputs import text_inputs
from onnxpipe.models.vision_encoder import VisionEncoder
from onnxpipe.processing.arrays import to_array


class BlipCaptioner(ImageToText):
    """BLIP for captions, which may continue a text."""

    takes_prompt: ClassVar[bool] = True

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str) -> None:
        super().__init__(bundle, graphs, name_or_path)
        _name_ends(self)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | {"input_ids", "attention_mask"}

    def generate(self, inputs: Any = None, *args: Any, input_ids: Any = None, **kwargs: Any) -> Any:
        """Generate captions; see `GenerativeModel.generate`.

        Args:
            inputs: the images.
            *args: see `GenerativeModel.generate`.
            input_ids: a text that the captions continue, int (images, length), as the tokenizer gives it: its first
                token becomes the start, and its last, [SEP], is cut off (as in transformers).
            **kwargs: see `GenerativeModel.generate`.

        Raises:
            ValueError: texts with padding, of which this decoder has no mask.
        """
        mask = kwargs.pop("attention_mask", None)
        if input_ids is not None:
            if mask is not None and not to_array(mask).all():
                raise ValueError(
                    f"{self.name_or_path} takes texts of one length: attention_mask marks padding. Pass images whose "
                    "texts have different lengths one at a time"
                )
            prompt = np.array(to_array(input_ids), np.int64)[:, :-1]
            prompt[:, :1] = np.asarray(self.generation_config.decoder_start_token_id, np.int64)
            kwargs["decoder_input_ids"] = prompt
        return super().generate(inputs, *args, **kwargs)


class BlipQuestions(EncoderDecoder):
    """BLIP for questions about images: `generate()` with `input_ids` and `pixel_values`.

    The decoder attends to padding as the original's does, so questions of different lengths are to be run apart.

    Args:
        bundle: the folder it came from.
        graphs: the graphs of the questions and of the decoder.
        name_or_path: what the user called it.
        vision: encodes the images.
    """

    def __init__(self, bundle: Bundle, graphs: Seq2SeqGraphs, name_or_path: str, vision: VisionEncoder) -> None:
        super().__init__(bundle, graphs, name_or_path)
        self.vision = vision
        _name_ends(self)

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Self:
        """Load the model of a bundle's three graphs; the vision encoder is opened when the first image comes."""
        return cls(bundle, Seq2SeqGraphs.load(bundle, opener), name_or_path, VisionEncoder(opener, batched=True))

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
            input_ids: the questions' token ids, int, shape (batch, sequence).
            pixel_values: the images, float32, shape (batch, channels, height, width).
            attention_mask: 1 for tokens of the questions, 0 for padding; all ones by default.
            decoder_input_ids: the decoder's token ids, int, shape (batch, decoder sequence).
            encoder_outputs: the states of the questions, instead of the questions and the images.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput` with `logits`, float32 (batch, decoder sequence, vocabulary), and
            `encoder_last_hidden_state`, float32 (batch, sequence, width).

        Raises:
            ValueError: no input, or of a wrong shape.
        """
        question = {"input_ids": input_ids, "attention_mask": attention_mask}
        given = {**question, "pixel_values": pixel_values, "encoder_outputs": encoder_outputs}
        return self.whole(given, decoder_input_ids, return_dict=return_dict)

    @property
    def input_names(self) -> frozenset[str]:
        """Inputs that `generate()` takes besides generation parameters."""
        return super().input_names | {"attention_mask", "pixel_values"}

    def encode_inputs(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode questions about images: `input_ids`, `attention_mask`; `pixel_values`.

        Raises:
            ValueError: a question or an image is missing or has a wrong shape, or there are not as many of both.
        """
        missing = [name for name in ("input_ids", "pixel_values") if inputs.get(name) is None]
        if missing:
            raise UnsupportedError(f"{missing[0]} must be given: this model answers questions about images")
        ids, mask = text_inputs(inputs)
        pixels = self.vision.session.fit("pixel_values", to_array(inputs["pixel_values"]))
        if len(ids) != len(pixels):
            raise UnsupportedError(f"there are {len(ids)} questions and {len(pixels)} images: one image a question")
        images = self.vision.encode([{"pixel_values": image[None]} for image in pixels])
        features = np.stack([image["image_features"] for image in images])
        return self.graphs.encode({"input_ids": ids, "attention_mask": mask, "image_features": features}, None)


def _name_ends(model: GenerativeModel) -> None:
    """Take the tokens that start and end a text from the text's config, as BLIP's own `generate()` does.

    Raises:
        UnsupportedError: the config does not name them.
    """
    text = model.config.get("text_config") or {}
    wanted = {"decoder_start_token_id": "bos_token_id", "eos_token_id": "sep_token_id", "pad_token_id": "pad_token_id"}
    # a Config has None for names of all models that its file leaves out, and not the default of BLIP
    known = {name: text.get(source) if source in text else _DEFAULT_IDS[source] for name, source in wanted.items()}
    if not all(isinstance(number, int) for number in known.values()):
        raise UnsupportedError(
            f"{model.name_or_path}: config.json has no numbers for the special tokens of text_config"
        )
    model.generation_config.update(**known)


#: The ids of a text_config that leaves them out, as in transformers.
_DEFAULT_IDS: Mapping[str, int] = {"bos_token_id": 30522, "sep_token_id": 102, "pad_token_id": 0}
