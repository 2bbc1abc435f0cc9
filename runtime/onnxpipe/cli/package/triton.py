"""Write a repository of Triton: a model that answers as the pipeline does, and the bundle's graphs as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpipe.bundle.external import check_external
from onnxpipe.bundle.proof import Golden, read_golden
from onnxpipe.cli.package.contents import Content, copy_package, requirements
from onnxpipe.engine.device import parse_device
from onnxpipe.engine.opening import open_session
from onnxpipe.engine.session import TensorSpec
from onnxpipe.serving.task_rows import input_names
from onnxpipe.serving.triton import BUNDLE, MOST_ROWS

_TYPES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
_MODEL = '''"""Answers as the pipeline of the bundle beside it; written by `onnxpipe package --for triton`.

Triton's Python must have the packages of requirements.txt. The folder of this file is on its path, and so is onnxpipe.
"""

from onnxpipe.serving.triton import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


class Bare(str):
    """A word of a config that stands without quotes."""


def write_triton(content: Content, target: Path) -> list[str]:
    """Write the repository.

    Args:
        content: the bundle.
        target: an empty folder.

    Returns:
        The lines that start it.
    """
    version = target / content.name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(_MODEL, encoding="utf-8")
    lines = requirements(content.task)
    (version / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    content.copy_to(version / BUNDLE)
    copy_package(version)
    _write_config(target / content.name, _task_config(content))
    graphs = content.graphs()
    cases = _cases(content.bundle.folder)
    for graph, path in graphs.items():
        name = f"{content.name}-graph" if len(graphs) == 1 else f"{content.name}-{graph.replace('/', '-')}"
        _write_graph(target / name, path, content.bundle.folder, cases.get(graph, ()))
    install = f"pip install -r /models/{content.name}/1/requirements.txt"
    return [
        f"docker run --rm -p 8000:8000 -v {target.resolve()}:/models nvcr.io/nvidia/tritonserver:VERSION-py3 \\",
        f"  sh -c '{install} && tritonserver --model-repository=/models'",
    ]


def _task_config(content: Content) -> dict[str, Any]:
    text = Bare("TYPE_STRING")
    parameters = {"task": content.task.name, "dtype": content.dtype}
    return {
        "name": content.name,
        "backend": "python",
        "max_batch_size": MOST_ROWS,
        "input": [{"name": name, "data_type": text, "dims": [1]} for name in input_names(content.task)],
        "output": [{"name": "answer", "data_type": text, "dims": [1]}],
        "parameters": [{"key": key, "value": {"string_value": value}} for key, value in parameters.items()],
        "instance_group": [{"count": 1, "kind": Bare("KIND_CPU")}],
        "dynamic_batching": {},
    }


def _cases(folder: Path) -> dict[str, list[Golden]]:
    """Return the golden cases of each graph; none where the folder has no golden.npz."""
    found: dict[str, list[Golden]] = {}
    for case in read_golden(folder) if (folder / "golden.npz").is_file() else ():
        found.setdefault(case.graph, []).append(case)
    return found


def _write_graph(target: Path, path: Path, folder: Path, cases: Sequence[Golden]) -> None:
    for location, file in {path.name: path, **check_external(path, folder)}.items():
        copied = target / "1" / location
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
    session = open_session(path, root=folder, device=parse_device("cpu"), threads=1, lean=True)
    inputs = {name: spec for name, spec in session.inputs.items() if not spec.optional}
    batches = all(_has_rows(spec) for spec in (*inputs.values(), *session.outputs.values()))
    config: dict[str, Any] = {
        "name": target.name,
        "platform": "onnxruntime_onnx",
        "default_model_filename": path.name,
        "max_batch_size": MOST_ROWS if batches else 0,
        "input": [_tensor(name, spec, batches) for name, spec in inputs.items()],
        "output": [_tensor(name, spec, batches) for name, spec in session.outputs.items()],
        "instance_group": [{"count": 1, "kind": Bare("KIND_CPU")}],
    }
    if batches:
        config["dynamic_batching"] = {}
    case = next((each for each in cases if inputs.keys() <= each.inputs.keys()), None)
    if case is not None:
        config["model_warmup"] = [_warmup(case, inputs, batches)]
    _write_config(target, config)


def _has_rows(spec: TensorSpec) -> bool:
    """Whether a tensor's first axis may have any length, so that Triton can join requests along it."""
    return bool(spec.shape) and not isinstance(spec.shape[0], int)


def _tensor(name: str, spec: TensorSpec, batches: bool) -> dict[str, Any]:
    shape = spec.shape[1:] if batches else spec.shape
    dims = [size if isinstance(size, int) and size > 0 else -1 for size in shape]
    # a number without axes has none to write; a vector of one is its reshape
    return {"name": name, "data_type": _type(spec), "dims": dims} if dims else {
        "name": name, "data_type": _type(spec), "dims": [1], "reshape": {"shape": []},
    }  # fmt: skip


def _type(spec: TensorSpec) -> Bare:
    return Bare(f"TYPE_{_TYPES[spec.dtype.name]}")


def _warmup(case: Golden, inputs: Mapping[str, TensorSpec], batches: bool) -> dict[str, Any]:
    """Run zeros of the shapes of a golden case when the model is loaded."""
    entries = []
    for name, spec in inputs.items():
        shape = case.inputs[name].shape[1:] if batches else case.inputs[name].shape
        value = {"data_type": _type(spec), "dims": list(shape) or [1], "zero_data": True}
        entries.append({"key": name, "value": value})
    return {"name": "golden", "batch_size": 1 if batches else 0, "inputs": entries}


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.pbtxt").write_text("\n".join(_lines(config)) + "\n", encoding="utf-8")


def _lines(fields: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Write fields in the text format of protocol buffers."""
    for name, value in fields.items():
        for each in value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]:
            if isinstance(each, dict):
                yield f"{indent}{name} {{"
                yield from _lines(each, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(each)}"


def _scalar(value: Any) -> str:
    return str(value) if isinstance(value, Bare) else json.dumps(value)
