"""The proof that a bundle generates as the original does: whole outputs, token by token, greedy and by beams.

The graphs are driven by the runtime, and the original by transformers' own `generate`, over prompts of unlike length,
each alone and all in one padded batch. In fp32 every token has to be the same, save where the original itself was as
good as undecided: a sum in another order may then tip it. For smaller precisions, where the logits' tolerance decides,
the share of equal tokens is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxpipe.errors import CertificateError
from onnxpipe_export import tracing
from onnxpipe_export.cases import SENTENCES
from onnxpipe_export.checkpoint import Checkpoint

_PROMPTS = 4
_PROMPT_LENGTHS = (9, 4, 7, 2)
"""Tokens of a decoder's prompts; an encoder gets whole sentences."""
_NEW = 16
_SEARCHES: Mapping[str, Mapping[str, Any]] = {"greedy": {"num_beams": 1}, "beam_4": {"num_beams": 4}}
_NEAR_TIE = 2e-4
"""Outputs whose mean log-probabilities by the original differ by less are a tie: twice what fp32 may differ (1e-4)."""


@dataclass(frozen=True)
class Compared:
    """How one search did.

    Attributes:
        rows: outputs compared, alone and in the batch.
        equal_rows: those that are the original's, every token.
        near_ties: those that are not, but as good by the original's own probabilities.
        equal_tokens: share of the original's new tokens that are found in the same place.
    """

    rows: int
    equal_rows: int
    near_ties: int
    equal_tokens: float


def prove_generation(folder: Path, precision: str, checkpoint: Checkpoint, tokenizer: Any) -> dict[str, Any]:
    """Generate with the bundle in `folder` and with the original, and return the certificate's entry.

    Args:
        folder: the bundle, with its graphs, config and tokenizer.
        precision: which of its graphs.
        checkpoint: the original, for text-generation or text2text-generation.
        tokenizer: transformers' tokenizer of the original.

    Raises:
        CertificateError: an output of fp32 graphs differs, or the runtime cannot generate.
    """
    prompts = _prompts(checkpoint, tokenizer)
    try:
        model = _runtime_model(folder, precision, checkpoint)
        found = {name: _compare(model, checkpoint, prompts, options) for name, options in _SEARCHES.items()}
    except (ValueError, RuntimeError, OSError) as error:
        raise CertificateError(f"the {precision} bundle does not generate: {error}. Nothing was written") from error
    for name, result in found.items():
        different = result.rows - result.equal_rows - result.near_ties
        if precision == "fp32" and different:
            raise CertificateError(
                f"{different} of {result.rows} outputs of the {name} search are not the original's "
                f"({result.equal_tokens:.1%} of their tokens are). Nothing was written"
            )
    return {
        "prompts": len(prompts),
        "new_tokens": _NEW,
        "searches": {name: vars(result) for name, result in found.items()},
        "passed": True,
    }


def _prompts(checkpoint: Checkpoint, tokenizer: Any) -> list[list[int]]:
    """Token ids of unlike length, as short as the model needs to have room for what it says."""
    limit = max(_limit(checkpoint) - _NEW, 1)
    ids = [list(tokenizer(text).input_ids) for text in SENTENCES[:_PROMPTS]]
    if checkpoint.model.config.is_encoder_decoder:
        return [row[-limit:] for row in ids]
    return [row[: min(length, limit)] for row, length in zip(ids, _PROMPT_LENGTHS, strict=True) if row]


def _limit(checkpoint: Checkpoint) -> int:
    from onnxpipe_export.graphs.encoder import max_length

    return max_length(checkpoint.model)


def _runtime_model(folder: Path, precision: str, checkpoint: Checkpoint) -> Any:
    from onnxpipe.models.auto import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if checkpoint.model.config.is_encoder_decoder else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=precision, device="cpu")


def _compare(model: Any, checkpoint: Checkpoint, prompts: Sequence[list[int]], search: Mapping[str, Any]) -> Compared:
    original = checkpoint.model
    pad = _padding_id(original)
    options = {**search, "do_sample": False, "max_new_tokens": _NEW, "pad_token_id": pad}
    left = not original.config.is_encoder_decoder
    batches = [_batch([row], pad, left) for row in prompts] + [_batch(prompts, pad, left)]
    pairs: list[tuple[dict[str, np.ndarray], int, np.ndarray, np.ndarray]] = []
    for batch in batches:
        expected = _ask_original(original, batch, options)
        got = np.asarray(model.generate(**batch, **options))
        skip = batch["input_ids"].shape[1] if left else 1
        pairs += [(batch, row, _ended(expected[row, skip:], original, pad), _ended(got[row, skip:], original, pad))
                  for row in range(len(expected))]  # fmt: skip
    same = [np.array_equal(wanted, found) for _, _, wanted, found in pairs]
    ties = sum(
        not equal and _near_tie(original, batch, row, wanted, found)
        for equal, (batch, row, wanted, found) in zip(same, pairs, strict=True)
    )
    tokens = sum(len(wanted) for _, _, wanted, _ in pairs)
    hits = sum(_hits(wanted, found) for _, _, wanted, found in pairs)
    return Compared(len(pairs), sum(same), ties, hits / tokens if tokens else 1.0)


def _batch(rows: Sequence[list[int]], pad: int, left: bool) -> dict[str, np.ndarray]:
    length = max(len(row) for row in rows)
    ids, mask = np.full((len(rows), length), pad, np.int64), np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        part = slice(length - len(row), None) if left else slice(len(row))
        ids[number, part] = row
        mask[number, part] = 1
    return {"input_ids": ids, "attention_mask": mask}


def _ask_original(model: Any, batch: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> np.ndarray:
    import torch

    with torch.inference_mode(), tracing.quiet():
        tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
        try:
            return np.asarray(model.generate(**tensors, **options).numpy())
        except IndexError:
            # transformers 5.23 makes the cache of a T5 by its encoder's layers, of which the decoder may have more
            return np.asarray(model.generate(**tensors, **options, use_cache=False).numpy())


def _ended(tokens: np.ndarray, model: Any, pad: int) -> np.ndarray:
    """The tokens up to and with the first that ends; what follows is padding up to the batch's longest row."""
    given = model.generation_config.eos_token_id
    ends = [] if given is None else ([given] if isinstance(given, int) else list(given))
    places = np.flatnonzero(np.isin(tokens, ends))
    if len(places):
        return tokens[: places[0] + 1]
    return tokens[: len(tokens) - int((np.cumsum(tokens[::-1] != pad) == 0).sum())] if pad not in ends else tokens


def _hits(wanted: np.ndarray, found: np.ndarray) -> int:
    size = min(len(wanted), len(found))
    return int((wanted[:size] == found[:size]).sum())


def _near_tie(model: Any, batch: Mapping[str, np.ndarray], row: int, wanted: np.ndarray, found: np.ndarray) -> bool:
    """Whether both outputs are as likely by the original, as far as they have been compared when they part."""
    size = min(len(wanted), len(found))
    apart = np.flatnonzero(wanted[:size] != found[:size])
    greedy = [int(apart[0]) + 1] if len(apart) else []
    for end in (*greedy, max(len(wanted), len(found))):
        first, second = (_mean_log_probability(model, batch, row, tokens[:end]) for tokens in (wanted, found))
        if abs(first - second) <= _NEAR_TIE * max(1.0, abs(first)):
            return True
    return False


def _mean_log_probability(model: Any, batch: Mapping[str, np.ndarray], row: int, tokens: np.ndarray) -> float:
    import torch

    prompt = batch["input_ids"][row][batch["attention_mask"][row].astype(bool)]
    with torch.inference_mode(), tracing.quiet():
        if model.config.is_encoder_decoder:
            start = model.generation_config.decoder_start_token_id
            fed = np.concatenate([[start if isinstance(start, int) else tokens[0]], tokens[:-1]])
            logits = model(
                input_ids=torch.from_numpy(prompt[None]), decoder_input_ids=torch.from_numpy(fed[None])
            ).logits[0]
        else:
            whole = torch.from_numpy(np.concatenate([prompt, tokens])[None])
            logits = model(input_ids=whole).logits[0, len(prompt) - 1 : -1]
        chances = torch.log_softmax(logits.float(), dim=-1)
        return float(chances.gather(1, torch.from_numpy(tokens[:, None])).mean())


def _padding_id(model: Any) -> int:
    """The id that pads: the model's, else its end-of-sequence token as `generate` takes it."""
    config = model.generation_config
    for given in (config.pad_token_id, config.eos_token_id):
        if given is not None:
            return int(given if isinstance(given, int) else given[0])
    return 0
