"""The comparison with peers: how answers are compared, and what its tables say. Nothing is timed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from perf import compare, table
from perf.workloads import WORKLOADS, bits, mixed_texts


def _row(participants: dict[str, dict[str, Any]], *, more: bool = False) -> dict[str, Any]:
    whole = {name: {"memory": None, **one} for name, one in participants.items()}
    return {"title": "A title", "unit": "ms", "more": more, "slack": 0.001, "participants": whole, "missing": {}}


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    figures = {"onnxpipe int8": {"figures": [1.0, 2.0, 4.0]}, "openvino int8": {"figures": [2.0, 2.0, 2.0]}}
    assert table.ratio(_row(figures), "onnxpipe int8", "openvino int8") == 1.0
    figures["openvino int8"]["figures"] = [3.0, 1.0, 8.0]
    assert table.ratio(_row(figures), "onnxpipe int8", "openvino int8") == 2.0
    assert table.ratio(_row(figures, more=True), "onnxpipe int8", "openvino int8") == 0.5


def test_peers_of_fewer_bits_or_with_worse_answers_do_not_count() -> None:
    row = _row(
        {
            "onnxpipe int8": {"figures": [3.0], "value": 0.998, "apart": 0.0},
            "llama_cpp Q4_0": {"figures": [1.0], "value": 0.998, "apart": 0.0},
            "openvino int8": {"figures": [2.0], "value": 0.990, "apart": 0.0},
            "optimum int8": {"figures": [2.5], "value": 0.999, "apart": 0.4},
            "openvino bf16": {"figures": [4.0], "value": 0.9975, "apart": 0.0005},
        }
    )
    assert table.best_peer(row, "onnxpipe int8", equal=False) == "openvino int8"
    assert table.best_peer(row, "onnxpipe int8", equal=True) == "openvino bf16"


def test_the_page_keeps_what_stands_around_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", "utf-8")
    row = _row({"onnxpipe int8": {"figures": [2.0], "words": "1 of 1"}, "bare int8": {"figures": [1.0]}})
    row["missing"] = {"genai int4": "not | installed"}
    machine = {"processor": "A Processor", "threads": 2, "instructions": "avx2"}
    document = {"machine": machine, "date": "", "commit": "", "rounds": 1, "versions": {}, "rows": [row]}
    table.write(page, [document])
    text = page.read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "### A Processor, 2 threads" in text
    assert "| A title | int8 2 ms | bare graph int8 1 ms | 0.50 | the same | 0.50 |" in text
    assert "| onnxruntime-genai int4 | – | | not / installed |" in text
    page.write_text("without marks", "utf-8")
    with pytest.raises(ValueError, match="needs the lines"):
        table.write(page, [document])


def test_answers_are_compared() -> None:
    assert compare.vectors([[1.0, 0.0]], [[2.0, 0.0]]).value == 1.0
    assert compare.vectors([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]).words == "cosine 0.5000, lowest 0.0000"
    assert compare.tokens([[1, 2, 3]], [[1, 2, 4]]).value == pytest.approx(2 / 3)
    assert compare.labels([{"label": "a", "score": 1.0}], [{"label": "b", "score": 1.0}]).value == 0.0
    assert (
        compare.transcripts(["one two"], ["one two "], ["one three"]).words == "50.0 words wrong in 100, 1 of 1 texts"
    )
    assert compare.apart([[0.0, 1.0]], [[0.0, 1.5]]) == 0.5


def test_labels_that_stand_twice_are_compared_by_their_scores() -> None:
    one = [{"label": "crane", "score": 0.6}, {"label": "crane", "score": 0.1}, {"label": "dog", "score": 0.3}]
    assert compare.scores([one], [list(reversed(one))[::-1]]).value == pytest.approx(1.0)
    other = [{"label": "dog", "score": 0.6}, {"label": "crane", "score": 0.3}, {"label": "crane", "score": 0.1}]
    assert compare.scores([other], [one]).words.endswith("0 of 1 labels")


def test_every_workload_has_a_name_and_participants_of_its_own() -> None:
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)
    for workload in WORKLOADS:
        assert len(set(workload.participants)) == len(workload.participants)
        assert all(bits(name) for name in workload.participants)
    assert len(set(mixed_texts(400))) == 400
