"""The graphs of a pipeline's text encoders: CLIP's, with and without a projection, and T5's.

Hidden states of all layers are outputs, since SDXL reads the last but one and `clip_skip` any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

PROMPTS = (
    "a lighthouse on a cliff at dusk, waves below, oil on canvas",
    "",
    "Portrait of an old sailor with a white beard, 85mm photograph, soft light, highly detailed, sharp focus",
    "blurry, low quality, deformed hands, watermark, text",
    "Ein rotes Fahrrad vor einer Ziegelmauer",
    "a cat",
)
"""Prompts to verify and calibrate with: short and long ones, and what is not wanted in an image."""

_CLIP_LENGTH, _SHORT = 77, 16
_T5_LENGTH = 64
_LENGTH = "sequence_length"


def describe(checkpoint: Checkpoint, name: str, tokenizer: Any, normed: bool) -> WrappedExport:
    """Describe a text encoder.

    Args:
        checkpoint: the encoder.
        name: the component's.
        tokenizer: transformers' tokenizer for it.
        normed: whether the states of each layer with the final norm are outputs too, which `clip_skip` of Stable
            Diffusion reads, instead of the plain ones that SDXL reads.
    """
    t5 = checkpoint.config.model_type == "t5"
    outputs = ("last_hidden_state",) if t5 else _clip_outputs(checkpoint, normed)
    length = _T5_LENGTH if t5 else _CLIP_LENGTH
    per_token = {output: {0: BATCH, 1: _LENGTH} for output in outputs if "hidden_state" in output}
    pooled = {output: {0: BATCH} for output in outputs if output not in per_token}

    def forward(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        if t5:
            return {"last_hidden_state": checkpoint.model(tensors["input_ids"])[0]}
        answer = checkpoint.model(tensors["input_ids"], output_hidden_states=True, return_dict=True)
        states = {f"hidden_states.{number}": state for number, state in enumerate(answer.hidden_states)}
        if normed:
            norm = _final_norm(checkpoint.model)
            states |= {f"normed_{name}": norm(state) for name, state in list(states.items())}
        found = {**answer, **states}
        return {output: found[output] for output in outputs}

    return WrappedExport(
        checkpoint=checkpoint,
        name=name,
        inputs=("input_ids",),
        outputs=outputs,
        axes={"input_ids": {0: BATCH, 1: _LENGTH}, **per_token, **pooled},
        forward=forward,
        example=lambda: {"input_ids": tokens(tokenizer, PROMPTS[:2], length - 1)},
        make_cases=lambda _: _cases(tokenizer, length),
        makers=makers.ENCODER,
        max_length=length,
    )


def tokens(tokenizer: Any, prompts: Sequence[str], length: int) -> np.ndarray:
    """Cut and pad prompts to `length` tokens as pipelines do: int64 (prompts, length)."""
    rows = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True)
    return np.asarray(rows["input_ids"], np.int64)


def prompt_answers(answers: Sequence[Feeds]) -> dict[str, np.ndarray]:
    """Join an encoder's answers to `PROMPTS`, which are its first cases: one array an output, (prompts, ...)."""
    alone = answers[: len(PROMPTS)]
    return {name: np.concatenate([answer[name] for answer in alone]) for name in alone[0]}


def _clip_outputs(checkpoint: Checkpoint, normed: bool) -> tuple[str, ...]:
    projected = type(checkpoint.model).__name__.endswith("WithProjection")
    states = tuple(f"hidden_states.{number}" for number in range(checkpoint.config.num_hidden_layers + 1))
    first = ("text_embeds", "last_hidden_state") if projected else ("last_hidden_state", "pooler_output")
    return (*first, *states, *(tuple(f"normed_{state}" for state in states) if normed else ()))


def _final_norm(model: Any) -> Any:
    """Find the norm after CLIP's last layer; versions of transformers differ in where it is."""
    return getattr(model, "text_model", model).final_layer_norm


def _cases(tokenizer: Any, length: int) -> list[Case]:
    alone = [
        Case({"input_ids": tokens(tokenizer, [prompt], length)}, golden=prompt == PROMPTS[0], calibrates=True)
        for prompt in PROMPTS
    ]
    return [
        *alone,
        Case({"input_ids": tokens(tokenizer, PROMPTS[:3], length)}),
        Case({"input_ids": tokens(tokenizer, PROMPTS[2:5], _SHORT)}),
    ]
