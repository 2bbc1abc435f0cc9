"""The tasks with an image generator: `pipeline()`, the command line, and folders in optimum's layout."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")

import onnxpipe  # noqa: E402 - not without PyTorch
from onnxpipe import ItemError, pipeline  # noqa: E402
from onnxpipe.cli import main  # noqa: E402
from onnxpipe.errors import UnknownArgumentError, UnsupportedError  # noqa: E402
from onnxpipe.models.diffusion import memory  # noqa: E402
from onnxpipe.models.diffusion.memory import needed_memory  # noqa: E402
from zoo import DIFFUSION  # noqa: E402
from zoo.cache import cached_bundle  # noqa: E402

FEW = {"num_inference_steps": 2}


def folder(name: str = "sd") -> str:
    return str(cached_bundle(name, DIFFUSION))


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image, int)


@pytest.fixture
def photo() -> Image.Image:
    rows, columns = np.mgrid[:64, :64]
    return Image.fromarray(np.stack([rows * 4, columns * 4, rows ^ columns], axis=-1).astype(np.uint8))


@pytest.fixture
def mask() -> Image.Image:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 32))
    return mask


def test_text_to_image() -> None:
    pipe = pipeline("text-to-image", model=folder())
    reference = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    image = pipe("a cat", seed=7, **FEW)
    assert np.array_equal(pixels(image), pixels(reference("a cat", seed=7, **FEW).images[0]))
    record = image.info["generation"]
    assert (record["prompt"], record["seed"], record["scheduler"]) == ("a cat", "7", "PNDMScheduler")
    assert record["num_inference_steps"] == "2"
    again = pipe("a cat", seed=int(pipe("a cat", **FEW).info["generation"]["seed"]), **FEW)
    assert again.size == (64, 64)


def test_each_prompt_has_its_own_seed() -> None:
    pipe = pipeline("text-to-image", model=folder(), **FEW)
    several = pipe(["a cat", "a dog", {"prompt": "a cat", "seed": 7, "negative_prompt": "blur"}], seed=7)
    assert [image.info["generation"]["seed"] for image in several] == ["7", "8", "7"]
    assert np.array_equal(pixels(several[1]), pixels(pipe("a dog", seed=8)))
    assert np.array_equal(pixels(several[2]), pixels(pipe("a cat", seed=7, negative_prompt="blur")))
    streamed = list(pipe((text for text in ("a cat", "a dog")), seed=7))
    assert all(np.array_equal(pixels(one), pixels(other)) for one, other in zip(streamed, several, strict=False))
    assert len(pipe("a cat", num_images_per_prompt=3, seed=1)) == 3


def test_image_to_image(photo: Image.Image) -> None:
    pipe = pipeline("image-to-image", model=folder(), **FEW)
    reference = onnxpipe.StableDiffusionImg2ImgPipeline.from_pretrained(folder())
    expected = pixels(reference("a cat", image=photo, strength=0.5, seed=3, **FEW).images[0])
    assert np.array_equal(pixels(pipe(photo, prompt="a cat", strength=0.5, seed=3)), expected)
    assert np.array_equal(pixels(pipe({"image": photo, "prompt": "a cat"}, strength=0.5, seed=3)), expected)
    with pytest.raises(UnsupportedError, match="the prompt is missing"):
        pipe(photo)


@pytest.mark.parametrize("name", ["sd", "sd-inpaint"])
def test_inpainting(name: str, photo: Image.Image, mask: Image.Image) -> None:
    pipe = pipeline("inpainting", model=folder(name), **FEW)
    reference = onnxpipe.StableDiffusionInpaintPipeline.from_pretrained(folder(name))
    expected = reference("a cat", image=photo, mask_image=mask, seed=3, **FEW).images[0]
    made = pipe({"prompt": "a cat", "image": photo, "mask_image": mask}, seed=3)
    assert np.array_equal(pixels(made), pixels(expected))
    with pytest.raises(UnsupportedError, match="it lacks mask_image"):
        pipe({"prompt": "a cat", "image": photo})


def test_bad_inputs_leave_the_rest() -> None:
    pipe = pipeline("text-to-image", model=folder(), **FEW)
    answers = pipe(["a cat", 3, {"prompt": "a dog", "height": 65}, "a dog"], seed=7, on_error="return")
    assert [type(answer) for answer in answers[1:3]] == [ItemError, ItemError]
    assert "an input is a prompt" in str(answers[1])
    assert "multiples of 8" in str(answers[2])
    assert np.array_equal(pixels(answers[3]), pixels(pipe("a dog", seed=10)))


def test_what_a_model_is_for() -> None:
    with pytest.raises(UnsupportedError, match="9 channels, which is for inpainting only"):
        pipeline("text-to-image", model=folder("sd-inpaint"))
    with pytest.raises(UnsupportedError, match=r"latent consistency.* is not for inpainting"):
        pipeline("inpainting", model=folder("lcm"))
    assert type(pipeline(model=folder())).__name__ == "TextToImagePipeline"


def test_arguments_that_do_not_fit(photo: Image.Image) -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    with pytest.raises(UnsupportedError, match=r"multiples of 8, but are 64 and 60: 64 and 56 would do"):
        pipe("a cat", height=64, width=60)
    with pytest.raises(UnsupportedError, match=r"latents has the shape \(1, 4, 4, 4\); the images need \(1, 4, 8, 8\)"):
        pipe("a cat", latents=np.zeros((1, 4, 4, 4)), **FEW)
    with pytest.raises(ValueError, match="2 seeds or generators were passed for 1 images"):
        pipe("a cat", seed=[1, 2], **FEW)
    with pytest.raises(UnknownArgumentError, match="prompt_2"):
        pipe("a cat", prompt_2="a dog")
    with pytest.raises(UnsupportedError, match="'images' is not among latents"):
        pipe("a cat", callback_on_step_end=print, callback_on_step_end_tensor_inputs=["images"], **FEW)
    with pytest.raises(UnsupportedError, match="returned a list"):
        pipe("a cat", callback_on_step_end=lambda *args: [1], **FEW)
    for returned, message in (
        (
            {"latent": np.zeros(1)},
            "'latent', which StableDiffusionPipeline does not read between steps; it reads latents,",
        ),
        ({"mask": np.zeros(1)}, "'mask', which"),
        ({"latents": np.zeros((2, 4, 8, 8))}, r"latents of the shape \(2, 4, 8, 8\); it has the shape \(1, 4, 8, 8\)"),
        ({"prompt_embeds": np.zeros((2, 77, 3))}, "prompt_embeds of the shape"),
        ({"prompt_embeds": np.zeros((1, 77, 32))}, "prompt_embeds has 1 rows where the denoiser gets 2"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            pipe("a cat", callback_on_step_end=lambda *args, answer=returned: answer, num_inference_steps=2)
    with pytest.raises(UnsupportedError, match="'negative_prompt_embeds', which this run does without"):
        embeds = {"negative_prompt_embeds": np.zeros((1, 77, 32))}
        pipe("a cat", callback_on_step_end=lambda *args: embeds, guidance_scale=1.0, **FEW)
    with pytest.raises(UnsupportedError, match="clip_skip is too large"):
        pipe("a cat", clip_skip=9, **FEW)
    image = onnxpipe.StableDiffusionImg2ImgPipeline.from_pretrained(folder())
    image.scheduler = onnxpipe.DDIMScheduler.from_config(image.scheduler.config)
    with pytest.raises(UnsupportedError, match="leaves none to run"):
        image("a cat", image=photo, strength=0.1, num_inference_steps=5)
    with pytest.raises(UnsupportedError, match="needs image="):
        image("a cat")
    with pytest.raises(UnsupportedError, match="image: 2 images for 1 images to make: pass a prompt for each"):
        image("a cat", image=[photo] * 2, num_inference_steps=2)
    with pytest.raises(UnsupportedError, match="3 images"):
        image(["a", "b"], image=[photo] * 3, strength=1.0, num_images_per_prompt=2, num_inference_steps=1, seed=[1] * 4)


def test_schedulers_that_do_not_fit() -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    with pytest.raises(UnsupportedError, match="match flows"):
        pipe.scheduler = onnxpipe.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UnsupportedError, match="takes prediction_type='v_prediction'"):
        pipe.scheduler = onnxpipe.DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    with pytest.raises(UnsupportedError, match="scheduler is a str"):
        pipe.scheduler = "DDIMScheduler"
    flows = onnxpipe.StableDiffusion3Pipeline.from_pretrained(folder("sd3"))
    with pytest.raises(UnsupportedError, match="match flows not"):
        flows.scheduler = onnxpipe.EulerDiscreteScheduler()
    consistent = onnxpipe.DiffusionPipeline.from_pretrained(folder("lcm"))
    with pytest.raises(UnsupportedError, match="pass an LCMScheduler"):
        consistent.scheduler = onnxpipe.DDIMScheduler.from_config(consistent.scheduler.config)


def test_loaders_refuse_what_does_not_fit() -> None:
    with pytest.raises(UnsupportedError, match="is a StableDiffusionPipeline, not a StableDiffusionXLPipeline"):
        onnxpipe.StableDiffusionXLPipeline.from_pretrained(folder())
    with pytest.raises(UnknownArgumentError, match="did you mean 'low_memory'"):
        onnxpipe.DiffusionPipeline.from_pretrained(folder(), low_memori=True)
    with pytest.raises(UnsupportedError, match="trust_remote_code"):
        onnxpipe.DiffusionPipeline.from_pretrained(folder(), trust_remote_code=True)
    with pytest.raises(UnsupportedError, match="vae is a int"):
        onnxpipe.DiffusionPipeline.from_pretrained(folder(), vae=3)


def test_a_family_that_is_not_offered(tmp_path: Path) -> None:
    shutil.copytree(folder(), tmp_path / "flux")
    index = tmp_path / "flux" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text("utf-8")), "_class_name": "FluxPipeline"}))
    (tmp_path / "flux" / "bundle.json").unlink()
    with pytest.raises(UnsupportedError, match="is a FluxPipeline, which is not offered here"):
        onnxpipe.DiffusionPipeline.from_pretrained(tmp_path / "flux")


def test_a_long_prompt_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    pipe("a cat " * 80, **FEW)
    assert "was truncated because CLIP can only handle sequences up to 77 tokens" in caplog.text


def test_the_vae_of_another_pipeline() -> None:
    tiny = onnxpipe.DiffusionPipeline.from_pretrained(folder("turbo"))
    named = onnxpipe.StableDiffusionPipeline.from_pretrained(folder(), vae=folder("turbo"))
    given = onnxpipe.StableDiffusionPipeline.from_pretrained(folder(), vae=tiny.vae)
    own = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    images = [pipe("a cat", seed=1, output_type="np", **FEW).images for pipe in (named, given, own)]
    assert np.array_equal(images[0], images[1])
    assert not np.allclose(images[0], images[2], atol=0.1)


def test_a_pipeline_can_be_pickled() -> None:
    pipe = pipeline("text-to-image", model=folder(), **FEW)
    copy = pickle.loads(pickle.dumps(pipe))  # noqa: S301 - its own
    assert np.array_equal(pixels(copy("a cat", seed=1)), pixels(pipe("a cat", seed=1)))


def test_a_run_larger_than_the_memory_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    whole = needed_memory(pipe.model, 512, 512)
    pipe.enable_vae_tiling()
    tiles = needed_memory(pipe.model, 512, 512)
    pipe.enable_model_cpu_offload()
    assert whole > tiles > needed_memory(pipe.model, 512, 512) > 0
    pipe("a cat", **FEW)
    assert not caplog.records
    monkeypatch.setattr(memory, "available_memory", lambda: 1_000_000)
    pipe("a cat", **FEW)
    assert "an image of 64 x 64 needs about" in caplog.text


def test_calls_from_several_threads_wait_for_each_other() -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    alone = [pipe("a cat", seed=seed, output_type="np", **FEW).images for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: pipe("a cat", seed=seed, output_type="np", **FEW).images, range(4)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


# -- folders in optimum's layout --------------------------------------------------------------------------------------
def as_optimum(source: Path, target: Path) -> Path:
    """Copy a bundle to the layout of optimum: no manifest, another class name, whole timesteps in an array of one."""
    shutil.copytree(source, target)
    for name in ("bundle.json", "certificate.json", "golden.npz"):
        (target / name).unlink()
    index = json.loads((target / "model_index.json").read_text("utf-8"))
    index["_class_name"] = f"ORT{index['_class_name']}"
    (target / "model_index.json").write_text(json.dumps(index))
    model = onnx.load(target / "unet" / "model.onnx")
    timestep = next(each for each in model.graph.input if each.name == "timestep")
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            if name == "timestep":
                node.input[number] = "timestep_float"
    scalar = onnx.helper.make_tensor("scalar", onnx.TensorProto.INT64, [0], [])
    model.graph.initializer.append(scalar)
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["flat"], ["timestep_float"], to=onnx.TensorProto.FLOAT))
    model.graph.node.insert(0, onnx.helper.make_node("Reshape", ["timestep", "scalar"], ["flat"]))
    model.graph.input.remove(timestep)
    model.graph.input.append(onnx.helper.make_tensor_value_info("timestep", onnx.TensorProto.INT64, [1]))
    onnx.save(model, target / "unet" / "model.onnx", save_as_external_data=True, location="model.onnx_data",
              size_threshold=1024)  # fmt: skip
    return target


def test_a_folder_of_optimum_gives_the_same_image(tmp_path: Path) -> None:
    other = as_optimum(Path(folder()), tmp_path / "optimum")
    images = [
        onnxpipe.DiffusionPipeline.from_pretrained(each)("a cat", seed=3, output_type="np", **FEW).images
        for each in (folder(), other)
    ]
    assert np.abs(images[0] - images[1]).max() < 1e-6


# -- the command line -------------------------------------------------------------------------------------------------
def run(*arguments: str, input: str | None = None, code: int = 0) -> Any:
    result = CliRunner().invoke(main, ["run", *arguments, "-p", "num_inference_steps=2"], input=input)
    assert result.exit_code == code, result.output
    return result


def test_a_prompt_of_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    run("text-to-image", "a lighthouse at dusk", "--model", folder(), "-o", str(file), "--seed", "7")
    image = Image.open(file)
    expected = pipeline("text-to-image", model=folder())("a lighthouse at dusk", seed=7, **FEW)
    assert np.array_equal(pixels(image), pixels(expected))
    assert image.text["prompt"] == "a lighthouse at dusk"
    assert (image.text["seed"], image.text["scheduler"]) == ("7", "PNDMScheduler")


def test_a_file_of_prompts(tmp_path: Path) -> None:
    lines = "a cat, 4.5 stars\n\N{SNOWMAN} at night\na cat, 4.5 stars\n"
    output = tmp_path / "images"
    shown = run("text-to-image", "-", "--model", folder(), "-o", str(output), "--seed", "1", input=lines)
    names = ["a_cat_4_5_stars-2.png", "a_cat_4_5_stars.png", "at_night.png"]
    assert sorted(path.name for path in output.iterdir()) == names
    assert "64x64 RGB, seed 3" in shown.output
    assert Image.open(output / "at_night.png").text["prompt"] == "\N{SNOWMAN} at night"
    source, table = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    source.write_text(lines, encoding="utf-8")
    run("text-to-image", "--input", str(source), "--model", folder(), "--draw", str(tmp_path / "drawn"), "-o",
        str(table), "--seed", "1", "-p", "num_images_per_prompt=2")  # fmt: skip
    rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    assert [len(row["image_file"]) for row in rows] == [2, 2, 2]
    assert all(Path(path).is_file() for row in rows for path in row["image_file"])


def test_images_of_the_command_line(tmp_path: Path, photo: Image.Image, mask: Image.Image) -> None:
    photo.save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    image, masked = ("--input-image", str(tmp_path / "photo.png")), ("--mask", str(tmp_path / "mask.png"))
    shown = run("image-to-image", "a cat", *image, "--model", folder(), "-o", str(tmp_path / "a.png"), "--json")
    document = json.loads(shown.output.splitlines()[-1])
    assert (document["image"], document["prompt"]) == (str(tmp_path / "a.png"), "a cat")
    assert Image.open(tmp_path / "a.png").text["strength"] == "0.8"
    run("inpainting", "a cat", *image, *masked, "--model", folder(), "-o", str(tmp_path / "b.png"))
    assert Image.open(tmp_path / "b.png").size == (64, 64)
    missing = run("inpainting", "a cat", *image, "--model", folder(), code=2)
    assert "inpainting needs --mask too" in missing.output
    wrong = run("text-to-image", "a cat", *image, "--model", folder(), code=2)
    assert "--input-image is not for text-to-image" in wrong.output
    twice = run("text-to-image", "a cat", "--seed", "1", "-p", "seed=2", "--model", folder(), code=2)
    assert "--seed and -p seed=" in twice.output


def test_a_saved_pipeline_is_as_it_was(tmp_path: Path, photo: Image.Image) -> None:
    pipe = onnxpipe.StableDiffusionImg2ImgPipeline.from_pretrained(folder("lcm"))
    pipe.save_pretrained(tmp_path / "same", safe_serialization=True)
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "same")])
    assert verified.exit_code == 0, verified.output
    assert "image from the prompt fp32: ok" in verified.output
    pipe.scheduler = onnxpipe.EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.save_pretrained(tmp_path / "other")
    again = onnxpipe.DiffusionPipeline.from_pretrained(tmp_path / "other")
    assert type(again) is type(pipe)
    assert type(again.scheduler) is type(pipe.scheduler)
    assert again.scheduler.config["timestep_spacing"] == "trailing"
    arguments = {"image": photo, "seed": 5, "num_inference_steps": 4}
    first, second = (each("a cat", **arguments).images[0] for each in (pipe, again))
    assert np.array_equal(pixels(first), pixels(second))
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "other")])
    assert verified.exit_code == 0, verified.output
    assert "image from the prompt" not in verified.output
    with pytest.raises(UnsupportedError, match="push_to_hub"):
        pipe.save_pretrained(tmp_path / "hub", push_to_hub=True)
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder(), vae=folder("sd2"))
    with pytest.raises(UnsupportedError, match="the vae is of another folder"):
        pipe.save_pretrained(tmp_path / "mixed")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("load_lora_weights", r"load_lora_weights\(\) is not supported: .* Merge it before the export: .*fuse_lora"),
        ("load_textual_inversion", "table of tokens is fixed"),
        ("load_ip_adapter", "no IP-Adapter"),
        ("enable_freeu", "layers of the model"),
    ],
)
def test_what_changes_a_model_is_refused(method: str, message: str) -> None:
    pipe = onnxpipe.StableDiffusionPipeline.from_pretrained(folder())
    with pytest.raises(UnsupportedError, match=message):
        getattr(pipe, method)("weights.safetensors", adapter_name="style")
    with pytest.raises(AttributeError, match="has no attribute 'load_anything'"):
        pipe.load_anything()
