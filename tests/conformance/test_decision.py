"""decision against transformers' own pipeline: requests, types of questions, templates with marks, bad requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onnxpipe
from conformance.compare import same
from onnxpipe.engine.scheduler import ItemError

pytest.importorskip("torch")
decision = pytest.importorskip("transformers.decision")

Bundles = Callable[..., Path]
FAMILIES = ("qwen2", "smollm3")
LABELS = {"noul": ["Y", "N"]}
QUESTIONS: dict[str, Any] = {
    "spam": {"type": "noul", "instructions": "Is it spam?", "criteria": {"true": "An ad"}},
    "tone": {"type": "choice", "instructions": "Tone?", "criteria": {"calm": None, "pushy": {"why": "é"}, "rude": "x"}},
    "urgent": {"type": "score", "criteria": ["later", "this week", "today"]},
    "only": {"type": "choice", "criteria": {"yes": None}},
}
STATES: list[Any] = ["Win!", {"from": "émile", "n": [1, 2.5, None, True]}, "</s> <|im_end|> <|mark|>", ""]
EACH = (
    "{{ state if state is string else state|tojson }} {{ question.instructions }}"
    "{% for option in question.options %} {{ question.labels[loop.index0] }}. {{ option }}{% endfor %}:<|mark|> end"
)
TOGETHER = "{{ state }}{% for q in questions %} {{ q.name }} {{ q.labels|join('/') }}:<|mark|><|split|> x{% endfor %}"
SETTINGS: dict[str, dict[str, Any]] = {
    "general": {},
    "temperature": {"temperature": {"choice": 2.5, "noul": 1}, "noul_options": ["false", "true"]},
    "labels": {"labels": {"noul": ["Y", "N"], "choice": ["x", "y", "z"], "score": ["1", "2", "3"]}},
    "a prompt a question": {"chat_template": EACH},
    "one prompt": {"chat_template": TOGETHER},
    "control tokens stay": {"chat_template": EACH, "sanitize_control_tokens": False},
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _ours(bundles: Bundles, family: str, **settings: Any) -> Any:
    config = onnxpipe.DecisionConfig(**{"labels": LABELS, **settings})
    return onnxpipe.pipeline("decision", model=bundles(family, "causal"), decision_config=config)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_same_as_transformers(settings: str, family: str, models: Bundles, bundles: Bundles) -> None:
    import transformers

    values = {"labels": LABELS, **SETTINGS[settings]}
    folder = str(models(family, "causal"))
    theirs = transformers.pipeline(
        "decision",
        # by its path the pipeline first tries a class of decision models, of billions of random weights
        model=transformers.AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        decision_config=decision.DecisionConfig(**values),
    )
    ours = _ours(bundles, family, **SETTINGS[settings])
    requests = [{"state": state, "questions": QUESTIONS} for state in STATES]
    if settings == "control tokens stay":
        requests = requests[:2]
    expected, got = theirs(requests), ours(requests)
    assert same({"value": expected}, {"value": got}) is None
    assert same({"value": expected[0]}, {"value": ours(json.dumps(requests[0]))}) is None


def test_alone_in_batches_and_streams(family: str, bundles: Bundles) -> None:
    ours = _ours(bundles, family)
    requests = [{"state": state, "questions": QUESTIONS} for state in STATES]
    expected = [ours(request) for request in requests]
    for answers in (ours(requests, batch_size=4), ours(requests, batch_size=1), list(ours(each for each in requests))):
        assert same({"value": expected}, {"value": answers}) is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (None, "a request is"),
        ("no JSON", "must be JSON"),
        ({"state": "x"}, "a request is"),
        ({"state": "x", "questions": {}}, "at least one"),
        ({"state": "x", "questions": {"q": {"type": "maybe"}}}, "question 'q': its type must be one of"),
        ({"state": "x", "questions": {"q": {"type": "choice"}}}, "must be a dict of options"),
        ({"state": "x", "questions": {"q": {"type": "score", "criteria": []}}}, "list of levels"),
        ({"state": "x", "questions": {"q": {"type": "score", "criteria": ["a", None]}}}, "a level must be a text"),
        ({"state": "x", "questions": {"q": {"type": "noul", "criteria": {"yes": "x"}}}}, "other keys"),
        ({"state": "x", "questions": {"q": {"type": "noul", "instruction": "x"}}}, "'instruction'"),
        ({"state": "x", "questions": {"q": {"type": "score", "criteria": ["a"] * 30}}}, "30 options"),
        ({"state": "x", "questions": {"q": {"type": "noul"}}, "assets": {"a": "b.png"}}, "no images"),
        ({"state": "LONG", "questions": {"q": {"type": "noul"}}}, "takes at most"),
    ],
)
def test_bad_requests(request_: Any, message: str, bundles: Bundles) -> None:
    ours = _ours(bundles, FAMILIES[0])
    good = {"state": "x", "questions": {"q": {"type": "noul"}}}
    if isinstance(request_, dict) and request_["state"] == "LONG":
        request_["state"] = "x " * ours.model.config.get("max_position_embeddings")
    first, bad = ours([good, request_], on_error="return")
    assert set(first) == {"q"} and isinstance(bad, ItemError)
    with pytest.raises(ValueError, match=message):
        ours([good, request_])


def test_labels_that_are_no_tokens_and_settings_of_the_folder(bundles: Bundles, tmp_path: Path) -> None:
    request = {"state": "x", "questions": {"q": {"type": "noul"}}}
    with pytest.raises(ValueError, match="distinct single tokens"):
        _ours(bundles, FAMILIES[0], labels={"noul": ["Y", "Y"]})(request)
    (tmp_path / "decision.json").write_text(json.dumps({"labels": LABELS, "sort_choices": True}))
    model = bundles(FAMILIES[0], "causal")
    ours = onnxpipe.pipeline("decision", model=model, decision_config=str(tmp_path))
    assert ours(request) == _ours(bundles, FAMILIES[0])(request)
    for broken, message in (({"temperature": {"noul": 0}}, "above 0"), ({"adapter": "lora"}, "LoRA")):
        (tmp_path / "decision.json").write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=message):
            onnxpipe.pipeline("decision", model=model, decision_config=tmp_path)
    with pytest.raises(TypeError, match="questions"):
        ours("x", questions={})


def test_the_command_line(bundles: Bundles) -> None:
    from click.testing import CliRunner

    from onnxpipe.cli import main

    question = {"type": "score", "criteria": ["calm", "pushy"]}
    request = json.dumps({"state": {"text": "é"}, "questions": {"tone": question}})
    model = str(bundles(FAMILIES[0], "causal"))
    expected = onnxpipe.pipeline("decision", model=model)(request)["tone"]
    words = ["run", "decision", "--model", model, "--on-error", "return", request, '{"state": 1}']
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 3
    title, answer, error = done.stdout.splitlines()
    assert title == '{"text": "é"}'
    assert answer == f"  tone  {expected['score']:.4f}  (confidence {expected['confidence']:.4f})"
    assert error.startswith("error: input 2: a request is")
    answers = CliRunner().invoke(main, [*words, "--json"]).stdout.splitlines()
    assert json.loads(answers[0])["tone"]["type"] == "score" and "error" in json.loads(answers[1])
