"""Devices, sessions and placement."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import struct
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from attacks.graphs import embedding, external_folder, model, onnx, weights, write_folder
from odd_names import odd_folder
from onnxpipe.engine import (
    Device,
    Placement,
    Session,
    cuda,
    device,
    import_onnxruntime,
    open_session,
    opening,
    parse_device,
    plugins,
)
from onnxpipe.engine.binding import Binding, DeviceArray
from onnxpipe.engine.cuda import needed_libraries
from onnxpipe.engine.session import Loaded
from onnxpipe.errors import BundleError, DeviceError, MissingDependencyError, UnsupportedError

CPU = Device("cpu")
FEEDS = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 0]])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path, {"onnx/model.onnx": embedding()})


def load(folder: Path, **options: Any) -> Session:
    return open_session(folder / "onnx/model.onnx", root=folder, **{"device": CPU, **options})


def machine(
    monkeypatch: pytest.MonkeyPatch, gpus: int = 0, problem: str | None = "no CUDA", coreml: bool = False
) -> None:
    """Makes the device module believe in a machine."""
    providers = ["CoreMLExecutionProvider"] * coreml + ["CUDAExecutionProvider"] * bool(gpus) + [device.CPU_PROVIDER]
    fake = SimpleNamespace(get_available_providers=lambda: providers)
    monkeypatch.setattr(device, "import_onnxruntime", lambda: fake)
    monkeypatch.setattr(device, "cuda_problem", lambda: None if gpus and problem == "no CUDA" else problem)
    monkeypatch.setattr(device, "device_count", lambda: gpus)


@pytest.mark.parametrize("value", ["cpu", "cpu:0", -1, -3, CPU, SimpleNamespace(type="cpu", index=None)])
def test_the_cpu(value: Any) -> None:
    assert parse_device(value) == CPU
    assert str(parse_device(value)) == "cpu"


def test_none_is_the_first_gpu_or_the_cpu(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    machine(monkeypatch)
    assert parse_device(None) == CPU
    assert not caplog.records
    machine(monkeypatch, gpus=2)
    assert parse_device(None) == Device("cuda", 0)
    machine(monkeypatch, gpus=1, problem="libcublas.so.12 could not be loaded")
    assert parse_device(None) == CPU
    assert "libcublas.so.12" in caplog.text  # a GPU build that runs on the CPU says so


@pytest.mark.parametrize(
    ("value", "text"),
    [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), (0, "cuda:0"), (1, "cuda:1"),
     (SimpleNamespace(type="cuda", index=1), "cuda:1"), (SimpleNamespace(type="cuda", index=None), "cuda:0")],
)  # fmt: skip
def test_gpus(monkeypatch: pytest.MonkeyPatch, value: Any, text: str) -> None:
    machine(monkeypatch, gpus=2)
    assert str(parse_device(value)) == text
    machine(monkeypatch)
    with pytest.raises(DeviceError, match="no CUDA"):
        parse_device(value)
    machine(monkeypatch, gpus=2)
    with pytest.raises(DeviceError, match=r"shows 2 GPU\(s\)"):
        parse_device("cuda:2")


def test_coreml(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, coreml=True)
    assert [str(parse_device(value)) for value in ("mps", "coreml", "mps:0", 0)] == ["coreml"] * 4
    machine(monkeypatch)
    with pytest.raises(DeviceError, match="CoreML"):
        parse_device("mps")


@pytest.mark.parametrize(
    "value", ["xpu", "gpu", "cuda:", "cuda:x", "cuda:-1", "", " cpu", "CPU", True, 1.0, [], b"cpu"]
)
def test_unknown_devices(value: Any) -> None:
    with pytest.raises(DeviceError, match="Expected one of: cpu, cuda"):
        parse_device(value)
    with pytest.raises(RuntimeError):  # what transformers raises
        parse_device(value)


def test_cuda_without_the_gpu_wheel() -> None:
    if "CUDAExecutionProvider" in import_onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DeviceError, match=r'pip install "onnxpipe\[gpu\]"'):
        parse_device("cuda")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi/libonnxruntime_providers_cuda.so").write_bytes(
        _elf(["libnone.so.9", "libc.so.6", "libcuda.so.1"])
    )
    fake = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider"],
        __file__=str(tmp_path / "__init__.py"),
        preload_dlls=lambda: print("noise"),
    )
    monkeypatch.setattr(cuda, "import_onnxruntime", lambda: fake)
    monkeypatch.setattr(cuda.sys, "platform", "linux")
    monkeypatch.setattr(cuda, "_loads", lambda name: name == "libc.so.6")
    problem = cuda.cuda_problem.__wrapped__()
    assert problem is not None
    assert "libnone.so.9 could not be loaded" in problem
    assert "--gpus all" in problem
    assert "libc.so.6" not in problem
    monkeypatch.setattr(cuda, "_loads", lambda name: True)
    for count, said in ((None, "did not start"), (0, "sees no GPU"), (1, None)):
        monkeypatch.setattr(cuda, "device_count", lambda count=count: count)
        found = cuda.cuda_problem.__wrapped__()
        assert found is None if said is None else said in str(found)


def _elf(names: list[str]) -> bytes:
    """A 64-bit ELF library with nothing but its dynamic section."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    offsets = [strings.index(name.encode()) for name in names]
    dynamic = b"".join(struct.pack("<QQ", 1, offset) for offset in offsets) + struct.pack(
        "<QQQQ", 5, 0x1000 + 176, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x1000, 0, 4096, 4096, 4096)
    entry = struct.pack("<IIQQQQQQ", 2, 4, 176 + len(strings), 0, 0, len(dynamic), len(dynamic), 8)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return (head + load + entry + strings + dynamic).ljust(4096, b"\0")


def test_needed_libraries(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(_elf(["liba.so", "libb.so.2"]))
    assert needed_libraries(path) == ["liba.so", "libb.so.2"]
    path.write_bytes(b"MZ no ELF" + bytes(100))
    assert needed_libraries(path) == []


def test_run(folder: Path) -> None:
    session = load(folder)
    got = session.run(FEEDS)
    assert list(got) == ["last_hidden_state"]
    np.testing.assert_array_equal(got["last_hidden_state"][0], weights()[1:4] * [[1], [1], [0]])
    assert session.inputs["input_ids"].dtype == np.int64
    assert session.inputs["input_ids"].shape == ("b", "s")
    assert session.outputs["last_hidden_state"].shape == ("b", "s", 4)
    assert session.device == CPU
    assert session.providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, bool])
def test_feeds_are_cast(folder: Path, dtype: Any) -> None:
    feeds = {name: np.asarray(value).astype(dtype) for name, value in FEEDS.items()}
    assert load(folder).run(feeds)["last_hidden_state"].dtype == np.float32


def test_half_precision_comes_back_as_float32(tmp_path: Path) -> None:
    session = load(write_folder(tmp_path, {"onnx/model.onnx": embedding(np.float16)}))
    assert session.outputs["last_hidden_state"].dtype == np.float16
    got = session.run(FEEDS)["last_hidden_state"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0, :2], weights()[1:3], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"input_ids": None}, "'input_ids' must be given"),
        ({"input_idz": np.zeros((1, 1))}, "no input 'input_idz'"),
        ({"input_ids": np.zeros((1, 3))}, "is float64; the graph takes int64"),
        ({"input_ids": np.array([["a", "b", "c"]])}, "the graph takes int64"),
        ({"input_ids": np.zeros(3, np.int64)}, r"has the shape \(3,\)"),
    ],
)
def test_wrong_feeds(folder: Path, change: dict[str, Any], why: str) -> None:
    feeds = {name: value for name, value in {**FEEDS, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=why):
        load(folder).run(feeds)


def test_fixed_axes_are_checked(tmp_path: Path) -> None:
    info = [onnx.helper.make_tensor_value_info(name, 1, ["b", 3]) for name in "xy"]
    folder = write_folder(
        tmp_path, {"onnx/model.onnx": model([onnx.helper.make_node("Relu", ["x"], ["y"])], *([i] for i in info))}
    )
    with pytest.raises(ValueError, match=r"has the shape \(1, 4\); the graph takes \('b', 3\)"):
        load(folder).run({"x": np.ones((1, 4))})


def test_unknown_outputs(folder: Path) -> None:
    with pytest.raises(ValueError, match="no output 'logits'; it has last_hidden_state"):
        load(folder).run(FEEDS, ["logits"])


def test_errors_of_a_run_name_the_file_and_the_shapes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    feeds = {**FEEDS, "input_ids": np.array([[1, 2, 50]])}
    with pytest.raises(RuntimeError, match=r"model\.onnx failed on inputs of the shapes input_ids \(1, 3\).*idx=50"):
        load(folder).run(feeds)
    assert capfd.readouterr().err == ""


def test_errors_of_a_run_name_few_of_many_inputs(folder: Path) -> None:
    """A language model has two caches for each of its layers."""
    caches = {f"past_key_values.{i}.key": np.zeros((1, 2, 3, 4)) for i in range(60)}
    message = str(load(folder)._failed({**FEEDS, **caches}, ValueError("why"), None))
    assert "attention_mask (1, 3)" in message
    assert message.endswith("and 56 more: why")


def test_placement(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(folder)
    if not hasattr(session._session, "get_provider_graph_assignment_info"):
        with pytest.raises(UnsupportedError, match="pip install -U onnxruntime"):
            session.placement()
        return
    placement = session.placement()
    assert "gather" in placement.nodes["CPUExecutionProvider"]
    assert placement.counts["CPUExecutionProvider"] >= 3
    assert str(placement).startswith("CPUExecutionProvider: ")
    assert str(Placement({})) == "no nodes"


def test_providers(folder: Path) -> None:
    assert load(folder, providers=["CPUExecutionProvider"]).device == CPU
    options = {"arena_extend_strategy": "kSameAsRequested"}
    assert load(folder, providers=[("CPUExecutionProvider", options)]).providers == ("CPUExecutionProvider",)
    assert load(folder, providers=["CPUExecutionProvider"], provider_options=[{}]).device == CPU
    with pytest.raises(DeviceError, match=r"NoSuchProvider is not available; .*CPUExecutionProvider"):
        load(folder, providers=["NoSuchProvider", "CPUExecutionProvider"])
    for wrong in ({"providers": []}, {"provider_options": [{}]},
                  {"providers": ["CPUExecutionProvider"], "provider_options": []}, {"threads": 0},
                  {"threads": "2"}):  # fmt: skip
        with pytest.raises(ValueError):
            load(folder, **wrong)


def test_a_provider_that_onnxruntime_drops_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens with a GPU wheel whose CUDA provider does not start: the session has the CPU only."""
    monkeypatch.setattr(opening, "_check_available", lambda *_: None)
    with pytest.warns(UserWarning), pytest.raises(DeviceError, match="could not start CUDAExecutionProvider"):
        load(folder, device=Device("cuda", 0))


def test_a_provider_in_a_package_of_its_own(folder: Path, contoso: None) -> None:
    assert [str(parse_device(value)) for value in ("contoso", "contoso:0", Device("contoso", 0))] == ["contoso:0"] * 3
    session = load(folder, device=parse_device("contoso"))
    assert session.providers == ("CPUExecutionProvider",) and str(session.device) == "contoso:0"
    assert "input_ids" in session.inputs
    with pytest.raises(
        DeviceError, match=r"contoso:7' does not exist here: .* runs on contoso:0 \(CPU of .*\) of this"
    ):
        parse_device("contoso:7")
    with pytest.raises(DeviceError, match="pip install onnxruntime-ep-openvino"):
        parse_device("openvino")


def test_damaged_packages_of_providers(contoso: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("broken", "raise OSError('a library is missing')"), ("other", "")):
        (tmp_path / f"onnxruntime_ep_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.plugins.cache_clear()
    assert [plugin.name for plugin in plugins.plugins() if plugin.name in ("broken", "other", "contoso")] == ["contoso"]
    monkeypatch.setattr(plugins, "_REGISTERED", set())

    def damaged(name: str, library: str) -> None:
        raise OSError(f"no file {library}")

    monkeypatch.setattr(import_onnxruntime(), "register_execution_provider_library", damaged)
    with pytest.raises(DeviceError, match=r"did not load libcontoso.so: no file"):
        parse_device("contoso")


def test_a_failing_device_is_not_blamed_on_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = import_onnxruntime()

    class Full:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(runtime, "InferenceSession", Full)
    monkeypatch.setattr(opening, "_check_available", lambda *_: None)
    with pytest.raises(DeviceError, match="out of memory"):
        load(folder, device=Device("cuda", 0))
    with pytest.raises(BundleError, match="out of memory"):
        load(folder)


def test_options_of_devices() -> None:
    assert device.provider_list(CPU) == [("CPUExecutionProvider", {})]
    (name, options), last = device.provider_list(Device("cuda", 1))
    assert (name, options["device_id"], options["use_tf32"]) == ("CUDAExecutionProvider", "1", "0")
    assert last[0] == "CPUExecutionProvider"
    assert device.provider_list(Device("coreml"))[0][0] == "CoreMLExecutionProvider"
    assert device.device_of_provider("CUDAExecutionProvider", {"device_id": "2"}) == Device("cuda", 2)
    assert device.device_of_provider("OpenVINOExecutionProvider", {}) == CPU


def test_weights_behind_links_when_onnxruntime_refuses_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As version 1.24 does with the Hub's cache: the bytes are passed instead."""
    folder = external_folder(tmp_path)
    (folder / "onnx/model.onnx_data").rename(folder / "onnx/real")
    (folder / "onnx/model.onnx_data").symlink_to("real")
    runtime = import_onnxruntime()
    if not hasattr(runtime.SessionOptions, "add_external_initializers_from_files_in_memory"):
        pytest.skip("this version is older than the refusal, and the remedy")
    attempts = []

    class Strict(runtime.InferenceSession):  # type: ignore[name-defined, misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            attempts.append(args)
            if len(attempts) == 1:
                raise RuntimeError("External data path is a symlink")
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(runtime, "InferenceSession", Strict)
    session = load(folder)
    assert len(attempts) == 2
    np.testing.assert_array_equal(session.run(FEEDS)["last_hidden_state"][0, 0], weights()[1])


def test_idle_sessions_do_not_spin(folder: Path) -> None:
    session = load(folder, threads=2)
    session.run({name: np.tile(value, (64, 100)) for name, value in FEEDS.items()})
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.2
    entry = session._session.get_session_options().get_session_config_entry
    assert entry("session.inter_op.allow_spinning") == "0"
    if entry("session.intra_op.allow_spinning") == "1":  # between the operators of a run, and not for long
        assert entry("session.force_spinning_stop") == "1"
        assert int(entry("session.intra_op.spin_duration_us")) <= 50


def steps() -> Any:
    """A graph that keeps a sum: present.0 = past_key_values.0 + input_ids; total is its sum over all axes."""
    numbers = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.FLOAT, ["rows", "n"])
    kept = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", "n"])
        for name in ("past_key_values.0", "present.0")
    ]
    total = onnx.helper.make_tensor_value_info("total", onnx.TensorProto.FLOAT, [])
    nodes = [
        onnx.helper.make_node("Add", ["input_ids", "past_key_values.0"], ["present.0"]),
        onnx.helper.make_node("ReduceSum", ["present.0"], ["total"], keepdims=0),
    ]
    return model(nodes, [numbers, kept[0]], [total, kept[1]])


def test_a_graph_with_caches_waits_longer_for_work(tmp_path: Path, folder: Path) -> None:
    written = write_folder(tmp_path / "steps", {"onnx/model.onnx": steps()})
    entry, other = (load(each)._session.get_session_options().get_session_config_entry for each in (written, folder))
    if entry("session.intra_op.allow_spinning") == "1":
        long, short = (int(each("session.intra_op.spin_duration_us")) for each in (entry, other))
        assert short < long
        assert entry("session.force_spinning_stop") == "1"


def test_what_is_fed_to_a_binding_stays_the_callers(tmp_path: Path) -> None:
    binding = Binding(load(write_folder(tmp_path, {"onnx/model.onnx": steps()})))
    kept = DeviceArray((1, 2), np.float32, CPU)
    binding.hold({"past_key_values.0": kept}, {"present.0": kept})
    fed = [np.full((1, 2), number, np.float32) for number in (1, 2, 3, 4)]
    totals = [float(binding.run({"input_ids": each}, {"total": None})["total"]) for each in fed]
    assert totals == [2, 6, 12, 20]
    assert [each.tolist() for each in fed] == [[[1, 1]], [[2, 2]], [[3, 3]], [[4, 4]]]
    fed[3][:] = 0  # no run reads it any more
    other = DeviceArray((1, 3), np.float32, CPU)
    binding.hold({"past_key_values.0": other}, {"present.0": other})
    assert float(binding.run({"input_ids": np.ones((1, 3), np.float32)}, {"total": None})["total"]) == 3
    assert kept.numpy().tolist() == [[10, 10]]


def test_the_installed_runtime_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpipe.engine import runtime

    def found(**attributes: Any) -> Any:
        return lambda name: SimpleNamespace(**attributes)

    def nothing(name: str) -> Any:
        raise ModuleNotFoundError(name, name="onnxruntime")

    for load_module, why in (
        (nothing, r'pip install "onnxpipe\[cpu\]".*"onnxpipe\[gpu\]"'),
        (found(__version__="1.30.0"), "incomplete"),
        (found(__version__="1.21.3", InferenceSession=object), "too old"),
    ):
        monkeypatch.setattr(runtime.importlib, "import_module", load_module)
        with pytest.raises(MissingDependencyError, match=why):
            runtime.import_onnxruntime.__wrapped__()


def test_one_file_is_loaded_once_for_equal_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "onnx/model.onnx"
    assert load(folder).raw is not load(folder).raw  # it may be written again in this very moment
    os.utime(file, (1, 1))
    first, second, other = load(folder, threads=1), load(folder, threads=1, run_timeout=9), load(folder, threads=2)
    assert first.raw is second.raw is not other.raw
    assert (first.run_timeout, second.run_timeout) == (None, 9)
    with pytest.raises(ValueError, match="threads=True"):
        load(folder, threads=True)
    os.utime(file, (2, 2))
    changed = load(folder, threads=1)
    assert changed.raw is not first.raw
    with monkeypatch.context() as patch:
        patch.setattr(opening.os, "getpid", lambda: -1)  # a fork has none of its parent's threads
        assert load(folder, threads=1).raw is not changed.raw
    left = weakref.ref(first.raw)
    del first, second
    gc.collect()
    assert left() is None


def test_a_small_graph_is_opened_again_for_runs_of_one_thread(folder: Path) -> None:
    file = folder / "onnx/model.onnx"
    os.utime(file, (1, 1))
    session = load(folder, threads=2)
    assert session.beside == 2 and load(folder, threads=1).beside == 1
    narrow = session.narrow()
    assert narrow.beside == 1 and narrow.raw is not session.raw and session.narrow() is narrow
    changed, gone = load(folder, threads=2), load(folder, threads=2)
    os.utime(file, (2, 2))
    assert changed.narrow() is changed  # the file may be another model's now
    file.unlink()
    assert gone.narrow() is gone


def test_a_session_is_copied_and_pickled_by_opening_its_file_again(folder: Path) -> None:
    os.utime(folder / "onnx/model.onnx", (1, 1))
    session = load(folder, threads=1)
    for twin in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session)):  # noqa: S301 - our own
        assert twin.raw is session.raw
        assert (twin.path, twin.inputs, twin.device) == (session.path, session.inputs, session.device)
        for name, values in session.run(FEEDS).items():
            np.testing.assert_array_equal(twin.run(FEEDS)[name], values)
    with pytest.raises(TypeError, match=r"model\.onnx is in memory only"):
        pickle.dumps(Session(Loaded(session.raw), session.path, session.device))


@pytest.mark.parametrize(
    "make",
    [external_folder, lambda folder: write_folder(folder, {"onnx/model.onnx": embedding()})],
    ids=["weights-apart", "one-file"],
)
def test_a_folder_whose_name_is_not_utf8(make: Any, tmp_path: Path) -> None:
    session = load(make(odd_folder(tmp_path)))
    np.testing.assert_array_equal(session.run(FEEDS)["last_hidden_state"][0, 0], weights()[1])
