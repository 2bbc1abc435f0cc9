"""decision with images against transformers' own pipeline: placeholders in texts, in data, in an own template."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

import onnxpipe
from conformance.compare import same
from onnxpipe.engine.scheduler import ItemError
from zoo.vision.chat_processors import PROCESSORS
from zoo.vision.images import encoded
from zoo.vision_language import HEAD, PRECISIONS

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decision = pytest.importorskip("transformers.decision")

Bundles = Callable[..., Path]
FAMILIES = ("llava_onevision", "qwen2_vl", "internvl")
LABELS = {"noul": ["Y", "N"]}
OWN = (
    "{% macro said(value) %}{% if value is string %}{{ value }}{% elif value is mapping %}"
    "{% for key, item in value|items %}{{ key }}: {{ said(item) }} {% endfor %}"
    "{% else %}{% for part in value %}{{ 'IMAGE' if part.type == 'image' else part.text }}{% endfor %}{% endif %}"
    "{% endmacro %}{{ said(state) }} {{ said(question.instructions) }}:<|mark|> end"
)


def _image(name: str) -> Image.Image:
    return onnxpipe.load_image(encoded(name)[0])


def _base64(name: str) -> str:
    buffer = io.BytesIO()
    _image(name).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


QUESTIONS: Mapping[str, Any] = {
    "cat": {"type": "noul", "instructions": "Is <photo> like <odd>?"},
    "kind": {"type": "choice", "instructions": "What is it?", "criteria": {"cat": "As in <odd>", "dog": None}},
}
REQUESTS: tuple[dict[str, Any], ...] = (
    {"state": "Look: <photo>", "questions": QUESTIONS},
    {"state": {"said": "Hello", "seen": "<odd>"}, "questions": QUESTIONS},
    {"state": "No image at all", "questions": {"cat": {"type": "noul", "instructions": "Is it a cat?"}}},
)


def _assets() -> dict[str, Any]:
    return {"<photo>": {"type": "image", "format": "png", "data_base64": _base64("photo")}, "<odd>": _image("odd")}


def _requests() -> list[dict[str, Any]]:
    return [{**request, "assets": _assets()} if "<" in json.dumps(request) else request for request in REQUESTS]


def _theirs(family: str, folder: Path, **settings: Any) -> Any:
    from transformers.processing_utils import ProcessorMixin

    spec = PROCESSORS[family]
    own = {name: value for name, value in spec.settings.items() if name != "processor_class"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):  # or videos need torchvision
        processor = getattr(transformers, spec.settings["processor_class"])(
            getattr(transformers, f"{spec.images['image_processor_type']}Pil").from_pretrained(folder),
            tokenizer,
            chat_template=spec.template,
            **own,
        )
    return transformers.pipeline(
        "decision",
        model=transformers.AutoModelForImageTextToText.from_pretrained(folder),
        tokenizer=tokenizer,
        processor=processor,
        decision_config=decision.DecisionConfig(labels=LABELS, **settings),
    )


def _ours(bundles: Bundles, family: str, **settings: Any) -> Any:
    config = onnxpipe.DecisionConfig(labels=LABELS, **settings)
    return onnxpipe.pipeline("decision", model=bundles(family, HEAD, PRECISIONS), decision_config=config, device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("own", [False, True], ids=["general", "own template"])
def test_same_as_transformers(family: str, own: bool, models: Bundles, bundles: Bundles) -> None:
    """Each request alone and all in one call; an image is encoded once, whichever prompts show it."""
    ours = _ours(bundles, family)
    settings = {"chat_template": OWN.replace("IMAGE", ours.processor.image_token)} if own else {}
    ours = _ours(bundles, family, **settings)
    theirs = _theirs(family, models(family, HEAD), **settings)
    requests = _requests()
    if own:  # descriptions are not in this template
        requests = [{**each, "questions": {"cat": each["questions"]["cat"]}} for each in requests]
    expected = [theirs(request) for request in _copies(requests)]
    assert same({"value": expected}, {"value": [ours(request) for request in requests]}) is None
    runs = ours.model.vision.runs
    assert same({"value": expected}, {"value": ours(requests, batch_size=4)}) is None
    assert ours.model.vision.runs == runs
    other = {**requests[0], "assets": {**_assets(), "<photo>": _image("wide")}}
    assert same({"value": expected[0]}, {"value": ours(other)}) is not None, "the image decides"


def _copies(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**request, **({"assets": _assets()} if "assets" in request else {})} for request in requests]


def test_bad_images(bundles: Bundles, tmp_path: Path) -> None:
    ours = _ours(bundles, "qwen2_vl")
    good = _requests()[0]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG broken")
    for assets, words in (
        ({**_assets(), "<none>": _image("odd")}, "'<none>' stands nowhere"),
        ({**_assets(), "<odd>": str(tmp_path / "no.png")}, "the asset '<odd>'.*no.png"),
        ({**_assets(), "<odd>": str(tmp_path / "broken.png")}, "the asset '<odd>'"),
        ({**_assets(), "<odd>": {"url": "x"}}, "no data_base64"),
        ({"": _image("odd")}, "dict of placeholders"),
        ([_image("odd")], "dict of placeholders"),
    ):
        first, bad = ours([good, {**good, "assets": assets}], on_error="return")
        assert set(first) == set(QUESTIONS)
        assert isinstance(bad, ItemError)
        with pytest.raises(ValueError, match=words):
            ours({**good, "assets": assets})
    typed = {**good, "state": f"{good['state']} {ours.processor.image_token}"}
    assert set(ours(typed)) == set(QUESTIONS), "a marker that is typed claims no image"
