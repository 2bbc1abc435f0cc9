"""Models of the zoo whose head is a task's name, with a variant perhaps: "image-classification+wide"."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Write = Callable[[Path], None]
WriteLarger = Callable[[str, str, Mapping[str, Any], Path], None]


def build_variant(
    family: str,
    head: str,
    folder: Path,
    *,
    models: Mapping[tuple[str, str], Write],
    write_larger: WriteLarger,
    wide: Mapping[str, Mapping[str, Any]],
    variants: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the model of `family` for the task that `head` names, changed as the variant says.

    Args:
        models: (family, task) -> what writes the model's folder.
        write_larger: what writes a model with other sizes: the variant "wide".
        wide: family -> those sizes.
        variants: variant -> values that replace those of config.json.

    Raises:
        KeyError: no such family, task or variant.
    """
    task, _, variant = head.partition("+")
    if variant == "wide":
        write_larger(family, task, wide[family], folder)
        return
    models[family, task](folder)
    if variant:
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8")) | dict(variants[variant])
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
