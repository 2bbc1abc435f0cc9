"""Images for peers that have no processor of their own: read and resized by Pillow, normalised by numpy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def functions(model: str, logits: Callable[[Any], Any], batch: int = 8) -> dict[str, Any]:
    """Make the functions of an image classifier.

    Args:
        model: the folder with preprocessor_config.json and config.json.
        logits: float32 (n, 3, height, width) to (n, classes).
        batch: the most photos in one call of `logits`.
    """
    import numpy as np

    config = json.loads(Path(model, "config.json").read_text("utf-8"))
    labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
    read = reader(Path(model))

    def probabilities(paths: list[str]) -> Any:
        rows = []
        for i in range(0, len(paths), batch):
            each = np.asarray(logits(np.stack([read(path) for path in paths[i : i + batch]])))
            each = np.exp(each - each.max(1, keepdims=True))
            rows.append(each / each.sum(1, keepdims=True))
        return np.concatenate(rows)

    def best(paths: str | list[str], count: int) -> list[list[dict[str, Any]]]:
        table = probabilities([paths] if isinstance(paths, str) else paths)
        order = np.argsort(-table, axis=1)[:, :count]
        return [[{"label": labels[i], "score": float(row[i])} for i in places] for row, places in zip(table, order)]

    return {"call": lambda paths: best(paths, 5), "scores": lambda paths: best(paths, len(labels))}


def reader(model: Path) -> Callable[[str], Any]:
    """Make the function from a path to pixels, float32 (3, height, width), that the model's processor says."""
    import numpy as np
    from PIL import Image

    config = json.loads((model / "preprocessor_config.json").read_text("utf-8"))
    mean, std = (np.array(config[name], np.float32) for name in ("image_mean", "image_std"))
    factor, shift = np.float32(config.get("rescale_factor", 1 / 255)) / std, mean / std
    size, resample = config["size"], Image.Resampling(config["resample"])

    def read(path: str) -> Any:
        image = Image.open(path).convert("RGB")
        if "shortest_edge" in size:  # ConvNext: resized to more than is wanted, the middle of it is kept
            wanted = size["shortest_edge"]
            image = _middle(image, wanted, int(wanted / config["crop_pct"]), resample)
        else:
            image = image.resize((size["width"], size["height"]), resample)
        return (np.asarray(image, np.float32) * factor - shift).transpose(2, 0, 1)

    return read


def _middle(image: Any, wanted: int, shortest: int, resample: Any) -> Any:
    """Resize the shortest edge, keeping the ratio, and cut a square from the middle."""
    width, height = image.size
    scale = shortest / min(width, height)
    width, height = (shortest if edge == min(image.size) else int(edge * scale) for edge in (width, height))
    left, top = (width - wanted) // 2, (height - wanted) // 2
    return image.resize((width, height), resample).crop((left, top, left + wanted, top + wanted))
