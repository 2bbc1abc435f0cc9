"""Verify that a bundle generates as the original does: whole outputs, token by token, greedy and by beams.

The graphs are driven by the runtime, and the original by transformers' own `generate`, over prompts of different
lengths, each alone and all in one padded batch. In fp32 every token has to be the same, except where two outputs are
nearly equally likely by the original: a sum in another order may then tip the choice. For smaller precisions the
logits' tolerance decides, and the share of equal tokens is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import CertificateError
from onnxpipe_export import tracing
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.cases.text import SENTENCES
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.seq2seq.image import image_batches, writes_about_images
from onnxpipe_export.graphs.seq2seq.questions import decoder_logits, question_batches

_PROMPTS = 4
_PROMPT_LENGTHS = (9, 4, 7, 2)
"""Tokens of a decoder's prompts; an encoder gets whole sentences."""
_SECONDS = (1.7, 0.8, 3.1)
"""Lengths of the synthetic recordings that an encoder gets."""
_NEW = 16
_SEARCHES: Mapping[str, Mapping[str, Any]] = {"greedy": {"num_beams": 1}, "beam_4": {"num_beams": 4}}
_NEAR_TIE = 2e-4
"""Outputs whose mean log-probabilities by the original differ by less are a tie: twice what fp32 may differ (1e-4)."""

Batch = Mapping[str, np.ndarray]


def generates(checkpoint: Checkpoint) -> bool:
    """Tell whether the model generates, token by token."""
    if checkpoint.task.name == "visual-question-answering":
        return writes_about_images(checkpoint.model)
    recognises = checkpoint.task.name == "automatic-speech-recognition"
    return checkpoint.task.generates or (recognises and bool(checkpoint.model.config.is_encoder_decoder))


@dataclass(frozen=True)
class SearchComparison:
    """The comparison of one search's outputs with the original's.

    Attributes:
        rows: outputs compared, alone and in the batch.
        equal_rows: those that are the original's, every token.
        near_ties: those that are not, but as likely by the original's own probabilities.
        equal_tokens: share of the original's new tokens that the bundle generates in the same place.
    """

    rows: int
    equal_rows: int
    near_ties: int
    equal_tokens: float


@dataclass(frozen=True)
class OriginalOutputs:
    """The original's outputs, computed once for all precisions.

    Attributes:
        checkpoint: the original.
        tokenizer: transformers' tokenizer, None where the model takes audio and has none.
    """

    checkpoint: Checkpoint
    tokenizer: Any

    @cached_property
    def batches(self) -> list[Batch]:
        """Each prompt alone, then all together."""
        if self.writes_about_images:
            asked = self.checkpoint.task.name == "visual-question-answering"
            return (question_batches if asked else image_batches)(self.checkpoint)
        if self.takes_images:
            from onnxpipe_export.graphs.vision_language import prompts

            return list(prompts.batches(self.checkpoint, self.tokenizer))
        make = _audio_batches if self.takes_audio else _text_batches
        return make(self.checkpoint, self.tokenizer)

    @cached_property
    def answers(self) -> dict[str, list[np.ndarray]]:
        """Search -> token ids for each batch."""
        model = self.checkpoint.model
        return {
            name: [generate_with_original(model, batch, self.options(name)) for batch in self.batches]
            for name in _SEARCHES
        }

    def options(self, search: str) -> dict[str, Any]:
        """Return the arguments of `generate` for a search."""
        options = {**_SEARCHES[search], "do_sample": False, "max_new_tokens": _NEW}
        if not self.writes_about_images:  # BLIP's own generate() passes it
            options["pad_token_id"] = self.padding
        return options | (_language(self.checkpoint.model.generation_config) if self.takes_audio else {})

    @property
    def takes_audio(self) -> bool:
        """Whether the model takes audio, not tokens."""
        return self.checkpoint.task.modality == "audio"

    @property
    def takes_images(self) -> bool:
        """Whether the model takes images beside tokens."""
        return self.checkpoint.task.modality == "image-text" and not self.writes_about_images

    @property
    def writes_about_images(self) -> bool:
        """Whether the model encodes images, and writes a text of its own about them."""
        return self.checkpoint.task.name in ("image-to-text", "visual-question-answering")

    def alone(self, batch: Batch, row: int) -> tuple[Batch, int]:
        """Return the batch and the row in which a row can be run by itself: one with images stands alone already."""
        return (self.batches[row], 0) if self.takes_images and len(batch["input_ids"]) > 1 else (batch, row)

    @property
    def padding(self) -> int:
        """The id that pads."""
        return _padding_id(self.checkpoint.model)

    @property
    def before(self) -> int | None:
        """How many tokens of an output stand before the generated ones; None: as many as the prompt has."""
        if not self.writes_about_images and not self.checkpoint.model.config.is_encoder_decoder:
            return None
        return 0 if self.checkpoint.config.model_type == "whisper" else 1


def verify_generation(folder: Path, precision: str, original_outputs: OriginalOutputs) -> dict[str, Any]:
    """Generate with the bundle in `folder`, compare with the original, and return the certificate's entry.

    Args:
        folder: the bundle, with its graphs, config and tokenizer.
        precision: which of its graphs.
        original_outputs: what the original generates.

    Raises:
        CertificateError: an output of the fp32 graphs differs, or the runtime cannot generate.
    """
    try:
        model = _runtime_model(folder, precision, original_outputs)
        searches = {name: _compare(model, original_outputs, name) for name in _SEARCHES}
    except (ValueError, RuntimeError, OSError) as error:
        raise CertificateError(f"the {precision} bundle does not generate: {error}. Nothing was written") from error
    for name, result in searches.items():
        different = result.rows - result.equal_rows - result.near_ties
        if precision == "fp32" and different:
            raise CertificateError(
                f"{different} of {result.rows} outputs of the {name} search are not the original's "
                f"({result.equal_tokens:.1%} of their tokens are). Nothing was written"
            )
    return {
        "prompts": len(original_outputs.batches) - 1,
        "new_tokens": _NEW,
        "searches": {name: vars(result) for name, result in searches.items()},
        "passed": True,
    }


def _text_batches(checkpoint: Checkpoint, tokenizer: Any) -> list[Batch]:
    """Return prompts of different lengths, so short that the new tokens fit into the model's positions."""
    limit = max(_limit(checkpoint) - _NEW, 1)
    rows = [list(tokenizer(text).input_ids) for text in SENTENCES[:_PROMPTS]]
    decodes = bool(checkpoint.model.config.is_encoder_decoder)
    if decodes:
        rows = [row[-limit:] for row in rows]
    else:
        rows = [row[: min(length, limit)] for row, length in zip(rows, _PROMPT_LENGTHS, strict=True) if row]
    pad = _padding_id(checkpoint.model)
    return [*(_batch([row], pad, not decodes) for row in rows), _batch(rows, pad, not decodes)]


def _audio_batches(checkpoint: Checkpoint, tokenizer: Any) -> list[Batch]:
    """Return synthetic recordings of different lengths, each alone and all together."""
    extractor = audio_cases.load_extractor(checkpoint.folder)
    rate = int(extractor.sampling_rate)
    recordings = [
        audio_cases.synthetic_audio(2 * number, int(seconds * rate), rate) for number, seconds in enumerate(_SECONDS)
    ]
    # Whisper takes no mask: to it padding is silence.
    mask = () if checkpoint.config.model_type == "whisper" else ("attention_mask",)
    names = (checkpoint.model.main_input_name, *mask)
    batches = [*([recording] for recording in recordings), recordings]
    return [audio_cases.extract_features(extractor, batch, names) for batch in batches]


def _language(settings: Any) -> dict[str, Any]:
    """Return the language option for a model of several languages: English if it has it, else its first."""
    for name, key in (("lang_to_id", "language"), ("text_decoder_lang_to_code_id", "tgt_lang")):
        known = list(getattr(settings, name, None) or ())
        if known:
            return {key: next((one for one in known if one in ("<|en|>", "eng")), known[0])}
    return {}


def _limit(checkpoint: Checkpoint) -> int:
    from onnxpipe_export.graphs.encoder import max_length

    return max_length(checkpoint.model)


def _runtime_model(folder: Path, precision: str, original_outputs: OriginalOutputs) -> Any:
    from onnxpipe.models import auto

    if original_outputs.writes_about_images:
        asked = original_outputs.checkpoint.task.name == "visual-question-answering"
        kind: Any = auto.AutoModelForVisualQuestionAnswering if asked else auto.AutoModelForVision2Seq
        return kind.from_pretrained(folder, dtype=precision, device="cpu")
    if original_outputs.takes_audio:
        return auto.AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=precision, device="cpu")
    decodes = original_outputs.checkpoint.model.config.is_encoder_decoder
    kind = auto.AutoModelForSeq2SeqLM if decodes else auto.AutoModelForCausalLM
    if original_outputs.takes_images:
        kind = auto.AutoModelForImageTextToText
    return kind.from_pretrained(folder, dtype=precision, device="cpu")


def _compare(model: Any, original_outputs: OriginalOutputs, search: str) -> SearchComparison:
    original, pad = original_outputs.checkpoint.model, original_outputs.padding
    pairs: list[tuple[Batch, int, np.ndarray, np.ndarray]] = []
    for batch, expected in zip(original_outputs.batches, original_outputs.answers[search], strict=True):
        with tracing.quiet():
            got = np.asarray(model.generate(**batch, **original_outputs.options(search)))
        skip = batch["input_ids"].shape[1] if original_outputs.before is None else original_outputs.before
        for row in range(len(expected)):
            wanted, answer = (_until_end(tokens[row, skip:], original, pad) for tokens in (expected, got))
            pairs.append((*original_outputs.alone(batch, row), wanted, answer))
    same = [np.array_equal(wanted, answer) for _, _, wanted, answer in pairs]
    ties = sum(
        not equal and _near_tie(original, batch, row, wanted, answer)
        for equal, (batch, row, wanted, answer) in zip(same, pairs, strict=True)
    )
    tokens = sum(len(wanted) for _, _, wanted, _ in pairs)
    hits = sum(_hits(wanted, answer) for _, _, wanted, answer in pairs)
    return SearchComparison(len(pairs), sum(same), ties, hits / tokens if tokens else 1.0)


def _batch(rows: Sequence[list[int]], pad: int, left: bool) -> Batch:
    length = max(len(row) for row in rows)
    ids, mask = np.full((len(rows), length), pad, np.int64), np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        part = slice(length - len(row), None) if left else slice(len(row))
        ids[number, part] = row
        mask[number, part] = 1
    return {"input_ids": ids, "attention_mask": mask}


def generate_with_original(model: Any, batch: Batch, options: Mapping[str, Any]) -> np.ndarray:
    import torch

    with torch.inference_mode(), tracing.quiet():
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        try:
            return np.asarray(model.generate(**tensors, **options).numpy())
        except IndexError:
            # transformers 5.23 sizes the cache of a T5 by its encoder's layers; the decoder may have more.
            return np.asarray(model.generate(**tensors, **options, use_cache=False).numpy())


def _until_end(tokens: np.ndarray, model: Any, pad: int) -> np.ndarray:
    """Cut the tokens after the first that ends; what follows is padding up to the batch's longest row."""
    eos = model.generation_config.eos_token_id
    ends = [] if eos is None else ([eos] if isinstance(eos, int) else list(eos))
    places = np.flatnonzero(np.isin(tokens, ends))
    if len(places):
        return tokens[: places[0] + 1]
    return tokens[: len(tokens) - int((np.cumsum(tokens[::-1] != pad) == 0).sum())] if pad not in ends else tokens


def _hits(wanted: np.ndarray, answer: np.ndarray) -> int:
    size = min(len(wanted), len(answer))
    return int((wanted[:size] == answer[:size]).sum())


def _near_tie(model: Any, batch: Mapping[str, np.ndarray], row: int, wanted: np.ndarray, answer: np.ndarray) -> bool:
    """Tell whether the original finds both outputs equally likely: up to their first difference, or as a whole."""
    size = min(len(wanted), len(answer))
    apart = np.flatnonzero(wanted[:size] != answer[:size])
    greedy = [int(apart[0]) + 1] if len(apart) else []
    for end in (*greedy, max(len(wanted), len(answer))):
        first, second = (_mean_log_probability(model, batch, row, tokens[:end]) for tokens in (wanted, answer))
        if abs(first - second) <= _NEAR_TIE * max(1.0, abs(first)):
            return True
    return False


def _mean_log_probability(model: Any, batch: Batch, row: int, tokens: np.ndarray) -> float:
    import torch

    with torch.inference_mode(), tracing.quiet():
        if writes_about_images(model):
            fed = np.concatenate([_first_tokens(model, int(tokens[0])), tokens[:-1]])[None]
            logits = decoder_logits(model, {name: array[row : row + 1] for name, array in batch.items()}, fed)[0]
        elif "input_ids" not in batch:
            before = _first_tokens(model, int(tokens[0]))
            fed = torch.from_numpy(np.concatenate([before, tokens[:-1]])[None])
            audio = {name: torch.from_numpy(array[row : row + 1]) for name, array in batch.items()}
            logits = model(**audio, decoder_input_ids=fed).logits[0, len(before) - 1 :]
        elif model.config.is_encoder_decoder:
            prompt = batch["input_ids"][row][batch["attention_mask"][row].astype(bool)]
            fed = torch.from_numpy(np.concatenate([_first_tokens(model, int(tokens[0])), tokens[:-1]])[None])
            logits = model(input_ids=torch.from_numpy(prompt[None]), decoder_input_ids=fed).logits[0]
        else:
            prompt = batch["input_ids"][row][batch["attention_mask"][row].astype(bool)]
            whole = np.concatenate([prompt, tokens])[None]
            logits = model(**_with_images(model, batch, whole)).logits[0, len(prompt) - 1 : -1]
        chances = torch.log_softmax(logits.float(), dim=-1)
        return float(chances.gather(1, torch.from_numpy(tokens[:, None])).mean())


def _with_images(model: Any, batch: Batch, ids: np.ndarray) -> dict[str, Any]:
    """Return the inputs of a forward over `ids`, (1, length): they, and the images of the batch, of one row then.

    Inputs by token go on with the value of the last token, which is text.
    """
    import torch

    arrays = {"input_ids": ids}
    for name, value in batch.items():
        if name not in ("input_ids", "attention_mask"):
            by_token = value.shape == batch["input_ids"].shape
            more = ids.shape[1] - value.shape[-1] if by_token else 0
            arrays[name] = np.concatenate([value, np.repeat(value[:, -1:], more, axis=1)], axis=1) if more else value
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _first_tokens(model: Any, otherwise: int) -> list[int]:
    """Return the tokens that a decoder starts from; `otherwise` stands for the first where the config names none."""
    settings = model.generation_config
    start = next(filter(None.__ne__, (settings.decoder_start_token_id, settings.bos_token_id)), None)
    first = [start if isinstance(start, int) else otherwise]
    if model.config.model_type != "whisper":
        return first
    language, task = _language(settings).get("language"), getattr(settings, "task_to_id", None) or {}
    forced = [] if language is None else [settings.lang_to_id[language], *filter(None, [task.get("transcribe")])]
    return [*first, *forced, *filter(None, [getattr(settings, "no_timestamps_token_id", None)])]


def _padding_id(model: Any) -> int:
    """Return the id that pads: the model's, else its end-of-sequence token as `generate` takes it."""
    config = model.generation_config
    for ids in (config.pad_token_id, config.eos_token_id):
        if ids is not None:
            return int(ids if isinstance(ids, int) else ids[0])
    return 0
