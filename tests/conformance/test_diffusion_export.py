"""The graphs of diffusers' pipelines against PyTorch: every family, other sizes and steps, precisions."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")
diffusers = pytest.importorskip("diffusers")

from click.testing import CliRunner  # noqa: E402

from onnxpipe.bundle import HubOptions  # noqa: E402
from onnxpipe.cli import main  # noqa: E402
from onnxpipe.engine import Session, open_session, parse_device  # noqa: E402
from onnxpipe.errors import CertificateError  # noqa: E402
from onnxpipe_export import certify_images  # noqa: E402
from onnxpipe_export.graphs.diffusion.component import load  # noqa: E402
from onnxpipe_export.graphs.diffusion.folder import find  # noqa: E402
from onnxpipe_export.graphs.diffusion.samples import Samples  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.tracing import quiet  # noqa: E402
from tolerances import MODEL  # noqa: E402
from zoo.diffusion import HEAD  # noqa: E402

Bundles = Callable[..., Path]
Models = Callable[[str, str], Path]

_VAE = ["vae_decoder", "vae_encoder"]
_GRAPHS = {
    "sd": ["safety_checker", "text_encoder", "unet", *_VAE],
    "sd2": ["text_encoder", "unet", *_VAE],
    "sd-inpaint": ["text_encoder", "unet", *_VAE],
    "turbo": ["text_encoder", "unet", *_VAE],
    "sdxl": ["text_encoder", "text_encoder_2", "unet", *_VAE],
    "sdxl-refiner": ["text_encoder_2", "unet", *_VAE],
    "lcm": ["text_encoder", "unet", *_VAE],
    "sd3": ["text_encoder", "text_encoder_2", "text_encoder_3", "transformer", *_VAE],
    "sd35": ["text_encoder", "text_encoder_2", "transformer", *_VAE],
}

_MODES = {
    "sd-inpaint": {"inpainting"},
    "sdxl-refiner": {"image-to-image", "inpainting"},
    "lcm": {"text-to-image", "image-to-image"},
    "sd3": {"text-to-image", "image-to-image"},  # diffusers 0.42 inpaints without the autoencoder's shift
    "sd35": {"text-to-image", "image-to-image"},
}
"""Of the pipelines that are not run in every mode, those that are."""


def session_of(bundle: Path, graph: str) -> Session:
    return open_session(bundle / graph / "model.onnx", root=bundle, device=parse_device("cpu"))


def component(models: Models, family: str, name: str, class_name: str) -> Any:
    with quiet():
        return getattr(diffusers, class_name).from_pretrained(models(family, HEAD), subfolder=name).eval()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape, np.float32)


@pytest.mark.parametrize("family", _GRAPHS)
def test_every_graph_is_certified(family: str, bundles: Bundles) -> None:
    folder = bundles(family, HEAD)
    certificate = json.loads((folder / "certificate.json").read_text())
    assert sorted(certificate["graphs"]) == sorted(_GRAPHS[family])
    for graph, entry in certificate["graphs"].items():
        assert (folder / graph / "model.onnx").is_file()
        assert (folder / graph / "config.json").is_file()
        assert entry["fp32"]["passed"]
        assert entry["fp32"]["max_relative_difference"] < MODEL
    assert "left_out" not in certificate
    images = certificate["images"]["fp32"]
    assert images["passed"]
    assert images["grey"] < 0.1
    modes = {run.partition(",")[0] for run in images["runs"]}
    assert modes == _MODES.get(family, {"text-to-image", "image-to-image", "inpainting"})
    assert len(images["runs"]) >= 3


@pytest.mark.parametrize(
    ("family", "tasks"),
    [
        ("sd", ["text-to-image", "image-to-image", "inpainting"]),
        ("sd-inpaint", ["inpainting"]),
        ("lcm", ["text-to-image", "image-to-image"]),
    ],
)
def test_tasks_of_a_bundle(family: str, tasks: list[str], bundles: Bundles) -> None:
    assert json.loads((bundles(family, HEAD) / "bundle.json").read_text())["tasks"] == tasks


def test_index_names_both_graphs_of_the_vae(bundles: Bundles) -> None:
    folder = bundles("turbo", HEAD)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["vae_encoder"] == index["vae_decoder"] == ["diffusers", "AutoencoderTiny"]
    assert "vae" not in index
    assert {path.name for path in (folder / "scheduler").iterdir()} == {"scheduler_config.json"}
    assert {"tokenizer.json", "tokenizer_config.json"} <= {path.name for path in (folder / "tokenizer").iterdir()}


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (20, 6)])
@pytest.mark.parametrize("timestep", [0.0, 999.0, 41.625])
def test_unet_at_other_sizes_and_steps(
    size: tuple[int, int], timestep: float, bundles: Bundles, models: Models
) -> None:
    unet = component(models, "sd2", "unet", "UNet2DConditionModel")
    feeds = {
        "sample": noise(2, 4, *size),
        "timestep": np.array(timestep, np.float32),
        "encoder_hidden_states": noise(2, 30, 32),
    }
    with torch.no_grad():
        expected = unet(*(torch.from_numpy(array) for array in feeds.values())).sample.numpy()
    got = session_of(bundles("sd2", HEAD), "unet").run(feeds)["out_sample"]
    assert np.abs(got - expected).max() <= MODEL * np.abs(expected).max()


def test_transformer_at_another_size_and_length(bundles: Bundles, models: Models) -> None:
    transformer = component(models, "sd3", "transformer", "SD3Transformer2DModel")
    feeds = {
        "hidden_states": noise(2, 16, 10, 6),
        "encoder_hidden_states": noise(2, 40, 80),
        "pooled_projections": noise(2, 56),
        "timestep": np.array([1000.0, 12.5], np.float32),
    }
    with torch.no_grad():
        expected = transformer(**{name: torch.from_numpy(array) for name, array in feeds.items()}).sample.numpy()
    got = session_of(bundles("sd3", HEAD), "transformer").run(feeds)["out_hidden_states"]
    assert np.abs(got - expected).max() <= MODEL * np.abs(expected).max()


def test_encoder_gives_the_distribution(bundles: Bundles, models: Models) -> None:
    vae = component(models, "sdxl", "vae", "AutoencoderKL")
    pixels = np.tanh(noise(1, 3, 48, 80))
    with torch.no_grad():
        expected = vae.encode(torch.from_numpy(pixels)).latent_dist
    got = session_of(bundles("sdxl", HEAD), "vae_encoder").run({"sample": pixels})["latent_parameters"]
    mean, variance = np.split(got, 2, axis=1)
    assert np.abs(mean - expected.mean.numpy()).max() <= MODEL * np.abs(mean).max()
    assert np.abs(variance - expected.logvar.numpy()).max() <= MODEL * np.abs(variance).max()


def test_normed_states_are_those_of_clip_skip(bundles: Bundles) -> None:
    session = session_of(bundles("sd", HEAD), "text_encoder")
    outputs = session.run({"input_ids": np.arange(3, 80, dtype=np.int64)[None]})
    last = max(int(name.rpartition(".")[2]) for name in outputs if name.startswith("hidden_states."))
    assert np.array_equal(outputs[f"normed_hidden_states.{last}"], outputs["last_hidden_state"])
    assert "normed_hidden_states.0" not in session_of(bundles("sdxl", HEAD), "text_encoder").outputs


def test_checker_finds_light_images_alone(bundles: Bundles) -> None:
    session = session_of(bundles("sd", HEAD), "safety_checker")
    pixels = np.stack([np.full((3, 32, 32), level, np.float32) for level in (-2.0, 2.0)])
    images = np.full((2, 40, 24, 3), 0.5, np.float32)
    outputs = session.run({"clip_input": pixels, "images": images})
    assert outputs["has_nsfw_concepts"].tolist() == [False, True]
    assert np.array_equal(outputs["out_images"][0], images[0])
    assert not outputs["out_images"][1].any()


def test_smaller_precisions_and_what_stays_float32(bundles: Bundles) -> None:
    folder = bundles("sdxl", HEAD, ("fp16", "int8"))
    graphs = json.loads((folder / "bundle.json").read_text())["graphs"]
    assert {name: sorted(entry) for name, entry in graphs.items()} == {
        "text_encoder": ["fp16", "int8"],
        "text_encoder_2": ["fp16", "int8"],
        "unet": ["fp16", "int8"],
        "vae_decoder": ["fp32"],
        "vae_encoder": ["fp32"],
    }
    certificate = json.loads((folder / "certificate.json").read_text())
    for precision, least in (("fp16", 45), ("int8", 30)):  # with room for other processors
        assert certificate["images"][precision]["psnr"] > least
    left_out = certificate["left_out"]
    assert "force_upcast" in left_out["vae_decoder"]["fp16"]
    assert sorted(left_out) == ["vae_decoder", "vae_encoder"]
    assert not (folder / "unet" / "model.onnx").exists()


def test_verify_and_inspect(bundles: Bundles) -> None:
    folder = str(bundles("lcm", HEAD))
    verified = CliRunner().invoke(main, ["verify", folder])
    assert verified.exit_code == 0, verified.output
    assert "unet fp32: ok" in verified.output
    inspected = CliRunner().invoke(main, ["inspect", folder])
    assert "LatentConsistencyModelPipeline" in inspected.output
    assert "timestep_cond" in inspected.output
    assert "images fp32: 3 short runs, at most" in inspected.output
    assert "image from the prompt fp32: ok on cpu" in verified.output


def damaged(source: Path, folder: Path, file: str, change: Callable[[Path], None]) -> Path:
    """Copy a bundle with one file changed, and its manifest as if that were right."""
    shutil.copytree(source, folder)
    change(folder / file)
    manifest = json.loads((folder / "bundle.json").read_text())
    content = (folder / file).read_bytes()
    manifest["files"][file] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


def other_betas(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.011}))


def weaker(path: Path) -> None:
    """Make the largest weights of a graph half as large."""
    graph = OnnxGraph.load(path)
    sizes = {tensor.name: graph.size(tensor.name) for tensor in graph.graph.initializer if tensor.data_type == 1}
    for name in (name for name, size in sizes.items() if size == max(sizes.values())):
        graph.change_constant(name, graph.constant(name) * np.float32(0.5))
    graph.save(path)


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "scheduler/scheduler_config.json": other_betas,
    "vae_decoder/model.onnx": weaker,
    "unet/model.onnx": weaker,
    "text_encoder/model.onnx": weaker,
}


@pytest.mark.parametrize("file", _DAMAGES)
def test_damaged_components_are_refused(file: str, bundles: Bundles, models: Models, tmp_path: Path) -> None:
    """By the whole runs alone: verify finds it on any machine, and the export would have written nothing."""
    folder = damaged(bundles("lcm", HEAD), tmp_path / "damaged", file, _DAMAGES[file])
    verified = CliRunner().invoke(main, ["verify", str(folder)])
    assert verified.exit_code == 1
    assert "image from the prompt fp32: FAILED on cpu" in verified.output
    assert "files: ok" in verified.output
    with pytest.raises(
        CertificateError, match="the fp32 pipeline does not make the images of diffusers: text-to-image"
    ):
        certify_images.verify(folder, "fp32", made_by_diffusers(models("lcm", HEAD)))


@cache
def made_by_diffusers(model: Path) -> certify_images.OriginalImages:
    source = find(str(model), HubOptions())
    original = certify_images.OriginalImages(source, certify_images.short_runs(source, Samples(source.config("vae"))))
    original.encode_prompts()
    original.make("unet", load(source, "unet").model)
    return original


def test_a_run_that_cannot_be_repeated(bundles: Bundles, tmp_path: Path) -> None:
    def forget(path: Path) -> None:
        certificate = json.loads(path.read_text())
        certificate["images"]["repeated"]["options"]["image"] = "secret.png"
        path.write_text(json.dumps(certificate))

    folder = damaged(bundles("lcm", HEAD), tmp_path / "damaged", "certificate.json", forget)
    verified = CliRunner().invoke(main, ["verify", str(folder)])
    assert verified.exit_code == 1
    assert "certificate.json describes a run of the pipeline with image='secret.png'" in verified.output
