"""Run-length encodings of masks, in the two forms that transformers returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.processing.images.postprocess.outputs import Array


def encode(mask: Array) -> dict[str, list[int]]:
    """Encode a mask (height, width) bool in COCO's uncompressed form.

    Returns:
        {"size": [height, width], "counts": pixels off, on, off, … column by column}; the first may be 0.
    """
    flat = np.ravel(mask, "F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(edges, prepend=0, append=flat.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def decode(rle: Mapping[str, Any]) -> Array:
    """Decode a mask (height, width) bool from the form of `encode`."""
    height, width = rle["size"]
    values = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(values, rle["counts"]).reshape(width, height).T


def segment_runs(segmentation: Array) -> list[list[int]]:
    """Encode each id of a map (height, width), ascending: runs row by row, as first pixel (from 1), length, …"""
    return [_runs(segmentation == identity) for identity in np.unique(segmentation)]


def _runs(mask: Array) -> list[int]:
    pixels = np.concatenate([[False], np.ravel(mask), [False]])
    runs = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs[1::2] -= runs[::2]
    return [int(run) for run in runs]
