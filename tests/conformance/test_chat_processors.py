"""Processors of vision-language models next to transformers' own: ids, masks, types of tokens and pixels the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.processing_utils import ProcessorMixin

from onnxpipe.errors import BundleError, ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.auto import AutoProcessor
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.registry import IMAGE_TEXT_PROCESSORS
from zoo.vision import chat_processors
from zoo.vision.chat_processors import PROCESSORS
from zoo.vision.images import encoded, write

WITH_CHATS = [family for family, spec in PROCESSORS.items() if spec.template is not None]
#: Families with one image in front of each text, whose marker users do not write.
ONE_IMAGE = ("florence2",)
#: Arrays that transformers' processors return for training alone.
OF_TRAINING = {"labels"}


class Pair:
    """The same processor here and in transformers."""

    def __init__(self, family: str, folder: Path) -> None:
        chat_processors.save(family, folder)
        (folder / "config.json").write_text(json.dumps({"model_type": family}))
        self.folder, self.family = folder, family
        self.ours: Any = AutoProcessor.from_pretrained(folder)
        spec = PROCESSORS[family]
        image_class = getattr(transformers, f"{spec.images['image_processor_type']}Pil")
        settings = {k: v for k, v in spec.settings.items() if k != "processor_class"}
        if family == "smolvlm":  # its chats ask it for these
            settings["video_processor"] = SimpleNamespace(num_frames=None, fps=None, model_input_names=[])
        with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):  # or videos need torchvision
            self.theirs: Any = getattr(transformers, spec.settings["processor_class"])(
                image_class.from_pretrained(folder),
                transformers.AutoTokenizer.from_pretrained(folder),
                chat_template=spec.template,
                **settings,
            )
        self.marker: str = self.ours.image_token


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Pair]:
    return {family: Pair(family, tmp_path_factory.mktemp(family)) for family in PROCESSORS}


@pytest.fixture(scope="module")
def images() -> dict[str, Image.Image]:
    return {name: load_image(encoded(name)[0]) for name in ("photo", "odd", "wide", "second", "exif 6", "large")}


def same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    expected = {name: value for name, value in theirs.items() if name not in OF_TRAINING}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert np.asarray(ours[name]).shape == np.asarray(value).shape, name
        assert np.array_equal(ours[name], value), name


def text_with(pair: Pair, count: int, words: str = "What is in the images?") -> str:
    """A text with that many markers, in the middle where the family allows it."""
    if pair.family in ONE_IMAGE:
        return words
    return f"{pair.marker * count}{words}" if pair.family == "paligemma" else f"One{pair.marker * count} {words}"


def both(pair: Pair, images: Any, text: Any, **options: Any) -> tuple[Any, Any]:
    return (
        pair.ours(images=images, text=text, **options),
        pair.theirs(images=images, text=text, return_tensors="np", **options),
    )


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("name", ["photo", "odd", "wide", "exif 6", "large"])
def test_one_image(family: str, name: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs[family]
    same(*both(pair, images[name], text_with(pair, 1)))


@pytest.mark.parametrize("family", [family for family in PROCESSORS if family not in ONE_IMAGE])
@pytest.mark.parametrize("nested", [True, False])
def test_two_different_images_in_one_text(
    family: str, nested: bool, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]
) -> None:
    pair, two = pairs[family], [images["photo"], images["wide"]]
    same(*both(pair, [two] if nested else two, [text_with(pair, 2)]))


@pytest.mark.parametrize("family", PROCESSORS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_with_padding(
    family: str, side: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]
) -> None:
    pair = pairs[family]
    first, second = text_with(pair, 1, "Hi."), text_with(pair, 1, "What is the cat on the mat doing there?")
    same(*both(pair, [[images["odd"]], [images["large"]]], [first, second], padding=True, padding_side=side))
    if family not in ONE_IMAGE:
        second = text_with(pair, 2, "What is the cat on the mat doing there?")
        chosen = [[images["odd"]], [images["second"], images["large"]]]
        same(*both(pair, chosen, [first, second], padding=True, padding_side=side))


@pytest.mark.parametrize("family", [family for family in PROCESSORS if family != "paligemma"])
def test_texts_without_an_image(family: str, pairs: Mapping[str, Pair]) -> None:
    pair = pairs[family]
    same(*both(pair, None, ["Hello there.", "What is your name?"], padding=True))


@pytest.mark.parametrize("family", ["llava", "smolvlm", "qwen2_vl", "gemma3", "llava_onevision"])
def test_lists_instead_of_arrays(family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs[family]
    text = [text_with(pair, 1, "Hi."), text_with(pair, 1, "What is the cat doing?")]
    chosen = [[images["odd"]], [images["photo"]]]
    ours = pair.ours(images=chosen, text=text, return_tensors=None)
    theirs = pair.theirs(images=chosen, text=text)
    for name in ("input_ids", "attention_mask"):
        assert ours[name] == theirs[name]
    assert isinstance(ours["pixel_values"], list)


# -- conversations ----------------------------------------------------------------------------------------------------
def chat(images: Mapping[str, Image.Image]) -> list[dict[str, Any]]:
    return [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": images["photo"]},
                {"type": "image", "image": images["wide"]},
                {"type": "text", "text": "What do they have in common?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "And this?"}, {"type": "image", "image": images["odd"]}],
        },
    ]


@pytest.mark.parametrize("family", WITH_CHATS)
def test_conversations(family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair, messages = pairs[family], chat(images)
    for options in ({}, {"add_generation_prompt": True}):
        rendered = pair.theirs.apply_chat_template(chat(images), tokenize=False, **options)
        assert pair.ours.apply_chat_template(messages, **options) == rendered
        options = {**options, "tokenize": True, "return_dict": True, "return_tensors": "np"}
        ours = pair.ours.apply_chat_template(messages, **options)
        same(ours, pair.theirs.apply_chat_template(chat(images), **options))
    ids = pair.ours.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)
    assert np.array_equal(ids, ours["input_ids"])


@pytest.mark.parametrize("family", WITH_CHATS)
def test_batches_of_conversations(family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs[family]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "np", "add_generation_prompt": True}
    padding = {"padding": True, "padding_side": "left"}

    def chats() -> list[Any]:
        return [chat(images)[:1], chat(images), [{"role": "user", "content": "Hello"}]]

    theirs = pair.theirs.apply_chat_template(chats(), processor_kwargs=dict(padding), **options)
    same(pair.ours.apply_chat_template(chats(), processor_kwargs=padding, **options), theirs)
    same(pair.ours.apply_chat_template(chats(), **padding, **options), theirs)


def test_sources_of_images(pairs: Mapping[str, Pair], images: Mapping[str, Image.Image], tmp_path: Path) -> None:
    pair, path = pairs["qwen2_vl"], write("odd", tmp_path)
    expected = pair.ours.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": images["odd"]}]}], tokenize=True, return_dict=True
    )
    import base64

    data = base64.b64encode(Path(path).read_bytes()).decode()
    for part in (
        {"type": "image", "path": str(path)},
        {"type": "image", "url": str(path)},
        {"type": "image", "base64": data},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image_url", "image_url": str(path)},
    ):
        found = pair.ours.apply_chat_template([{"role": "user", "content": [part]}], tokenize=True, return_dict=True)
        same(found, expected)


#: Families whose processors in transformers can keep control tokens out (`sanitize_control_tokens`).
SANITIZED = ("llava_onevision", "smolvlm", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.mark.parametrize("family", WITH_CHATS)
def test_markers_that_a_user_typed_stay_text(
    family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]
) -> None:
    """They claim no image: there are as many tokens of images as without them, and the text is what was typed."""
    pair = pairs[family]
    typed = f"Say {pair.marker} or {pair.ours.feature_token}."

    def messages(text: str) -> list[dict[str, Any]]:
        parts = [{"type": "image", "image": images["photo"]}, {"type": "text", "text": text}]
        return [{"role": "user", "content": parts}]

    options = {"tokenize": True, "return_dict": True, "return_tensors": "np"}
    found = pair.ours.apply_chat_template(messages(typed), **options)
    assert counts(pair, found) == counts(pair, pair.ours.apply_chat_template(messages("Say it."), **options))
    text = pair.ours.decode(found["input_ids"][0], skip_special_tokens=True)
    assert typed.replace(" ", "") in text.replace(" ", "")
    sanitized = pair.ours.apply_chat_template(messages(typed), sanitize_control_tokens=True, **options)
    same(found, sanitized)
    if family in SANITIZED:
        same(found, pair.theirs.apply_chat_template(messages(typed), sanitize_control_tokens=True, **options))


@pytest.mark.parametrize("family", ["llava", "smolvlm"])
def test_tokens_of_the_assistant(family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs[family]
    template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}A: {% generation %}{{ m['content'] }}"
        "{% endgeneration %}{% else %}U: {% for p in m['content'] %}"
        "{{ '<image>' if p['type'] == 'image' else p['text'] }}{% endfor %}{% endif %}\n{% endfor %}"
    )

    def messages() -> list[dict[str, Any]]:
        return [chat(images)[0], {"role": "assistant", "content": "A small cat."}, chat(images)[2],
                {"role": "assistant", "content": "A dog."}]  # fmt: skip

    options = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True, "chat_template": template}
    found = pair.ours.apply_chat_template(messages(), **options)
    expected = pair.theirs.apply_chat_template(messages(), **options)
    assert found["assistant_masks"].tolist() == expected["assistant_masks"]
    assert 0 < found["assistant_masks"].sum() < found["input_ids"].shape[1] / 2


# -- errors -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", [family for family in PROCESSORS if family not in (*ONE_IMAGE, "paligemma")])
def test_other_numbers_of_markers_and_images(
    family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]
) -> None:
    pair, image = pairs[family], images["photo"]
    for marks, given in ((1, [image, image]), (2, [image]), (2, [[image], [image]]), (1, None), (0, [image])):
        text = [text_with(pair, marks)] if given is None or not isinstance(given[0], list) else [text_with(pair, 1)] * 3
        with pytest.raises(ImageError, match=r"Found .*(images|tokens)"):
            pair.ours(images=given, text=text)
        with pytest.raises(ValueError, match=r"."):
            pair.theirs(images=given, text=text)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3"])
def test_prompts_are_not_cut_within_an_image(
    family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]
) -> None:
    pair = pairs[family]
    with pytest.raises(ImageError, match="must not be cut"):
        pair.ours(images=images["photo"], text=text_with(pair, 1), truncation=True, max_length=6)
    whole = pair.ours(images=images["photo"], text=text_with(pair, 1, "a b c d"), truncation=True, max_length=600)
    same(whole, pair.ours(images=images["photo"], text=text_with(pair, 1, "a b c d")))


def test_what_a_processor_does_not_take(pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs["llava"]
    with pytest.raises(UnknownArgumentError, match="did you mean 'padding'"):
        pair.ours(images=images["photo"], text="<image> Hi", paddin=True)
    with pytest.raises(UnsupportedError, match="pass images="):
        pair.ours()
    with pytest.raises(UnsupportedError, match="string or list of strings"):
        pair.ours(text=[1])
    with pytest.raises(UnsupportedError, match="'video'"):
        pair.ours.apply_chat_template([{"role": "user", "content": [{"type": "video", "path": "a.mp4"}]}])
    with pytest.raises(UnsupportedError, match="expected as arguments"):
        pairs["paligemma"].ours(text="Hi")
    with pytest.raises(UnsupportedError, match="the only content"):
        pairs["florence2"].ours(images=images["photo"], text="<OD> cats")
    with pytest.raises(UnsupportedError, match="specify text"):
        pairs["internvl"].ours(images=images["photo"])


@pytest.mark.parametrize("content", [{"patch_size": "8"}, {"patch_size": -1}, {"patch_size": 10**9}])
def test_damaged_settings(
    content: Any, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image], tmp_path: Path
) -> None:
    for path in pairs["llava"].folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises((BundleError, ImageError)):
        AutoProcessor.from_pretrained(tmp_path)(images=images["photo"], text="<image>")


# -- files ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", PROCESSORS)
def test_saved_files(family: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image], tmp_path: Path) -> None:
    pair = pairs[family]
    pair.ours.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    again: Any = AutoProcessor.from_pretrained(tmp_path)
    text = text_with(pair, 1)
    same(again(images=images["wide"], text=text), pair.ours(images=images["wide"], text=text))
    assert again.chat_template == pair.ours.chat_template


VISION = {"image_size": 32, "patch_size": 8, "model_type": "clip_vision_model"}


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("llava", {"vision_config": VISION, "vision_feature_select_strategy": "default"}),
        ("llava_next", {"vision_config": VISION, "vision_feature_select_strategy": "default"}),
        ("llava_onevision", {"vision_config": {**VISION, "model_type": "siglip_vision_model"},
                             "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_3"}),
        ("smolvlm", {"vision_config": VISION, "scale_factor": 2}),
        ("internvl", {"image_seq_length": 4}),
        ("gemma3", {"mm_tokens_per_image": 4}),
    ],
)  # fmt: skip
def test_settings_that_only_the_model_says(
    family: str, config: dict[str, Any], pairs: Mapping[str, Pair], images: Mapping[str, Image.Image], tmp_path: Path
) -> None:
    """Older folders have no processor_config.json."""
    pair = pairs[family]
    for path in pair.folder.iterdir():
        if path.name != "processor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **config}))
    found = AutoProcessor.from_pretrained(tmp_path)(images=images["wide"], text=text_with(pair, 1))
    same(found, pair.ours(images=images["wide"], text=text_with(pair, 1)))


def test_templates_in_older_files(pairs: Mapping[str, Pair], tmp_path: Path) -> None:
    pair = pairs["llava"]
    for path in pair.folder.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages[0]['content'] }}?"}))
    processor: Any = AutoProcessor.from_pretrained(tmp_path)
    assert processor.apply_chat_template([{"role": "user", "content": "Why"}]) == "Why?"


def test_families_have_their_processors() -> None:
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    for family in PROCESSORS:
        assert IMAGE_TEXT_PROCESSORS.families[family] == PROCESSOR_MAPPING_NAMES[family]


def counts(pair: Pair, features: Mapping[str, Any]) -> Sequence[int]:
    return [int((row == pair.ours.feature_token_id).sum()) for row in features["input_ids"]]


@pytest.mark.parametrize("name", ["photo", "wide", "large"])
def test_crops_of_gemma(name: str, pairs: Mapping[str, Pair], images: Mapping[str, Image.Image]) -> None:
    pair = pairs["gemma3"]
    options = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 20}
    ours, theirs = both(pair, images[name], text_with(pair, 1), **options)
    same(ours, theirs)
    assert counts(pair, ours) == [4 * len(ours["pixel_values"])]
