"""What each further family of text models is asked: a text alone, and texts of different lengths together."""

from __future__ import annotations

from typing import Any

TEXTS = ("Sarah lives in", "The bridge was built by Sir John Wolfe Barry near", "a")
CALLS: dict[str, dict[str, Any]] = {
    "text-generation": {"max_new_tokens": 12, "do_sample": False, "return_tensors": True, "batch_size": 3},
    "text2text-generation": {
        "max_new_tokens": 12,
        "do_sample": False,
        "num_beams": 1,
        "return_tensors": True,
        "batch_size": 3,
    },
    "feature-extraction": {"batch_size": 3},
    "text-classification": {"top_k": None},
}
"""Task -> how it is called here; transformers is called without a batch, as its batches change answers of most.

Classifiers are called without one too: the two of the table read padding, so their rows must not share a batch."""
