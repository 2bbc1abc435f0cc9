"""Models that write about images: `generate()`, a call and the pipeline give what transformers' `generate()` gives."""

from __future__ import annotations

import csv
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import onnxpipe
from onnxpipe import AutoModelForVision2Seq
from onnxpipe.cli import main
from zoo.cache import cached_bundle, cached_model
from zoo.vision.image_to_text_models import FAMILIES, TASK
from zoo.vision.images import pil_image, write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IMAGES = ("photo", "second", "odd", "rgba")
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
}
FAMILY = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.xdist_group(f"vision-{name}")) for name in FAMILIES]
)


@cache
def _original(family: str) -> Any:
    return getattr(transformers, FAMILIES[family].class_name).from_pretrained(cached_model(family, TASK)).eval()


@cache
def _model(family: str) -> Any:
    return AutoModelForVision2Seq.from_pretrained(cached_bundle(family, TASK))


@cache
def _processor(family: str) -> Any:
    return onnxpipe.AutoImageProcessor.from_pretrained(cached_model(family, TASK))


@cache
def _feeds(family: str) -> dict[str, np.ndarray]:
    rows = [_processor(family)(pil_image(name).convert("RGB")) for name in IMAGES]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _pixels(family: str) -> np.ndarray:
    return _feeds(family)["pixel_values"]


@cache
def _expected(family: str, search: str) -> np.ndarray:
    options = {**SEARCHES[search], "max_new_tokens": 14}
    with torch.inference_mode():
        given = {name: torch.from_numpy(array) for name, array in _feeds(family).items()}
        found: np.ndarray = _original(family).generate(**given, **options).numpy()
    return found


@FAMILY
@pytest.mark.parametrize("search", SEARCHES)
def test_generate(family: str, search: str) -> None:
    found = _model(family).generate(**_feeds(family), **SEARCHES[search], max_new_tokens=14)
    np.testing.assert_array_equal(found, _expected(family, search))


@FAMILY
def test_call(family: str) -> None:
    tokens = np.array([[2, 305, 309, 411], [2, 307, 308, 640]])
    feeds = {name: array[:2] for name, array in _feeds(family).items()}
    with torch.inference_mode():
        name = "input_ids" if family in ("blip", "git") else "decoder_input_ids"
        given = {each: torch.from_numpy(array) for each, array in feeds.items()} | {name: torch.from_numpy(tokens)}
        expected = _original(family)(**given).logits.numpy()
    name = "input_ids" if family == "git" else "decoder_input_ids"
    found = _model(family)(**feeds, **{name: tokens})
    np.testing.assert_allclose(found.logits, expected, atol=2e-3)
    assert family == "git" or found.encoder_last_hidden_state.shape[0] == 2


@FAMILY
def test_the_pipeline_writes_what_generate_does_alone_and_in_any_batch(family: str) -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle(family, TASK)), max_new_tokens=14)
    images = [pil_image(name) for name in IMAGES]
    greedy = {"num_beams": 1}
    expected = [[{"generated_text": pipe.tokenizer.decode(row, skip_special_tokens=True)}]
                for row in _expected(family, "greedy")]  # fmt: skip
    for size in (None, 1, 3):
        assert pipe(images, generate_kwargs=greedy, batch_size=size) == expected
    assert [pipe(image, generate_kwargs=greedy) for image in images] == expected
    assert list(pipe((image for image in images), generate_kwargs=greedy, batch_size=2)) == expected


@pytest.mark.xdist_group("vision-vit-gpt2")
@pytest.mark.parametrize("dtype", ["fp32", "int8"])
def test_a_sampled_text_depends_on_its_seed_and_not_on_the_batch(dtype: str) -> None:
    model = str(cached_bundle("vit-gpt2", TASK, ("fp32", "int8")))
    pipe = onnxpipe.pipeline(TASK, model=model, dtype=dtype, max_new_tokens=12)
    images = [pil_image(name) for name in IMAGES]
    options: dict[str, Any] = {"generate_kwargs": {"do_sample": True, "temperature": 1.5}, "seed": 5}
    assert pipe(images, batch_size=4, **options) == pipe(images, batch_size=1, **options)
    assert pipe(images, **options) != pipe(images, **{**options, "seed": 6})


@pytest.mark.xdist_group("vision-blip")
def test_a_caption_continues_a_text() -> None:
    tokenizer = onnxpipe.AutoTokenizer.from_pretrained(cached_bundle("blip", TASK))
    ids = np.array([tokenizer("a photo of")["input_ids"]] * 2)
    pixels = _pixels("blip")[:2]
    with torch.inference_mode():
        given = {"pixel_values": torch.from_numpy(pixels), "input_ids": torch.from_numpy(ids.copy())}
        expected = _original("blip").generate(**given, num_beams=2, max_new_tokens=8).numpy()
    found = _model("blip").generate(pixels, input_ids=ids, num_beams=2, max_new_tokens=8)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="different lengths one at a time"):
        _model("blip").generate(pixels, input_ids=ids, attention_mask=np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]))


@pytest.mark.xdist_group("vision-git")
def test_a_caption_of_git_stands_behind_its_text() -> None:
    model, pixels = _model("git"), _pixels("git")[:2]
    tokenizer = onnxpipe.AutoTokenizer.from_pretrained(cached_bundle("git", TASK))
    short, long = (model.prompt_ids(tokenizer, text) for text in ("a", "two dogs in the snow"))
    ids, more = np.array([long, [long[0], *long[:0:-1]]]), len(long) - len(short)
    padded = np.array([[0] * more + short, long])
    mask = np.array([[0] * more + [1] * len(short), [1] * len(long)])
    for feeds in ({"input_ids": ids}, {"input_ids": padded, "attention_mask": mask}):
        for images in (pixels, pixels[:1]):  # one image stands for all rows
            given = {name: torch.from_numpy(array) for name, array in {**feeds, "pixel_values": images}.items()}
            with torch.inference_mode():
                expected = _original("git").generate(**given, num_beams=2, max_new_tokens=8).numpy()
            found = model.generate(**feeds, pixel_values=images, num_beams=2, max_new_tokens=8)
            np.testing.assert_array_equal(found, expected)
    with torch.inference_mode():
        text = _original("git")(input_ids=torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(model(input_ids=ids).logits, text, atol=2e-3)
    with pytest.raises(onnxpipe.errors.ImageError, match="there are 3 images: one for each row"):
        model.generate(ids, pixel_values=_pixels("git")[:3])


@pytest.mark.xdist_group("vision-git")
def test_a_text_that_is_continued_is_streamed() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("git", TASK)), max_new_tokens=8)
    image = pil_image("photo")
    pieces = list(pipe.stream(image, prompt="a photo of"))
    assert "a photo of" + "".join(pieces) == pipe(image, prompt="a photo of")[0]["generated_text"]


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_a_text_longer_than_the_decoder_is_named() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("vit-gpt2", TASK)))
    with pytest.raises(ValueError, match="writes at most 64 tokens"):
        pipe(pil_image("photo"), generate_kwargs={"min_new_tokens": 90}, max_new_tokens=100)


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_a_folder_without_a_manifest_loads(tmp_path: Path) -> None:
    bundle = cached_bundle("trocr", TASK)
    folder = shutil.copytree(bundle, tmp_path / "folder")
    for name in ("bundle.json", "certificate.json", "golden.npz"):
        (folder / name).unlink()
    pipe = onnxpipe.pipeline(model=str(folder))
    assert pipe.task == TASK
    assert pipe(pil_image("photo")) == onnxpipe.pipeline(model=str(bundle))(pil_image("photo"))


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_a_decoder_without_caches_of_the_image(tmp_path: Path) -> None:
    """As optimum writes a GPT-2: past_key_values.N.key, and keys of the image are computed at each step."""
    bundle = cached_bundle("vit-gpt2", TASK)
    folder = shutil.copytree(bundle, tmp_path / "folder")
    for name in ("bundle.json", "certificate.json", "golden.npz"):
        (folder / name).unlink()
    _forget_the_image(folder / "onnx" / "decoder_model_merged.onnx")
    pipe, ours = onnxpipe.pipeline(TASK, model=str(folder)), onnxpipe.pipeline(TASK, model=str(bundle))
    assert not pipe.model.graphs.cross and not pipe.model.graphs.shared
    images = [pil_image(name) for name in IMAGES]
    for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        assert pipe(images, generate_kwargs=options, max_new_tokens=10) == ours(
            images, generate_kwargs=options, max_new_tokens=10
        )


def _forget_the_image(path: Path) -> None:
    """Turn our decoder's graph into one that keeps nothing of the image between steps."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    graph = model.graph
    values = {"use_cache_branch": np.array([False])}
    for value in graph.input:
        if ".encoder." in value.name:
            sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
            values[value.name] = np.zeros((1, sizes[1], 0, sizes[3]), np.float32)
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in values.items())
    kept = [value for value in graph.input if value.name not in values]
    answers = [value for value in graph.output if ".encoder." not in value.name]
    for values_of, those in ((graph.input, kept), (graph.output, answers)):
        del values_of[:]
        values_of.extend(those)
    for value in [*graph.input, *graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == "decoder_batch_size":
                size.dim_param = "batch_size"
    renamed = {value.name: value.name.replace(".decoder.", ".") for value in [*graph.input, *graph.output]}
    for value in [*graph.input, *graph.output]:
        value.name = renamed[value.name]
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    onnx.save(model, path)


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_text_is_streamed() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("vit-gpt2", TASK)), max_new_tokens=12)
    pieces = list(pipe.stream(pil_image("second")))
    assert len(pieces) > 1
    assert "".join(pieces) == pipe(pil_image("second"))[0]["generated_text"]
    with pytest.raises(ValueError, match="one image at a time"):
        next(iter(pipe.stream([pil_image("photo"), pil_image("second")])))


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_a_broken_image_does_not_lose_the_others() -> None:
    pipe = onnxpipe.pipeline(TASK, model=str(cached_bundle("vit-gpt2", TASK)), max_new_tokens=6)
    good = pil_image("photo")
    first, broken, last = pipe([good, b"\x89PNG\r\n\x1a\nno", good], on_error="return", batch_size=3)
    assert first == last == pipe(good)
    assert isinstance(broken, onnxpipe.ItemError)
    assert isinstance(broken.error, onnxpipe.errors.ImageError)


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_pixels_of_another_size_are_named() -> None:
    with pytest.raises(ValueError, match=r"'pixel_values' has the shape \(1, 3, 40, 40\)"):
        _model("vit-gpt2").generate(pixel_values=np.zeros((1, 3, 40, 40), np.float32))


@pytest.mark.xdist_group("vision-vit-gpt2")
def test_commands(tmp_path: Path) -> None:
    model = str(cached_bundle("vit-gpt2", TASK))
    paths = [str(write(name, tmp_path)) for name in ("photo", "second")]
    pipe = onnxpipe.pipeline(TASK, model=model, max_new_tokens=8)
    texts = [answer[0]["generated_text"] for answer in pipe(paths)]
    run = CliRunner().invoke(main, ["run", TASK, *paths, "--model", model, "-p", "max_new_tokens=8"])
    assert run.exit_code == 0, run.output
    assert [text.strip() in run.stdout for text in texts] == [True, True]
    table, answers = tmp_path / "photos.csv", tmp_path / "captions.csv"
    broken = tmp_path / "broken.jpg"
    broken.write_text("not an image")
    table.write_text("\n".join(["image", *paths, str(broken)]) + "\n")
    call = ["--input", str(table), "--output", str(answers), "--on-error", "return", "-p", "max_new_tokens=8"]
    run = CliRunner().invoke(main, ["run", TASK, "--model", model, *call])
    assert run.exit_code == 3, run.output
    rows = list(csv.DictReader(answers.open(newline="")))
    assert [row["generated_text"] for row in rows] == [*texts, ""]
    assert "is not an image" in rows[2]["error"]


def test_a_question_drawn_above_the_image_is_refused() -> None:
    processor = onnxpipe.AutoImageProcessor.from_pretrained(cached_model("pix2struct", TASK), is_vqa=True)
    with pytest.raises(ValueError, match="a font that is not in its folder"):
        processor(pil_image("photo"))
