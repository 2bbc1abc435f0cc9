"""Refuse a text graph of a model that needs more than text: it would certify, and answer another question."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from onnxpipe.errors import ExportError
from onnxpipe_export import refusals
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.tracing import quiet

# Inputs of models that read something else than a text -> what they are. Left out, the models take zeros for them, so
# the original answers as well, and just as wrong. Images that a model may do without (a chat without one) are not here.
_BESIDE_TEXT: Mapping[str, str] = {
    "bbox": "a box on the page for each word",
    "xpath_tags_seq": "each word's place in an HTML page",
    "visual_feats": "regions of an image",
    "visual_embeds": "regions of an image",
}
_PAGE_TASKS = (
    "Pages with boxes are what document-question-answering and object-detection (labels of words) read, with models "
    "trained for them; no task here or in transformers' pipelines gives a page to a classifier"
)
# What tokenizers give and models of one text do without.
_OPTIONAL = frozenset({"token_type_ids", "position_ids"})
_TEXT = "Sarah lives in London"


def check_text_suffices(checkpoint: Checkpoint) -> None:
    """Check that a text is all that the model's own task gives it.

    Raises:
        ExportError: the model takes something beside it, or its tokenizer gives more than a graph of texts takes.
    """
    taken = inspect.signature(checkpoint.model.forward).parameters
    name, task = type(checkpoint.model).__name__, checkpoint.task.name
    for beside, what in _BESIDE_TEXT.items():
        if beside in taken:
            instead = _PAGE_TASKS if beside == "bbox" else refusals.ELSE
            raise ExportError(
                f"{name} does not read texts alone: it takes {beside} ({what}), which {task} does not give, and "
                f"without it the model answers another question. {instead}"
            )
    if checkpoint.tokenizer is None or task == "table-question-answering":
        return
    with quiet():
        given = set(checkpoint.tokenizer(_TEXT)) & set(taken)
    more = sorted(given - _OPTIONAL - {"input_ids", "attention_mask"})
    if more:
        raise ExportError(
            f"the tokenizer of {name} gives {', '.join(more)} beside the ids, and graphs for {task} do not take that. "
            f"{refusals.ELSE}"
        )
