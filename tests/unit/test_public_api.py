"""The public names: one list, which the lazy module, the stub and the tasks' records share."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tools import write_stub

import onnxpipe
from onnxpipe.tasks.registry import all_tasks


def test_the_stub_is_up_to_date():
    assert write_stub.STUB.read_text(encoding="utf-8") == write_stub.stub(), "run `make stub`"


def test_every_name_resolves():
    assert all(hasattr(onnxpipe, name) for name in onnxpipe.__all__)
    assert dir(onnxpipe) == onnxpipe.__all__ == sorted(set(onnxpipe.__all__))
    assert {spec.pipeline.__name__ for spec in all_tasks()} <= set(onnxpipe.__all__)


def test_the_stub_names_what_the_module_has():
    tree = ast.parse(write_stub.STUB.read_text(encoding="utf-8"))
    imported = {
        name.asname for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names if name.asname
    }
    assert imported | {"pipeline"} == set(onnxpipe.__all__)
    (listed,) = (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
                 and getattr(node.targets[0], "id", "") == "__all__")  # fmt: skip
    assert listed == onnxpipe.__all__


def test_the_package_says_that_it_is_typed():
    folder = Path(onnxpipe.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "__init__.pyi").is_file()


def test_other_names_are_refused():
    for name in ("NoSuchPipeline", "no_such_name"):
        with pytest.raises(AttributeError, match=name):
            getattr(onnxpipe, name)


def test_a_star_gives_every_name():
    names: dict[str, object] = {}
    exec("from onnxpipe import *", names)
    assert set(onnxpipe.__all__) <= names.keys()


def test_an_import_of_the_package_imports_nothing_else():
    code = "import sys, onnxpipe; print(sorted(m for m in sys.modules if m.split('.')[0] in ('onnxpipe', 'numpy')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['onnxpipe', 'onnxpipe._version']"


def test_the_tasks_import_no_runtime():
    heavy = ("onnxruntime", "PIL", "av", "click")
    code = f"import sys, onnxpipe.tasks.registry; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
