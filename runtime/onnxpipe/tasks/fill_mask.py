"""fill-mask: suggest tokens for each mask in a text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Array, Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.errors import PipelineException
from onnxpipe.models.auto import AutoModelForMaskedLM
from onnxpipe.processing.scores import softmax
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.text_rows import text_rows

logger = logging.getLogger("onnxpipe")


@dataclass(frozen=True)
class FillMaskOptions:
    """Options of fill-mask.

    Attributes:
        top_k: the number of tokens for each mask, best first.
        targets: choose among these words only; one that is not a token counts as its first token (with a warning).
        tokenizer_kwargs: keywords of the tokenizer's call.
        target_ids: the token ids of `targets`, from which they follow.
    """

    top_k: int = number_option(5, least=1)
    targets: str | list[str] | None = None
    tokenizer_kwargs: Mapping[str, Any] = field(default_factory=dict)
    target_ids: tuple[int, ...] | None = field(default=None, repr=False)


class FillMaskCallOptions(CallOptions, total=False):
    """The options of a call: see `FillMaskOptions`."""

    top_k: int | None
    targets: str | list[str] | None
    tokenizer_kwargs: Mapping[str, Any] | None


class FilledMask(TypedDict):
    """A token for a mask, and the text with it."""

    score: float
    token: int
    token_str: str
    sequence: str


class FillMaskPipeline(Pipeline[FillMaskOptions]):
    """Fill masks: one mask gives a list of dicts, several give a list of such lists."""

    Options = FillMaskOptions

    def prepare(self) -> None:
        if self.tokenizer.mask_token_id is None:
            raise self._refuse("The tokenizer does not define a `mask_token`.")

    def parse(self, kwargs: Mapping[str, Any], base: FillMaskOptions | None) -> FillMaskOptions:
        options = super().parse(kwargs, base)
        if kwargs.get("targets") is not None:
            return replace(options, target_ids=self._target_ids(kwargs["targets"]))
        return options

    @overload
    def __call__(
        self, inputs: str, **options: Unpack[FillMaskCallOptions]
    ) -> list[FilledMask] | list[list[FilledMask]]: ...
    @overload
    def __call__(self, inputs: list[str], **options: Unpack[FillMaskCallOptions]) -> list[Any]: ...
    @overload
    def __call__(self, inputs: Stream, **options: Unpack[FillMaskCallOptions]) -> PipelineIterator[Any]: ...
    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See `Pipeline.__call__`. A list of one input comes back as that input's answer (as in transformers)."""
        result = super().__call__(inputs, *args, **kwargs)
        return result[0] if isinstance(inputs, list) and len(inputs) == 1 else result

    def encode(self, value: Any, options: FillMaskOptions) -> Iterator[Row]:
        rows = text_rows(self.tokenizer, value, options.tokenizer_kwargs)
        for row in rows:
            if self.tokenizer.mask_token_id not in row.feeds["input_ids"]:
                raise self._refuse(f"No mask_token ({self.tokenizer.mask_token}) found on the input")
        yield rows[0]  # of several texts in a tuple the first one is answered, as in transformers

    def decode(self, rows: Answered, options: FillMaskOptions) -> Any:
        ids, logits = rows[0][0].feeds["input_ids"], rows[0][1]["logits"]
        masks = np.flatnonzero(ids == self.tokenizer.mask_token_id)
        single = len(masks) == 1
        filled = [self._fill(ids, at, logits[at], options, single) for at in masks.tolist()]
        return filled[0] if single else filled

    def _fill(self, ids: Array, at: int, logits: Array, options: FillMaskOptions, single: bool) -> list[FilledMask]:
        scores = softmax(logits.astype(np.float32))
        targets = None if options.target_ids is None else np.array(options.target_ids)
        candidates = scores if targets is None else scores[targets]
        top_k = options.top_k if targets is None else min(options.top_k, len(targets))
        if top_k > len(candidates):
            raise RuntimeError(f"top_k={top_k} is more than the {len(candidates)} tokens of the vocabulary")
        answers: list[FilledMask] = []
        for i in np.argsort(-candidates, kind="stable")[:top_k]:
            token = int(i if targets is None else targets[i])
            tokens = ids.copy()
            tokens[at] = token
            tokens = tokens[tokens != self.tokenizer.pad_token_id]
            # with several masks the special tokens stay, or the other masks would vanish from the text
            sequence = self.tokenizer.decode(tokens.tolist(), skip_special_tokens=single)
            answers.append(
                {
                    "score": float(candidates[i]),
                    "token": token,
                    "token_str": self.tokenizer.decode([token]),
                    "sequence": sequence,
                }
            )
        return answers

    def _target_ids(self, targets: str | list[str]) -> tuple[int, ...]:
        vocabulary = self.tokenizer.get_vocab()
        ids = []
        for target in [targets] if isinstance(targets, str) else targets:
            token = vocabulary.get(target)
            if token is None:
                pieces = self.tokenizer(target, add_special_tokens=False, max_length=1, truncation=True)["input_ids"]
                if not pieces:
                    logger.warning("The specified target token `%s` does not exist in the vocabulary: ignored.", target)
                    continue
                token = pieces[0]
                logger.warning(
                    "The specified target token `%s` does not exist in the vocabulary. Replacing with `%s`.",
                    target,
                    self.tokenizer.convert_ids_to_tokens(token),
                )
            ids.append(int(token))
        if not ids:
            raise ValueError("At least one target must be provided when passed.")
        return tuple(set(ids))  # the order of a set of ints, on which ties depend in transformers too

    def _refuse(self, reason: str) -> PipelineException:
        return PipelineException("fill-mask", self.model.base_model_prefix, reason)


def _by_rank(answer: list[Any]) -> list[Any]:
    """The tokens by rank; with several masks the cells of a rank are lists, one entry a mask."""
    if not answer or isinstance(answer[0], dict):
        return answer
    return [
        {field: [entry[field] for entry in rank] for field in ("token_str", "score")} for rank in zip(*answer)
    ]  # fmt: skip


TASK = TaskSpec(
    name="fill-mask",
    pipeline=FillMaskPipeline,
    auto_classes=(AutoModelForMaskedLM,),
    help="Suggest words for the masks in a text.",
    example='"The capital of France is <mask>."',
    default_model=("distilbert/distilroberta-base", "fb53ab8"),
    columns=top_k_columns("token_str", "score", by_rank=_by_rank),
    ranked=True,
)
