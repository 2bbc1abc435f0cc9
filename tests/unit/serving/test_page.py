"""The page for browsers: its headers and files, and what its forms are made of."""

from __future__ import annotations

import ast
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from onnxpipe.tasks.registry import all_tasks, task_spec
from unit.serving.stubs import client, images, sentiment, writer

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)
KINDS = {"text", "texts", "image", "video", "audio", "table", "chat", "json"}


def test_the_page_and_its_files() -> None:
    from onnxpipe.serving.page import page_files

    web = client(sentiment())
    for path in ("/", *(f"/static/{name}" for name in page_files())):
        answer = web.get(path)
        assert answer.status_code == 200 and answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert web.get("/").headers["content-type"].startswith("text/html")
    assert web.head("/").status_code == 200
    assert web.get("/static/app.js").headers["content-type"].startswith("text/javascript")
    for missing in ("/static/x.js", "/static/..%2Fpage.py", "/static/"):
        assert web.get(missing).status_code == 404
    assert web.post("/", json={"inputs": "hello"}).status_code == 200  # that is Hugging Face's shape, as before
    described = web.get("/openapi.json").json()["paths"]
    assert "get" in described["/"] and "/static/{name}" not in described


def test_the_page_is_small_and_names_no_other_site() -> None:
    from onnxpipe.serving.page import page_files

    files = page_files()
    assert sum(map(len, files.values())) <= 60_000
    assert {"index.html", "app.js", "style.css", "favicon.svg"} <= set(files)
    for name, data in files.items():
        text = data.decode()
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+", text)) - {"http://www.w3.org"}
        assert not addresses, name
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "document.write" not in text
        assert name.endswith(".svg") or "style=" not in text


def test_the_page_needs_no_key_and_all_else_does() -> None:
    web = client(sentiment(), keys=("k",))
    assert web.get("/").status_code == web.get("/static/app.js").status_code == 200
    assert web.post("/", json={"inputs": "x"}).status_code == 401
    assert web.post("/static/app.js").status_code == 401
    assert web.get("/openapi.json").status_code == 401
    assert web.get("/openapi.json", headers={"x-api-key": "k"}).status_code == 200


def test_the_page_of_an_application_that_is_mounted() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from onnxpipe.serving import app
    from unit.serving.stubs import testing

    web = testing.TestClient(Starlette(routes=[Mount("/models", app(sentiment(), keys=("k",)))]))
    assert web.get("/models/").status_code == web.get("/models/static/app.js").status_code == 200
    assert web.get("/models/health").status_code == 200
    assert web.get("/models/info").status_code == 401


def forms(pipes: Any) -> dict[str, Any]:
    paths = client(pipes).get("/openapi.json").json()["paths"]
    return {form["model"]: form for ways in paths.values() if (form := ways.get("post", {}).get("x-onnxpipe"))}


def test_forms_of_loaded_models() -> None:
    plain = writer()
    plain.tokenizer.chat_template = None
    found = forms({"mood": sentiment(), "chat": writer(), "story": plain, "a b/c": images()})
    assert found["mood"]["fields"] == [
        {"name": None, "place": "inputs", "kind": "text", "example": "What a wonderful film."}
    ]
    assert not found["mood"]["streams"] and found["chat"]["streams"]
    assert [found[name]["fields"][0]["kind"] for name in ("chat", "story", "a b/c")] == ["chat", "text", "image"]
    assert found["chat"]["parameters"] == {} and found["story"]["parameters"] == {"max_new_tokens": 20}
    assert found["a b/c"]["first"] == ["top_k", "function_to_apply"]  # those of the example first
    assert found["chat"]["text"] == "generated_text"


def test_parameters_say_what_they_do() -> None:
    paths = client(images()).get("/openapi.json").json()["paths"]
    body = paths["/models/image-classification"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = body["properties"]["parameters"]["properties"]["top_k"]
    assert schema["default"] == 5 and re.match(r"[A-Z].* At most 1000\.", schema["description"])


@pytest.mark.parametrize("spec", all_tasks(), ids=lambda spec: spec.name)
def test_every_task_has_a_form(spec: Any) -> None:
    form, model = _form(spec)
    fields = form["fields"]
    assert fields and {field["kind"] for field in fields} <= KINDS
    assert json.loads(json.dumps(form)) == form
    names = [field["name"] for field in fields]
    assert {*form["first"], *form["more"]} | set(names) >= set(model.parameters)
    assert not set(form["first"]) & set(form["more"]) and set(form["parameters"]) <= set(form["first"])
    if spec.parts and not spec.chats:
        assert [part.name for part in spec.parts] == names
    if spec.needs_labels:
        assert fields[-1]["name"] == "candidate_labels" and fields[-1]["place"] == "parameters"
    media = {"image": "image", "multimodal": "image", "video": "video", "audio": "audio", "table": "table"}
    if spec.input in media and not spec.chats:
        assert media[spec.input] in {field["kind"] for field in fields}
    words = [each for each in ast.walk(ast.parse(f"f({spec.example})")) if isinstance(each, ast.Constant)]
    if all(field["kind"] == "text" for field in fields):
        assert {field["example"].replace("[M]", "<mask>") for field in fields} <= {each.value for each in words}


def test_forms_of_some_tasks() -> None:
    names = ("inpainting", "decision", "table-question-answering", "keypoint-matching")
    fields = {name: _form(task_spec(name))[0]["fields"] for name in names}
    kinds = {name: [(field["name"], field["kind"]) for field in found] for name, found in fields.items()}
    assert kinds["inpainting"] == [("prompt", "text"), ("image", "image"), ("mask_image", "image")]
    assert kinds["decision"] == [("state", "text"), ("questions", "json")]
    assert kinds["table-question-answering"] == [("table", "table"), ("query", "text")]
    assert kinds["keypoint-matching"] == [("image_0", "image"), ("image_1", "image")]
    assert _form(task_spec("fill-mask"))[0]["fields"][0]["example"] == "The capital of France is [M]."
    made = {name: _form(task_spec(name))[0]["file"] for name in ("text-to-audio", "text-to-image", "depth-estimation")}
    assert made == {"text-to-audio": "audio", "text-to-image": "image", "depth-estimation": None}


def _form(spec: Any) -> tuple[dict[str, Any], Any]:
    """The form of a model of a task, of which only its class is there."""
    from onnxpipe.serving.forms import form_of
    from onnxpipe.serving.served import ServedModel

    pipe = object.__new__(spec.pipeline)
    pipe.task, pipe.type, pipe.processor = spec.name, "seq2seq", None
    pipe.model = SimpleNamespace(can_generate=lambda: True)
    pipe.tokenizer = SimpleNamespace(chat_template="{{ x }}", mask_token="[M]")
    pipe.can_stream = lambda **options: True
    model = ServedModel("m", pipe, None)  # type: ignore[arg-type]
    return form_of(model), model
