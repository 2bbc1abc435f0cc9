"""Format answers for people: a few aligned columns for each input."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from onnxpipe.cli.run.answers import InputError
from onnxpipe.cli.run.image_lines import image_lines, image_title
from onnxpipe.cli.run.plain import plain
from onnxpipe.cli.terminal import printable, visible

_FIRST_VALUES = 5
_LABEL_COLUMNS = 24


class Renderer:
    """Formats answers as lines, one input after the other.

    Args:
        labels: label names of the model, so that the first line is as wide as the last.
        width: columns of the screen; None asks the terminal, 0 is no limit (where the output is not a terminal).
    """

    def __init__(self, labels: Sequence[str] = (), width: int | None = None) -> None:
        self._label = min(_LABEL_COLUMNS, max((len(label) for label in labels), default=0))
        screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        self._width = screen if width is None else width

    def lines(self, value: Any, answer: Any) -> Iterator[str]:
        """Format one answer by its shape, so that the tasks that users register are shown too."""
        if isinstance(answer, InputError):
            yield self._cut(f"error: {answer}")
            return
        if (lines := image_lines(answer)) is not None:
            yield self._cut(image_title(value))
            yield from (self._cut(f"  {line}") for line in lines)
            return
        answer = plain(answer)
        if _is_dict(answer, "label", "score"):
            yield self._labelled(answer, _title(value))
        elif _is_dict(answer, "labels", "scores"):
            yield self._cut(_title(value))
            yield from self._list({"label": n, "score": s} for n, s in zip(answer["labels"], answer["scores"]))
        elif _is_dict(answer, "answer", "score"):
            yield from self._answers([answer], value)
        elif _is_dict(answer, "answer") and isinstance(value, Mapping) and "query" in value:
            yield self._cut(_title(value))
            yield self._cut(f"  {printable(answer['answer'])}")
            if answer.get("coordinates"):
                places = (f"row {row + 1}, column {column + 1}" for row, column in answer["coordinates"])
                yield self._cut(f"  ({'; '.join(places)})")
        elif isinstance(answer, dict) and answer and all(_is_decision(each) for each in answer.values()):
            title = value.get("state", value) if isinstance(value, Mapping) else value
            yield self._cut(printable(title if isinstance(title, str) else json.dumps(title, ensure_ascii=False)))
            for name, each in answer.items():
                yield self._cut(f"  {printable(name)}  {_decided(each)}")
        elif _is_numbers(answer) and isinstance(value, Mapping) and "sentences" in value:
            yield from self._similar(value, answer)
        elif _is_numbers(answer):
            yield f"{_vector(answer)}  {self._cut(_title(value), 80)}"
        elif isinstance(answer, list):
            yield from self._of_list(value, answer)
        else:
            yield self._cut(_title(value))
            yield f"  {answer}"

    def _of_list(self, value: Any, answer: list[Any]) -> Iterator[str]:
        if not answer:
            yield self._cut(_title(value))
            yield "  (nothing found)"
        elif _is_dict(answer[0], "answer", "score"):
            yield from self._answers(answer, value)
        elif (key := _text_key(answer[0])) is not None:
            yield from (_text(entry[key]) for entry in answer)
        elif isinstance(answer[0], list) and answer[0] and _is_dict(answer[0][0], "token_str"):
            yield self._cut(_title(value))
            for number, entries in enumerate(answer, 1):
                yield f"  mask {number}"
                yield from self._list(entries, "    ")
        elif isinstance(answer[0], dict):
            yield self._cut(_title(value))
            yield from self._list(answer)
        else:
            yield f"{_shape(answer)}  {self._cut(_title(value), 80)}"

    def _labelled(self, entry: Mapping[str, Any], title: str) -> str:
        self._label = max(self._label, min(_LABEL_COLUMNS, len(entry["label"])))
        return self._cut(f"{entry['label']:<{self._label}}  {_score(entry['score'])}  {title}")

    def _list(self, entries: Any, indent: str = "  ") -> Iterator[str]:
        """Format one entry a line: labels, entities, fillings of a mask, ranked documents."""
        rows = [_columns(entry) for entry in entries]
        widths = [max(len(row[i]) for row in rows) for i in range(min(map(len, rows)) - 1)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths)] + row[len(widths) :]
            yield self._cut(indent + "  ".join(cells).rstrip())

    def _answers(self, answers: list[Any], value: Any) -> Iterator[str]:
        yield self._cut(printable(str(value.get("question", ""))) if isinstance(value, Mapping) else _title(value))
        yield from self._list(answers)

    def _similar(self, value: Mapping[str, Any], scores: list[float]) -> Iterator[str]:
        yield self._cut(printable(str(value.get("source_sentence", ""))))
        for sentence, score in zip(value["sentences"], scores):
            yield self._cut(f"  {_score(score)}  {printable(str(sentence))}")

    def _cut(self, text: str, width: int | None = None) -> str:
        limit = min(width or self._width, self._width) if self._width else width
        return text if not limit or len(text) <= limit else text[: max(1, limit - 1)] + "…"


def _text_key(entry: Any) -> str | None:
    """Return the key of the generated text in an entry of an answer, if it has one."""
    return next((key for key in _text_keys() if isinstance(entry, dict) and key in entry), None)


@cache
def _text_keys() -> tuple[str, ...]:
    """List the keys of generated text in the answers of all tasks."""
    from onnxpipe.tasks.registry import all_tasks

    return tuple(dict.fromkeys(spec.text_key for spec in all_tasks() if spec.text_key is not None))


def _text(generated: Any) -> str:
    """Return the generated text: the text itself, or the last message of a chat."""
    return visible(str(generated[-1]["content"]) if isinstance(generated, list) else generated)


def _columns(entry: Mapping[str, Any]) -> list[str]:
    """Return the cells of an entry's line: score, name, position, text."""
    cells = [_score(entry["score"])] if "score" in entry else []
    cells += [printable(str(entry[name])) for name in ("entity_group", "entity", "label") if name in entry]
    if "index" in entry and "entity" not in entry:
        cells.append(str(entry["index"]))
    if entry.get("start") is not None:
        cells.append(f"{entry['start']}-{entry['end']}")
    cells += [printable(str(entry[name])) for name in ("word", "answer", "token_str", "sequence", "document")
              if entry.get(name) is not None]  # fmt: skip
    return cells or [printable(str(entry))]


def _is_decision(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") in ("noul", "choice", "score")


def _decided(answer: Mapping[str, Any]) -> str:
    """Format the answer to a question of a decision in one line."""
    if answer["type"] == "noul":
        return _score(answer["noul"])
    chosen = printable(answer["choice"]) if answer["type"] == "choice" else _score(answer["score"])
    return f"{chosen}  (confidence {_score(answer['confidence'])})"


def _title(value: Any) -> str:
    """Format an input in one line."""
    if isinstance(value, Mapping):
        return "  |  ".join(printable(str(each)) for each in value.values())
    return printable(str(value))


def _score(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10 else f"{score:.2f}"


def _vector(values: Sequence[float]) -> str:
    first = ", ".join(f"{value:.4f}" for value in values[:_FIRST_VALUES])
    more = ", ..." if len(values) > _FIRST_VALUES else ""
    norm = math.sqrt(sum(value * value for value in values))
    return f"[{first}{more}]  {len(values)} dimensions, norm {norm:.4f}"


def _shape(nested: Any) -> str:
    """Format features as `[1][7][384]` and the first values."""
    sizes = ""
    while isinstance(nested, list) and nested:
        sizes, last, nested = f"{sizes}[{len(nested)}]", nested, nested[0]
    return f"{sizes}  {', '.join(f'{value:.4f}' for value in last[:_FIRST_VALUES])}, ..."


def _is_dict(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(name in value for name in names)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, (int, float)) for each in value)
