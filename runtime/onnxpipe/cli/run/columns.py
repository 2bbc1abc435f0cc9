"""From an answer to the cells of a table: which columns a task adds, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxpipe.cli.run.image_lines import share_of
from onnxpipe.cli.run.plain import plain
from onnxpipe.cli.run.streaming import TEXT_KEYS

Cells = dict[str, Any]


@dataclass(frozen=True)
class ResultColumns:
    """The columns that a task adds.

    Attributes:
        names: their names, in order.
        cells: values by column from an answer; those it leaves out stay empty.
        raw: `cells` takes the answer as the pipeline gives it, else made plain (numbers, text, lists, dicts).
    """

    names: tuple[str, ...]
    cells: Callable[[Any], Cells]
    raw: bool = False


def result_columns(task: str, params: Mapping[str, Any], labels: int | None) -> ResultColumns:
    """The columns of a task, known before its first answer.

    Args:
        task: its own name, no alias.
        params: the call's parameters.
        labels: how many labels the model has, where that is known.
    """
    top_k = params.get("top_k", 1)
    if task == "text-classification":
        every = top_k is None or bool(params.get("return_all_scores"))
        count = (labels or 1) if every else min(int(top_k), labels or int(top_k))
        return _ranked(("label", "score"), count)
    if task in ("image-classification", "video-classification", "audio-classification"):
        count = int(top_k or 1)
        return _ranked(("label", "score"), min(count, labels or count))
    if task == "question-answering":
        return _ranked(("answer", "score", "start", "end"), int(top_k or 1))
    if task == "fill-mask":
        return _ranked(("token_str", "score"), int(top_k or 1), _by_rank)
    if task in TEXT_KEYS:
        key = TEXT_KEYS[task].removesuffix("text") + "token_ids" if params.get("return_tensors") else TEXT_KEYS[task]
        return _ranked((key,), int(params.get("num_return_sequences") or 1))
    fixed = {
        "token-classification": ResultColumns(("entities",), lambda answer: {"entities": answer}),
        "zero-shot-classification": ResultColumns(("label", "score", "scores"), _zero_shot),
        "embedding": ResultColumns(("embedding",), lambda answer: {"embedding": answer}),
        "sentence-similarity": ResultColumns(("score",), _similarity),
        "feature-extraction": ResultColumns(("features",), lambda answer: {"features": answer[0]}),
        "text-ranking": ResultColumns(("index", "score", "ranking"), _ranking),
        "automatic-speech-recognition": _heard(("text", "chunks") if params.get("return_timestamps") else ("text",)),
        "zero-shot-audio-classification": ResultColumns(("label", "score", "scores"), _best_label),
        "zero-shot-image-classification": ResultColumns(("label", "score", "scores"), _best_label),
        "object-detection": ResultColumns(("objects",), lambda answer: {"objects": answer}),
        "zero-shot-object-detection": ResultColumns(("objects",), lambda answer: {"objects": answer}),
        "image-segmentation": ResultColumns(("segments",), _segments, raw=True),
        "mask-generation": ResultColumns(("masks",), _masks, raw=True),
        "depth-estimation": ResultColumns(("depth_min", "depth_max"), _depth, raw=True),
        "image-feature-extraction": ResultColumns(("features",), lambda answer: {"features": answer[0]}),
        "keypoint-matching": ResultColumns(("matches",), lambda answer: {"matches": answer}),
        "image-to-image": ResultColumns((), lambda answer: {}, raw=True),
        "background-removal": ResultColumns((), lambda answer: {}, raw=True),
    }
    return fixed.get(task) or ResultColumns(("result",), lambda answer: {"result": answer})


def cells_of(columns: ResultColumns, answer: Any) -> Cells:
    """The cells of one answer as the pipeline gives it."""
    return columns.cells(answer if columns.raw else plain(answer))


def _ranked(fields: tuple[str, ...], count: int, ranks: Callable[[Any], list[Any]] | None = None) -> ResultColumns:
    """`label`, `score` of the best; with a count above 1 `label_1`, `score_1`, `label_2`, ..."""
    names = [[field if count == 1 else f"{field}_{rank}" for field in fields] for rank in range(1, count + 1)]

    def cells(answer: Any) -> Cells:
        entries = (ranks or _as_list)(answer)[:count]
        return {
            name: entry[field] for row, entry in zip(names, entries) for name, field in zip(row, fields)
        }  # fmt: skip

    return ResultColumns(tuple(name for row in names for name in row), cells)


def _as_list(answer: Any) -> list[Any]:
    return answer if isinstance(answer, list) else [answer]


def _by_rank(answer: list[Any]) -> list[Any]:
    """fill-mask: with several masks the cells of one rank are lists, one entry a mask."""
    if not answer or isinstance(answer[0], dict):
        return answer
    return [
        {field: [entry[field] for entry in rank] for field in ("token_str", "score")} for rank in zip(*answer)
    ]  # fmt: skip


def _zero_shot(answer: Mapping[str, Any]) -> Cells:
    scores = dict(zip(answer["labels"], answer["scores"]))
    return {"label": answer["labels"][0], "score": answer["scores"][0], "scores": scores}


def _best_label(answer: list[Mapping[str, Any]]) -> Cells:
    scores = {entry["label"]: entry["score"] for entry in answer}
    return {"label": answer[0]["label"], "score": answer[0]["score"], "scores": scores}


def _heard(names: tuple[str, ...]) -> ResultColumns:
    return ResultColumns(names, lambda answer: {name: answer.get(name) for name in names})


def _segments(answer: list[Mapping[str, Any]]) -> Cells:
    """Each segment with its share of the picture, its mask as a PNG in text."""
    return {"segments": [{**plain(dict(each)), "share": share_of(each["mask"])} for each in answer]}


def _masks(answer: Mapping[str, Any]) -> Cells:
    pairs = zip(answer["masks"], answer["scores"])
    return {"masks": [{"score": float(s), "mask": plain(m), "share": share_of(m)} for m, s in pairs]}


def _depth(answer: Mapping[str, Any]) -> Cells:
    depth = answer["predicted_depth"]
    return {"depth_min": float(depth.min()), "depth_max": float(depth.max())}


def _similarity(answer: Any) -> Cells:
    return {"score": answer[0] if isinstance(answer, list) and len(answer) == 1 else answer}


def _ranking(answer: list[Mapping[str, Any]]) -> Cells:
    if not answer:
        return {"ranking": []}
    ranking = [{"index": entry["index"], "score": entry["score"]} for entry in answer]
    return {**ranking[0], "ranking": ranking}
