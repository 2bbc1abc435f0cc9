"""The task image-text-to-text next to transformers' own pipeline: chats, texts, batches, streams, bad input."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from PIL import Image

import onnxpipe
from onnxpipe.engine.scheduler import ItemError
from onnxpipe.errors import ImageError, ImageNotFoundError, UnsupportedError
from zoo.vision.chat_processors import PROCESSORS
from zoo.vision.images import encoded
from zoo.vision_language import FAMILIES, HEAD, PRECISIONS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Models = Callable[[str, str], Path]
Bundles = Callable[..., Path]
every_family = pytest.mark.parametrize("family", [name for name in FAMILIES if PROCESSORS[name].template is not None])
GREEDY: dict[str, Any] = {"max_new_tokens": 10, "do_sample": False}


@cache
def image(name: str) -> Image.Image:
    return onnxpipe.load_image(encoded(name)[0])


def part(name: str) -> dict[str, Any]:
    return {"type": "image", "image": image(name)}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@cache
def _processor(family: str, folder: Path) -> Any:
    """Transformers' processor with its PIL class; videos would need torchvision."""
    from transformers.processing_utils import ProcessorMixin

    spec = PROCESSORS[family]
    settings = {name: value for name, value in spec.settings.items() if name != "processor_class"}
    if family == "smolvlm":
        settings["video_processor"] = SimpleNamespace(num_frames=None, fps=None, model_input_names=[])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):
        return getattr(transformers, spec.settings["processor_class"])(
            getattr(transformers, f"{spec.images['image_processor_type']}Pil").from_pretrained(folder),
            tokenizer,
            chat_template=spec.template,
            **settings,
        )


@cache
def _theirs(family: str, folder: Path) -> Any:
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    return transformers.ImageTextToTextPipeline(model=model, processor=_processor(family, folder))


class Pair:
    """The same pipeline here and in transformers."""

    def __init__(self, family: str, models: Models, bundles: Bundles) -> None:
        self.family = family
        self.ours: Any = onnxpipe.pipeline("image-text-to-text", bundles(family, HEAD, PRECISIONS), device="cpu")
        self.theirs = _theirs(family, models(family, HEAD))

    def same(self, *inputs: Any, **named: Any) -> Any:
        answer = self.ours(*inputs, **named, **GREEDY)
        assert answer == self.theirs(*inputs, **named, generate_kwargs=dict(GREEDY))
        return answer


@pytest.fixture
def pair(family: str, models: Models, bundles: Bundles) -> Pair:
    return Pair(family, models, bundles)


@every_family
def test_two_images_then_a_second_turn_streamed(pair: Pair) -> None:
    chat = [user(part("photo"), said("What is this?"), part("wide"))]
    first = pair.same(text=chat)
    runs = pair.ours.model.vision.runs
    second = [*first[0]["generated_text"], user(said("And what is the other one?"))]
    answer = pair.same(second)
    assert pair.ours.model.vision.runs == runs, "the images of the first turn are not encoded again"
    pieces = list(pair.ours.stream(text=second, **GREEDY))
    assert "".join(pieces) == answer[0]["generated_text"][-1]["content"]
    assert pair.ours.model.vision.runs == runs


@every_family
def test_several_chats_and_texts(pair: Pair) -> None:
    """Rows of different lengths and numbers of images, in one batch here and one by one there."""
    chats = [
        [user(part("odd"), said("One"))],
        [user(said("No image at all, but a longer question than the others have"))],
        [user(part("photo"), part("second"), said("Two?"))],
    ]
    answers = pair.same(chats)
    assert pair.ours(chats, batch_size=3, **GREEDY) == answers
    assert pair.same(text=["one", "two words here"])[1][0]["input_text"] == "two words here"
    nested = pair.ours.processor.grouped or pair.family == "gemma3"  # transformers wants lists there
    images = [[image("odd")], [image("wide")]] if nested else [image("odd"), image("wide")]
    marker = pair.ours.processor.image_token
    texts = [f"{marker} one", f"two words {marker} here"]
    assert [record["input_text"] for record in pair.same(images=images, text=texts)] == texts


@pytest.mark.parametrize("family", ["llava", "smolvlm"])
def test_options_of_the_answer(pair: Pair) -> None:
    chat = [user(part("photo"), said("What is this?"))]
    pair.same(text=chat, return_full_text=False)
    pair.same(text=[*chat, {"role": "assistant", "content": [said("It is")]}])
    pair.same(text=[*chat, {"role": "assistant", "content": [said("It is")]}], return_full_text=False)
    ids = pair.ours(text=chat, return_tensors=True, **GREEDY)[0]["generated_token_ids"]
    theirs = pair.theirs(text=chat, return_tensors=True, generate_kwargs=dict(GREEDY))[0]["generated_token_ids"]
    assert ids.tolist() == theirs.tolist()
    options = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 6}
    expected = pair.theirs(text=chat, generate_kwargs={**options, "do_sample": False})
    assert pair.ours(text=chat, **options, do_sample=False) == expected
    assert pair.ours(text=chat, generate_kwargs=GREEDY) == pair.ours(text=chat, **GREEDY)
    text = pair.ours(text=chat, return_full_text=False, **GREEDY)[0]["generated_text"]
    stop = text[2:4]
    assert pair.ours(text=chat, return_full_text=False, stop_sequence=stop, **GREEDY)[0]["generated_text"].count(stop)


@pytest.mark.parametrize("family", ["llava"])
def test_a_question_about_images(pair: Pair) -> None:
    """Our own short form: a chat of one message, whose answer is the new text alone."""
    chat = [user(part("photo"), part("odd"), said("What is this?"))]
    text = pair.ours(text=chat, return_full_text=False, **GREEDY)[0]["generated_text"]
    expected = [{"input_text": "What is this?", "generated_text": text}]
    assert pair.ours([image("photo"), image("odd")], question="What is this?", **GREEDY) == expected
    given = {"images": [image("photo"), image("odd")], "question": "What is this?"}
    assert list(pair.ours((each for each in [given]), **GREEDY)) == [expected]
    assert "".join(pair.ours.stream(given, **GREEDY)) == text
    with pytest.raises(UnsupportedError, match="the question is empty"):
        pair.ours(image("photo"), question=" ")
    with pytest.raises(ValueError, match="question="):
        pair.ours(image("photo"), "<image> x", question="What?")
    pair.ours.processor.chat_template, template = None, pair.ours.processor.chat_template
    marked = pair.ours(image("photo"), question="<image> What?", **GREEDY)
    assert (
        marked[0]["generated_text"]
        == pair.ours(image("photo"), "<image> What?", return_full_text=False, **GREEDY)[0]["generated_text"]
    )
    pair.ours.processor.chat_template = template


@pytest.mark.parametrize("family", ["llava"])
def test_an_answer_is_not_lost_in_a_template_of_parts(pair: Pair) -> None:
    """Templates as LLaVA's own loop over parts; the first answer, a text, is there in the second turn all the same."""
    processor = pair.ours.processor
    kept = processor.chat_template
    processor.chat_template = (
        "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    first = [user(part("photo"), said("What is this?"))]
    second = [user(said("And?"))]
    answers = []
    for content in ("It is a cat", [said("It is a cat")], "It is a dog"):
        chat = [*first, {"role": "assistant", "content": content}, *second]
        answers.append(pair.ours(text=chat, return_tensors=True, **GREEDY)[0]["generated_token_ids"].tolist())
    processor.chat_template = kept
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("family", ["llava"])
def test_every_kind_of_source(pair: Pair, tmp_path: Path) -> None:
    """A path, bytes as base64, a data URL and OpenAI's form of it are the same image, encoded once."""
    path = tmp_path / "photo.png"
    image("photo").save(path)
    buffer = io.BytesIO()
    image("photo").save(buffer, format="PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    url = f"data:image/png;base64,{text}"
    forms: list[dict[str, Any]] = [
        part("photo"),
        {"type": "image", "path": str(path)},
        {"type": "image", "url": str(path)},
        {"type": "image", "base64": text},
        {"type": "image", "image": url},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answers = [pair.ours(text=[user(form, said("What?"))], return_full_text=False, **GREEDY) for form in forms]
    assert len({answer[0]["generated_text"] for answer in answers}) == 1
    assert pair.ours.model.vision.runs == 1
    plain = pair.ours(images=str(path), text="<image> What?", return_full_text=False, **GREEDY)
    rows = ({"images": source, "text": "<image> What?"} for source in (path, text))
    assert list(pair.ours(rows, return_full_text=False, **GREEDY)) == [plain, plain]


@every_family
def test_a_marker_that_a_user_typed_claims_no_image(pair: Pair) -> None:
    typed = [user(part("photo"), said("What does <image> mean?"))]
    answer = pair.ours(text=typed, **GREEDY)
    assert answer[0]["generated_text"][0]["content"][1]["text"] == "What does <image> mean?"
    assert pair.ours([user(said("<image>"))], return_full_text=False, **GREEDY)


@pytest.mark.parametrize("family", ["llava"])
def test_bad_input(pair: Pair, tmp_path: Path) -> None:
    pipe = pair.ours
    for wrong, error, words in (
        ({}, ValueError, "at least provide either text or images"),
        ({"images": image("photo")}, ValueError, "provide text"),
        ({"images": image("photo"), "text": [user(said("x"))]}, ValueError, "separate input arguments"),
        ({"images": [image("photo"), image("odd")], "text": "<image> x"}, ImageError, "1 <image> tokens and 2 images"),
        ({"images": image("photo"), "text": "<image> <image> x"}, ImageError, "2 <image> tokens and 1 images"),
        ({"images": str(tmp_path / "no.png"), "text": "<image> x"}, ImageNotFoundError, "no.png"),
        ({"text": [{"role": "user"}]}, ValueError, "'role' and 'content'"),
        ({"text": "x", "max_new_tokens": 3, "generate_kwargs": {"max_new_tokens": 3}}, ValueError, "defined twice"),
        ({"text": "x", "return_full_text": True, "return_tensors": True}, ValueError, "mutually exclusive"),
        ({"text": "x", "max_new_token": 3}, ValueError, "max_new_tokens"),
        ({"text": [user({"type": "video", "video": "x.mp4"})]}, UnsupportedError, "video"),
        ({"text": [user({"type": "sketch", "sketch": "x"})]}, UnsupportedError, "sketch"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            pipe(**wrong)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    chats = [
        [user(part("photo"), said("Good"))],
        [user({"type": "image", "path": str(tmp_path / "broken.png")}, said("Broken"))],
        [user(said("Good too"))],
    ]
    answers = pipe(chats, on_error="return", **GREEDY)
    assert isinstance(answers[1], ItemError)
    assert isinstance(answers[1].error, ImageError)
    assert [answers[0], answers[2]] == pipe([chats[0], chats[2]], **GREEDY)
    with pytest.raises(ValueError, match="one text or chat"):
        list(pipe.stream(text=["a", "b"]))


def test_components_come_from_the_processor(bundles: Bundles) -> None:
    folder = bundles("llava", HEAD, PRECISIONS)
    processor = onnxpipe.AutoProcessor.from_pretrained(folder)
    pipe = onnxpipe.pipeline("image-text-to-text", folder, processor=processor, device="cpu")
    assert pipe.tokenizer is processor.tokenizer
    with pytest.raises(UnsupportedError, match="processor="):
        onnxpipe.pipeline("image-text-to-text", folder, tokenizer=processor.tokenizer)
    assert onnxpipe.pipeline(model=folder, device="cpu").task == "image-text-to-text"


def test_the_text_part_alone_continues_texts(bundles: Bundles) -> None:
    """A folder in this cut works for text-generation too; its vision encoder is not opened."""
    folder = bundles("smolvlm", HEAD, PRECISIONS)
    whole = onnxpipe.pipeline("image-text-to-text", folder, device="cpu")
    text = onnxpipe.pipeline("text-generation", folder, device="cpu")
    assert text("One two", **GREEDY)[0]["generated_text"] == whole(text="One two", **GREEDY)[0]["generated_text"]
    assert not whole.model.vision.is_open


@pytest.mark.parametrize("family", ["llava"])
def test_any_to_any(family: str, models: Models, bundles: Bundles) -> None:
    """The text comes first; lists of dicts are lists of inputs; other modes and inputs are refused."""
    folder = models(family, HEAD)
    ours: Any = onnxpipe.pipeline("any-to-any", bundles(family, HEAD, PRECISIONS), device="cpu")
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    with mock.patch("transformers.pipelines.any_to_any.requires_backends"):  # videos alone would need torchvision
        theirs = transformers.AnyToAnyPipeline(model=model, processor=_processor(family, folder))
    chat = [user(part("photo"), said("What is this?"))]
    rows = [{"text": "<image> one", "images": image("photo")}, {"text": "two <image> more", "images": image("odd")}]
    for args, named in (
        (("<image> What?",), {"images": image("photo")}),
        ((chat,), {}),
        (([chat, chat],), {}),
        ((rows,), {}),
        ((rows[0],), {}),
        ((["one", "two words"],), {}),
        ((chat,), {"return_full_text": False}),
    ):
        expected = theirs(*args, **named, generate_kwargs=dict(GREEDY))
        assert ours(*args, **named, **GREEDY) == expected
    assert list(ours((row for row in rows), **GREEDY)) == ours(rows, **GREEDY)
    assert "".join(ours.stream(chat, **GREEDY)) == ours(chat, return_full_text=False, **GREEDY)[0]["generated_text"]
    assert ours("x", generation_mode="text", **GREEDY)
    for wrong in ({"generation_mode": "image"}, {"generation_mode": "smell"}, {"videos": "a.mp4"}, {"audio": "a.wav"}):
        with pytest.raises(ValueError, match=r"generation_mode|take texts, images and videos|takes no videos"):
            ours("x", **wrong)
    with pytest.raises(TypeError, match="first argument"):
        ours(image("photo"))
