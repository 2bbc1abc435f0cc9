"""Record what transformers 4.57 answers where 5.x dropped the task or the argument.

    python tests/zoo/reference_4_57.py [TASK …]     # where transformers 4.57.6, torch, tokenizers and Pillow are

Builds the zoo's models, runs every case marked `dropped`, and writes `tests/zoo/reference/<task>.json`: the versions,
the hash of each model's weights, and for every family and case the outcome, floats rounded to 7 digits.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent), str(_HERE.parents[1] / "export"), str(_HERE.parents[1] / "runtime")]
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def record(task: str, folder: Path) -> dict[str, Any]:
    """The document of one task."""
    import torch
    import transformers

    from conformance.cases import table
    from conformance.runner import Transformers, marks_of, outcome
    from conformance.values import to_json
    from zoo import build, weights_hash

    @cache
    def model(family: str, head: str) -> Path:
        return build(family, head, folder / f"{family}-{head}")

    library = Transformers(model)
    answers: dict[str, Any] = {}
    for family, case in table(task):
        if not case.dropped:
            continue
        path = model(family, case.head)
        entry = answers.setdefault(family, {"weights": {}, "cases": {}})
        entry["weights"][case.head] = weights_hash(path)
        entry["cases"][case.name] = to_json(
            outcome(library, task, family, case, marks_of(family, path), reference=True)
        )
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
    return {"versions": versions, "answers": answers}


def main() -> None:
    import tempfile

    import transformers

    from conformance.cases import CASES

    if not transformers.__version__.startswith("4.57."):
        raise SystemExit(f"transformers 4.57 is needed, this is {transformers.__version__}")
    warnings.simplefilter("ignore")
    target = _HERE / "reference"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for task in sys.argv[1:] or CASES:
            document = record(task, Path(folder))
            if document["answers"]:
                text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
                (target / f"{task}.json").write_text(text, encoding="utf-8")
                print(f"{task}: {sum(len(entry['cases']) for entry in document['answers'].values())} answers")


if __name__ == "__main__":
    main()
