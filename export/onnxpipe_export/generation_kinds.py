"""The kinds of models that generate: what each is fed, with which options, and how the original's outputs are weighed.

`kind_of` is the only place that tells which kind a checkpoint is.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from onnxpipe.models import auto
from onnxpipe_export import tracing
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.cases.text import SENTENCES, padded
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.graphs.seq2seq.image import image_batches
from onnxpipe_export.graphs.seq2seq.questions import decoder_logits, question_batches
from onnxpipe_export.graphs.vision_language import prompts

NEW_TOKENS = 16
"""The most tokens that are generated."""
_PROMPTS = 4
_PROMPT_LENGTHS = (9, 4, 7, 2)
"""Tokens of a decoder's prompts; an encoder gets whole sentences."""
_SECONDS = (1.7, 0.8, 3.1)
"""Lengths of the synthetic recordings that an encoder gets."""


def kind_of(checkpoint: Checkpoint) -> GenerationKind | None:
    """Tell which kind of generation a checkpoint is exported for; None where its model generates no tokens."""
    task, model = checkpoint.task, checkpoint.model
    if task.name == "automatic-speech-recognition":
        return AudioToText(checkpoint) if model.config.is_encoder_decoder else None
    if task.name == "visual-question-answering":
        return QuestionAboutImage(checkpoint) if hasattr(model, "text_decoder") else None
    if task.name == "image-to-text":
        return (ImageContinuation if model.config.model_type == "git" else ImageToText)(checkpoint)
    if task.name == "image-text-to-text":
        return ImageTextToText(checkpoint)
    writes_text = task.auto_class in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
    return _text_kind(checkpoint) if writes_text else None


def _text_kind(checkpoint: Checkpoint) -> GenerationKind:
    return (TextToText if checkpoint.model.config.is_encoder_decoder else TextContinuation)(checkpoint)


@dataclass(frozen=True)
class GenerationKind(abc.ABC):
    """One kind of generation.

    Attributes:
        checkpoint: the original.
        runtime_class: the runtime's class that loads the bundle.
    """

    checkpoint: Checkpoint
    runtime_class: ClassVar[type[auto.AutoModel]]

    @property
    def model(self) -> Any:
        """The original's torch module."""
        return self.checkpoint.model

    @property
    def padding(self) -> int:
        """The id that pads: the model's, else its end-of-sequence token as `generate` takes it."""
        settings = self.model.generation_config
        for ids in (settings.pad_token_id, settings.eos_token_id):
            if ids is not None:
                return int(ids if isinstance(ids, int) else ids[0])
        return 0

    @property
    def options(self) -> dict[str, Any]:
        """Further arguments of `generate`."""
        return {"pad_token_id": self.padding}

    @abc.abstractmethod
    def batches(self) -> list[Feeds]:
        """Make the arguments of `generate` for inputs of different lengths: each alone, then several in one batch."""

    def row(self, batches: Sequence[Feeds], batch: int, row: int) -> Feeds:
        """Cut the inputs of one row from a batch of `batches`."""
        return {name: array[row : row + 1] for name, array in batches[batch].items()}

    @abc.abstractmethod
    def prompt_length(self, batch: Feeds) -> int:
        """Count the tokens of an output that stand before the generated ones."""

    def generate(self, batch: Feeds, options: Mapping[str, Any]) -> np.ndarray:
        """Generate with the original: token ids, int64 (rows, length)."""
        with torch.inference_mode(), tracing.quiet():
            return np.asarray(self.model.generate(**_tensors(batch), **options).numpy())

    def log_probabilities(self, inputs: Feeds, tokens: np.ndarray) -> np.ndarray:
        """Compute how likely the original finds each token of an output after those before it, float32 (length,).

        Args:
            inputs: of one row, see `row`.
            tokens: the generated ids, int64 (length,).
        """
        with torch.inference_mode(), tracing.quiet():
            chances = torch.log_softmax(self.logits(inputs, tokens).float(), dim=-1)
            return np.asarray(chances.gather(1, torch.from_numpy(tokens[:, None]))[:, 0].numpy())

    def choices(self, inputs: Feeds, tokens: np.ndarray) -> np.ndarray:
        """Compute the token that the original finds likeliest in the place of each one, int64 (length,)."""
        with torch.inference_mode(), tracing.quiet():
            return np.asarray(self.logits(inputs, tokens).argmax(dim=-1).numpy())

    @abc.abstractmethod
    def logits(self, inputs: Feeds, tokens: np.ndarray) -> Any:
        """Compute the original's logits for each of the generated `tokens`, (length, vocabulary)."""


class TextContinuation(GenerationKind):
    """A decoder that goes on with a text."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForCausalLM

    def batches(self) -> list[Feeds]:
        """Make prompts so short that the new tokens fit into the model's positions, padded at the left."""
        rows = [
            row[: min(length, _room(self.model))]
            for row, length in zip(_sentences(self.checkpoint), _PROMPT_LENGTHS, strict=True)
            if row
        ]
        return _alone_and_together(rows, self.padding, left=True)

    def row(self, batches: Sequence[Feeds], batch: int, row: int) -> Feeds:
        """Cut the inputs of one row from a batch, without its padding: alone and in a batch they are the same."""
        inputs = super().row(batches, batch, row)
        shape, prompt = inputs["input_ids"].shape, inputs["attention_mask"][0].astype(bool)
        return {name: array[:, prompt] if array.shape == shape else array for name, array in inputs.items()}

    def prompt_length(self, batch: Feeds) -> int:
        """Count the tokens of the prompts."""
        return int(batch["input_ids"].shape[1])

    def logits(self, inputs: Feeds, tokens: np.ndarray) -> Any:
        """Compute the logits after the prompt and each token but the last.

        Padding is left out, as positions count from it. What else has a value a token goes on with the last one's.
        """
        prompt = inputs["attention_mask"][0].astype(bool)
        given = {}
        for name, array in inputs.items():
            if name == "input_ids":
                given[name] = np.concatenate([array[:, prompt], tokens[None]], axis=1)
            elif array.shape == inputs["input_ids"].shape:
                given[name] = np.pad(array[:, prompt], ((0, 0), (0, len(tokens))), "edge")
            else:
                given[name] = array
        kept = len(tokens) + 1
        options = (
            {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        )
        return self.model(**_tensors(given), **options).logits[0, -kept:-1]


class EncoderDecoderKind(GenerationKind):
    """A kind whose decoder writes an output of its own, which begins with tokens that are not generated."""

    def prompt_length(self, batch: Feeds) -> int:
        """Count the tokens that the decoder starts with."""
        return len(self.first_tokens(0))

    def logits(self, inputs: Feeds, tokens: np.ndarray) -> Any:
        """Compute the logits of the decoder, fed with its first tokens and each of `tokens` but the last."""
        first = self.first_tokens(int(tokens[0]))
        return self.decoder_logits(inputs, np.concatenate([first, tokens[:-1]])[None])[0, len(first) - 1 :]

    def first_tokens(self, otherwise: int) -> list[int]:
        """Return the tokens that the decoder starts with; `otherwise` stands for one that the config does not name."""
        start = self.model.generation_config.decoder_start_token_id
        return [start if isinstance(start, int) else otherwise]

    def decoder_logits(self, inputs: Feeds, ids: np.ndarray) -> Any:
        """Compute the original's logits for the decoder's tokens `ids`, int64 (1, length): (1, length, vocabulary)."""
        return self.model(**_tensors({**inputs, "decoder_input_ids": ids})).logits


class TextToText(EncoderDecoderKind):
    """An encoder that reads a text, and a decoder that writes another."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForSeq2SeqLM

    def batches(self) -> list[Feeds]:
        """Make texts, padded at the right."""
        rows = [row[-_room(self.model) :] for row in _sentences(self.checkpoint)]
        return _alone_and_together(rows, self.padding, left=False)

    def generate(self, batch: Feeds, options: Mapping[str, Any]) -> np.ndarray:
        """Generate with the original, without a cache if it fails with one."""
        try:
            return super().generate(batch, options)
        except IndexError:
            # transformers 5.23 sizes the cache of a T5 by its encoder's layers; the decoder may have more.
            return super().generate(batch, {**options, "use_cache": False})


class AudioToText(EncoderDecoderKind):
    """An encoder of recordings, with a decoder that writes their text."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForSpeechSeq2Seq

    @property
    def options(self) -> dict[str, Any]:
        """The id that pads; and the language, for a model of several."""
        name, ids = self._languages
        return super().options | ({name: _english(ids)} if ids else {})

    @property
    def _languages(self) -> tuple[str, Mapping[str, int]]:
        """The name of the option for the language, and the id of each language's token; none for a model of one."""
        settings = self.model.generation_config
        for name, option in (("lang_to_id", "language"), ("text_decoder_lang_to_code_id", "tgt_lang")):
            ids = getattr(settings, name, None)
            if ids:
                return option, ids
        return "", {}

    @property
    def _is_whisper(self) -> bool:
        return str(self.model.config.model_type) == "whisper"

    def batches(self) -> list[Feeds]:
        """Make synthetic recordings, with a mask of their padding; to whisper, which takes none, padding is silence."""
        extractor = audio_cases.load_extractor(self.checkpoint.folder)
        rate = int(extractor.sampling_rate)
        recordings = [
            audio_cases.synthetic_audio(2 * number, int(seconds * rate), rate)
            for number, seconds in enumerate(_SECONDS)
        ]
        names = (self.model.main_input_name, *(() if self._is_whisper else ("attention_mask",)))
        batches = [*([recording] for recording in recordings), recordings]
        return [audio_cases.extract_features(extractor, batch, names) for batch in batches]

    def prompt_length(self, batch: Feeds) -> int:
        """Count the first tokens; whisper's `generate` cuts them."""
        return 0 if self._is_whisper else super().prompt_length(batch)

    def first_tokens(self, otherwise: int) -> list[int]:
        """Return the tokens that the decoder starts with: the language, and whisper's task and lack of timestamps."""
        settings, (_, ids) = self.model.generation_config, self._languages
        first = [*super().first_tokens(otherwise), *([ids[_english(ids)]] if ids else [])]
        if not self._is_whisper:
            return first
        task = (getattr(settings, "task_to_id", None) or {}).get("transcribe") if ids else None
        return [*first, *filter(None, (task, getattr(settings, "no_timestamps_token_id", None)))]


class ImageToText(EncoderDecoderKind):
    """An encoder that sees an image, and a decoder that writes about it."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForVision2Seq

    @property
    def options(self) -> dict[str, Any]:
        """Nothing: BLIP's own `generate` passes the id that pads."""
        return {}

    def batches(self) -> list[Feeds]:
        """Make synthetic images."""
        return image_batches(self.checkpoint)

    def decoder_logits(self, inputs: Feeds, ids: np.ndarray) -> Any:
        """Run the encoders and the decoder."""
        return decoder_logits(self.model, inputs, ids)


class ImageContinuation(ImageToText):
    """A decoder that goes on with the features of an image: GIT."""

    def first_tokens(self, otherwise: int) -> list[int]:
        """Return the token that a text begins with."""
        return [int(self.model.generation_config.bos_token_id)]

    def decoder_logits(self, inputs: Feeds, ids: np.ndarray) -> Any:
        """Run the model on the image and the tokens; those of the image's features come first."""
        return self.model(**_tensors({**inputs, "input_ids": ids})).logits[:, -ids.shape[1] :]


class QuestionAboutImage(ImageToText):
    """An encoder that reads a question about an image, and a decoder that writes the answer."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForVisualQuestionAnswering

    def batches(self) -> list[Feeds]:
        """Make questions about synthetic images."""
        return question_batches(self.checkpoint)


class ImageTextToText(GenerationKind):
    """A text with images in it, that a decoder goes on with, or answers after an encoder has read it."""

    runtime_class: ClassVar[type[auto.AutoModel]] = auto.AutoModelForImageTextToText

    def batches(self) -> list[Feeds]:
        """Make prompts with none, one and two images."""
        return prompts.batches(self.checkpoint, self.checkpoint.tokenizer)

    def row(self, batches: Sequence[Feeds], batch: int, row: int) -> Feeds:
        """Return the inputs of a row alone: the images of a batch are not one a row."""
        return batches[row if batch == len(batches) - 1 else batch]

    def prompt_length(self, batch: Feeds) -> int:
        """Count the tokens before the generated ones, as the kind of the text does."""
        return _text_kind(self.checkpoint).prompt_length(batch)

    def logits(self, inputs: Feeds, tokens: np.ndarray) -> Any:
        """Compute the logits as the kind of the text does, given the images."""
        return _text_kind(self.checkpoint).logits(inputs, tokens)


def _english(languages: Mapping[str, int]) -> str:
    """Choose English, or the first language of a model without it."""
    return next((name for name in languages if name in ("<|en|>", "eng")), next(iter(languages)))


def _sentences(checkpoint: Checkpoint) -> list[list[int]]:
    """Tokenize a few sentences."""
    return [list(checkpoint.tokenizer(text).input_ids) for text in SENTENCES[:_PROMPTS]]


def _room(model: Any) -> int:
    """Count the tokens of a prompt after which the new tokens fit into the model's positions; at least one."""
    return max(max_length(model) - NEW_TOKENS, 1)


def _alone_and_together(rows: Sequence[list[int]], padding: int, *, left: bool) -> list[Feeds]:
    """Make a batch of each row, and one of all, padded at the left or at the right."""
    return [padded(batch, padding, left=left) for batch in (*([row] for row in rows), rows)]


def _tensors(arrays: Feeds) -> dict[str, Any]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
