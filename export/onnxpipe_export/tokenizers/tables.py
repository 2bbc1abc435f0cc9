"""Tokenizers of models that answer questions about tables: verify TAPAS's, load TAPEX's."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError, MissingDependencyError
from onnxpipe_export.tracing import quiet

_TAPAS, _TAPEX = "TapasTokenizer", "TapexTokenizer"
_CONFIG = "tokenizer_config.json"
_ROWS = 4


def is_tapex(folder: Path) -> bool:
    """Tell whether the files name TAPEX's class, which transformers 5 has no more."""
    path = folder / _CONFIG
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") == _TAPEX


def check_pandas(folder: Path) -> None:
    """Refuse to go on without pandas where the tokenizer is TAPAS's, which is compared with transformers'.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    names = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / _CONFIG, folder / "config.json")
             if path.is_file()]  # fmt: skip
    tapas = any(each.get("tokenizer_class") == _TAPAS or each.get("model_type") == "tapas" for each in names)
    if tapas and importlib.util.find_spec("pandas") is None:
        raise MissingDependencyError(
            "to export a TAPAS its tokenizer is compared with transformers', which needs pandas: pip install pandas"
        )


def load_tapex(folder: Path) -> Any:
    """Load TAPEX's tokenizer: BART's, with a blank before every text unless the files say otherwise."""
    from transformers import BartTokenizer

    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return BartTokenizer.from_pretrained(str(folder), add_prefix_space=config.get("add_prefix_space", True))


def compare(texts: Sequence[str], original: Any, runtime: Any) -> int:
    """Compare a bundle's TAPAS tokenizer with the original on tables whose cells, and questions, are these texts.

    Returns:
        How many tables were compared.

    Raises:
        ExportError: a question with its table is encoded differently.
    """
    import pandas

    count = 0
    for start in range(0, len(texts), _ROWS):
        cells = texts[start : start + _ROWS]
        dates = [f"{1990 + place}-0{place + 1}-15" for place in range(len(cells))]
        table = {"text": cells, "number": [str(7 * place % 5) for place in range(len(cells))], "date": dates}
        asked = [(f"{text} above 2 since 1991?", 512) for text in cells]
        for question, length in (("Which is above 2 since 1991?", 64), *asked):
            with quiet():
                expected = original(pandas.DataFrame(table), question, truncation=True, max_length=length)
            _same(question, expected, runtime(table, question, truncation=True, max_length=length))
            count += 1
    return count


def _same(question: str, expected: Any, got: Any) -> None:
    for name in ("input_ids", "token_type_ids"):
        if expected[name] != got[name]:
            raise ExportError(
                f"{question!r} with a table is not encoded as by the original tokenizer: {name} are "
                f"{got[name][:20]} instead of {expected[name][:20]}"
            )
