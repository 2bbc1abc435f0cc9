"""Encode prompts as the families of image generators take them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpipe.engine.batching import Array
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.diffusion.text_encoder import TextEncoder, TextStates
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.image_generation.request import ImageRequest, Prompt

logger = logging.getLogger("onnxpipe")

#: Tokens of CLIP, if its tokenizer does not say.
_CLIP_TOKENS = 77
_NO_LIMIT = 100_000


@dataclass(frozen=True)
class EncodedPrompts:
    """Prompts, encoded, one entry for each image to make.

    Attributes:
        embeds: float32 (images, tokens, width).
        pooled: float32 (images, width); None where the denoiser takes none.
        negative, negative_pooled: the same of the negative prompts; None without guidance.
    """

    embeds: Array
    pooled: Array | None = None
    negative: Array | None = None
    negative_pooled: Array | None = None

    def joined(self) -> tuple[Array, Array | None]:
        """Put the negative prompts, if there are any, before the others: the embeddings and the pooled vectors."""
        if self.negative is None:
            return self.embeds, self.pooled
        both = None if self.pooled is None else np.concatenate([_there(self.negative_pooled), self.pooled])
        return np.concatenate([self.negative, self.embeds]), both


@dataclass(frozen=True)
class TextPart:
    """A text encoder with its tokenizer.

    Attributes:
        encoder: the encoder.
        tokenizer: the tokenizer.
    """

    encoder: TextEncoder
    tokenizer: Tokenizer

    def encode(self, texts: Sequence[str], length: int | None = None, warn: bool = True) -> TextStates:
        """Encode texts, padded and cut to the same number of tokens.

        Args:
            texts: the texts.
            length: tokens; None for as many as the tokenizer says.
            warn: tell what was cut off.
        """
        length = self.tokens() if length is None else length
        rows = self.tokenizer(
            list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="np"
        )
        if warn:
            self._warn_of_cuts(texts, length)
        mask = rows.get("attention_mask") if self.encoder.config.get("use_attention_mask") else None
        states = self.encoder(np.asarray(rows["input_ids"]), None if mask is None else np.asarray(mask))
        self.encoder.release()
        return states

    def tokens(self) -> int:
        """The tokens of a text."""
        length = int(self.tokenizer.model_max_length)
        return length if length < _NO_LIMIT else int(self.encoder.config.get("max_position_embeddings", _CLIP_TOKENS))

    def _warn_of_cuts(self, texts: Sequence[str], length: int) -> None:
        for text in texts:
            ids = self.tokenizer(text)["input_ids"]
            if len(ids) > length:
                cut = self.tokenizer.decode(ids[length - 1 : -1])
                logger.warning(
                    "The following part of your input was truncated because %s can only handle sequences up to %d "
                    "tokens: %s", "CLIP" if length <= _CLIP_TOKENS else self.encoder.name, length, [cut],
                )  # fmt: skip


class PromptTexts:
    """The texts of a request, one list for each text encoder.

    Args:
        request: the request.
        encoders: how many text encoders there are.
    """

    def __init__(self, request: ImageRequest, encoders: int) -> None:
        count = request.prompts
        first = request.prompt if request.prompt is not None else [""] * count
        names = ["", "_2", "_3"][:encoders]
        self.positive = [_texts(getattr(request, f"prompt{name}") or first, count, f"prompt{name}") for name in names]
        base = request.negative_prompt or ""
        self.negative = [
            _texts(getattr(request, f"negative_prompt{name}") or base, count, f"negative_prompt{name}")
            for name in names
        ]


def encode_one(request: ImageRequest, parts: Mapping[str, TextPart], guided: bool) -> EncodedPrompts:
    """Encode the prompts of Stable Diffusion: the last hidden state of one encoder."""
    embeds, negative = request.array("prompt_embeds"), request.array("negative_prompt_embeds")
    texts = PromptTexts(request, 1)
    if embeds is None:
        part = _part(parts, "text_encoder")
        states = part.encode(texts.positive[0])
        embeds = states.last
        if request.clip_skip:
            embeds = states.before_last(request.clip_skip, normed=True)
    if guided and negative is None:
        negative = _part(parts, "text_encoder").encode(texts.negative[0], embeds.shape[1], warn=False).last
    return _for_each_image(request, EncodedPrompts(embeds, None, negative if guided else None))


def encode_two(request: ImageRequest, parts: Mapping[str, TextPart], guided: bool, zeros: bool) -> EncodedPrompts:
    """Encode the prompts of SDXL: the last hidden state but one of all encoders, joined along the width.

    Args:
        request: the request.
        parts: one encoder (the refiner's) or two.
        guided: encode negative prompts too.
        zeros: where there is no negative prompt, it is zeros, and not an empty text.
    """
    embeds, negative = request.array("prompt_embeds"), request.array("negative_prompt_embeds")
    pooled, negative_pooled = request.array("pooled_prompt_embeds"), request.array("negative_pooled_prompt_embeds")
    _check_pooled(request)
    texts = PromptTexts(request, 2)
    if embeds is None:
        embeds, drawn = _penultimate(parts, texts.positive, request.clip_skip or 0, None)
        pooled = drawn if pooled is None else pooled
    pooled = _there(pooled)
    if guided and negative is None:
        if zeros and request.negative_prompt is None:
            negative, negative_pooled = np.zeros_like(embeds), np.zeros_like(pooled)
        else:
            negative, drawn = _penultimate(parts, texts.negative, 0, embeds.shape[1])
            negative_pooled = drawn if negative_pooled is None else negative_pooled
    if not guided:
        negative = negative_pooled = None
    return _for_each_image(request, EncodedPrompts(embeds, pooled, negative, negative_pooled))


def encode_three(request: ImageRequest, parts: Mapping[str, TextPart], guided: bool, width: int) -> EncodedPrompts:
    """Encode the prompts of Stable Diffusion 3: two CLIPs side by side, filled up to T5's width, and T5 behind them.

    Args:
        request: the request.
        parts: two encoders, or three; without the third its states are zeros.
        guided: encode negative prompts too.
        width: of T5's states.
    """
    embeds, negative = request.array("prompt_embeds"), request.array("negative_prompt_embeds")
    pooled, negative_pooled = request.array("pooled_prompt_embeds"), request.array("negative_pooled_prompt_embeds")
    _check_pooled(request)
    texts = PromptTexts(request, 3)

    def encode(several: list[list[str]], skipped: int, warn: bool) -> tuple[Array, Array]:
        clips = [_part(parts, name).encode(lines, warn=warn) for name, lines in zip(_CLIPS, several, strict=False)]
        states = np.concatenate([clip.before_last(1 + skipped) for clip in clips], axis=-1)
        if "text_encoder_3" in parts:
            long = parts["text_encoder_3"].encode(several[2], request.max_sequence_length, warn).last
        else:
            long = np.zeros((len(states), request.max_sequence_length, width), np.float32)
        room = long.shape[-1] - states.shape[-1]
        states = np.concatenate([np.pad(states, ((0, 0), (0, 0), (0, room))), long], axis=1)
        return states, np.concatenate([_there(clip.pooled) for clip in clips], axis=-1)

    if embeds is None:
        embeds, pooled = encode(texts.positive, request.clip_skip or 0, True)
    if guided and negative is None:
        negative, negative_pooled = encode(texts.negative, 0, False)
    if not guided:
        negative = negative_pooled = None
    return _for_each_image(request, EncodedPrompts(embeds, pooled, negative, negative_pooled))


_CLIPS = ("text_encoder", "text_encoder_2")


def _penultimate(
    parts: Mapping[str, TextPart], texts: list[list[str]], skipped: int, length: int | None
) -> tuple[Array, Array | None]:
    """Encode texts by SDXL's encoders; give the states, joined, and the pooled vectors of the last encoder."""
    found = [(parts[name], lines) for name, lines in zip(_CLIPS, texts, strict=True) if name in parts]
    if not found:
        _part(parts, "text_encoder_2")
    if len(found) == 1:  # the refiner's only encoder reads the prompt, not prompt_2
        found = [(found[0][0], texts[0])]
    states = [part.encode(lines, length, warn=length is None) for part, lines in found]
    return np.concatenate([each.before_last(1 + skipped) for each in states], axis=-1), states[-1].pooled


def _part(parts: Mapping[str, TextPart], name: str) -> TextPart:
    if name not in parts:
        raise UnsupportedError(
            f"there is no {name} to read the prompt: pass prompt_embeds= (with pooled_prompt_embeds=, if the model has "
            "them), or load the model with it"
        )
    return parts[name]


def _check_pooled(request: ImageRequest) -> None:
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        pooled = name.replace("prompt", "pooled_prompt")
        if getattr(request, name) is not None and getattr(request, pooled) is None:
            raise UnsupportedError(f"{name} was passed without {pooled}: pass both, from the same text encoder")


def _texts(value: Prompt, count: int, name: str) -> list[str]:
    if isinstance(value, str):
        return [value] * count
    if len(value) != count:
        raise UnsupportedError(f"{name} has {len(value)} texts for {count} prompts: pass one for each")
    return value


def _for_each_image(request: ImageRequest, encoded: EncodedPrompts) -> EncodedPrompts:
    """Repeat each prompt for its images, which lie next to each other."""
    values = (encoded.embeds, encoded.pooled, encoded.negative, encoded.negative_pooled)
    count = request.num_images_per_prompt
    return EncodedPrompts(*(None if each is None else np.repeat(each, count, axis=0) for each in values))  # type: ignore[arg-type]


def _there(value: Any) -> Array:
    if value is None:
        raise UnsupportedError("the text encoder returns no pooled vectors, which the denoiser needs")
    return np.asarray(value)
