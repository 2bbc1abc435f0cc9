"""The exporter on tiny random BERTs: what it writes, what it refuses, and that it never leaves half a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from click.testing import CliRunner  # noqa: E402

from odd_names import odd_folder  # noqa: E402
from onnxpipe import pipeline  # noqa: E402
from onnxpipe.bundle.proof import read_golden  # noqa: E402
from onnxpipe.cli import main  # noqa: E402
from onnxpipe.engine import open_session, parse_device  # noqa: E402
from onnxpipe.errors import CertificateError, ExportError, ModelNotFoundError  # noqa: E402
from onnxpipe_export import ExportReport, export, tasks  # noqa: E402
from onnxpipe_export.cases.text import SENTENCES  # noqa: E402
from onnxpipe_export.graphs import encoder  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.tokenizers import convert as tokenizer_module  # noqa: E402
from tolerances import MODEL  # noqa: E402

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def vocabulary() -> list[str]:
    words = sorted({word for sentence in SENTENCES for word in sentence.lower().replace(".", " ").split()})
    letters = [chr(code) for code in range(33, 127)]
    return list(dict.fromkeys([*SPECIAL, *letters, *("##" + letter for letter in letters), *words]))


def make(folder: Path, class_name: str = "BertForSequenceClassification", **options: Any) -> Path:
    """A random checkpoint whose tokenizer is a vocab.txt and nothing else."""
    folder.mkdir(parents=True)
    words = vocabulary()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=72,
        **options,
    )
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("export") / "tiny-bert", num_labels=3)


@pytest.fixture(scope="module")
def report(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny", precision=("fp32", "fp16", "int8"))


def test_files_of_a_bundle(report: ExportReport) -> None:
    names = {path.relative_to(report.folder).as_posix() for path in report.folder.rglob("*") if path.is_file()}
    graphs = {"onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"}
    assert graphs | {"bundle.json", "certificate.json", "golden.npz", "config.json", "tokenizer.json"} <= names
    assert set(report.files) == names - {"bundle.json"}
    assert report.task == "text-classification"
    assert "int8" in str(report)


def test_manifest_names_every_file_with_its_hash(report: ExportReport) -> None:
    manifest = json.loads((report.folder / "bundle.json").read_text())
    assert manifest["format"] == 1
    assert manifest["tasks"] == ["text-classification"]
    assert manifest["source"] == {"model": "tiny-bert", "revision": None}
    assert set(manifest["versions"]) == {"python", "torch", "transformers", "onnx", "onnxruntime"}
    for name, entry in manifest["files"].items():
        content = (report.folder / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for precision, entry in manifest["graphs"]["model"].items():
        assert (report.folder / entry["path"]).is_file(), precision
        assert entry["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]
        assert entry["outputs"] == ["logits"]


def test_certificate(report: ExportReport) -> None:
    certificate = json.loads((report.folder / "certificate.json").read_text())
    assert certificate == report.certificate
    assert certificate["tokenizer"]["mismatches"] == 0
    assert certificate["longest_row"] == 72
    entries = certificate["graphs"]["model"]
    assert set(entries) == {"fp32", "fp16", "int8"}
    assert entries["fp32"]["max_relative_difference"] <= 1e-4
    for precision in ("fp32", "int8"):
        assert entries[precision]["batch_invariance"] <= MODEL
    for entry in entries.values():
        assert entry["passed"] is True
        assert entry["provider"] == "CPUExecutionProvider"
        assert entry["cases"] >= 20


def test_golden_answers_are_the_originals(report: ExportReport, checkpoint: Path) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    session = open_session(report.folder / "onnx/model.onnx", root=report.folder, device=parse_device("cpu"))
    golden = read_golden(report.folder)
    assert 4 <= len(golden) <= 6
    for case in golden:
        with torch.no_grad():
            expected = model(**{name: torch.from_numpy(array.copy()) for name, array in case.inputs.items()}).logits
        np.testing.assert_allclose(case.outputs["logits"], expected.numpy(), atol=MODEL)
        np.testing.assert_allclose(session.run(case.inputs)["logits"], expected.numpy(), atol=MODEL)


def test_no_temporary_folder_stays(report: ExportReport) -> None:
    assert [path.name for path in report.folder.parent.iterdir()] == [report.folder.name]


def test_tokenizer_json_is_built_from_vocab_txt(report: ExportReport, checkpoint: Path) -> None:
    import tokenizers

    assert not (checkpoint / "tokenizer.json").exists()
    alone = tokenizers.Tokenizer.from_file(str(report.folder / "tokenizer.json"))
    original = transformers.AutoTokenizer.from_pretrained(checkpoint)
    assert alone.encode("We love this film!").ids == original("We love this film!")["input_ids"]
    assert alone.truncation is None
    assert alone.padding is None


def test_a_different_tokenizer_is_found(report: ExportReport, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(report.folder / name, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ExportError, match="not split as by the original"):
        tokenizer_module.verify(tokenizer_module.load(checkpoint), checkpoint, tmp_path)


def sabotage(change: Callable[[OnnxGraph], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `change` alter every traced graph."""
    trace = encoder.EncoderExport.trace

    def traced(self: encoder.EncoderExport, path: Path) -> None:
        trace(self, path)
        graph = OnnxGraph.load(path)
        change(graph)
        graph.save(path)

    monkeypatch.setattr(encoder.EncoderExport, "trace", traced)


def change_a_weight(graph: OnnxGraph) -> None:
    tensor = next(one for one in graph.graph.initializer if one.name.endswith("LayerNorm.weight"))
    graph.change_constant(tensor.name, graph.constant(tensor.name) * np.float32(1.01))


def forget_the_mask(graph: OnnxGraph) -> None:
    """As a trace on an example without padding would: the input is there and changes nothing."""
    for node in graph.graph.node:
        if node.op_type == "Cast" and node.input[0] == "attention_mask":
            shape = onnx.helper.make_node("Shape", ["attention_mask"], ["mask_shape"])
            one = onnx.helper.make_tensor("one", onnx.TensorProto.BOOL, [1], [True])
            ones = onnx.helper.make_node("ConstantOfShape", ["mask_shape"], list(node.output), value=one)
            nodes = [new for old in graph.graph.node for new in ([shape, ones] if old is node else [old])]
            graph.set_nodes(nodes)
            return


@pytest.mark.parametrize("change", [change_a_weight, forget_the_mask])
def test_a_wrong_graph_fails_and_leaves_nothing(
    change: Callable[[OnnxGraph], None], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(change, monkeypatch)
    with pytest.raises(CertificateError, match=r"model\.onnx"):
        export(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_older_bundle(
    report: ExportReport, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(report.folder, tmp_path / "out")
    before = (tmp_path / "out/bundle.json").read_bytes()
    sabotage(change_a_weight, monkeypatch)
    with pytest.raises(CertificateError):
        export(checkpoint, tmp_path / "out")
    assert (tmp_path / "out/bundle.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_export_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_replaced(report: ExportReport, checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(report.folder, tmp_path / "out")
    lines: list[str] = []
    again = export(str(checkpoint), str(tmp_path / "out"), task="sentiment-analysis", progress=lines.append)
    assert not (tmp_path / "out/onnx/model_int8.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert again.folder == tmp_path / "out"
    assert "writing" in lines


def test_a_folder_that_is_not_ours_is_not_touched(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match="not empty"):
        export(checkpoint, tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="not a folder"):
        export(checkpoint, tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"letter.txt", "file"}


def test_only_int8(checkpoint: Path, tmp_path: Path) -> None:
    report = export(checkpoint, tmp_path / "out", precision="int8")
    assert [path.name for path in (report.folder / "onnx").iterdir()] == ["model_int8.onnx"]


def test_a_head_that_the_checkpoint_lacks(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"missing qa_outputs\.bias, qa_outputs\.weight"):
        export(checkpoint, tmp_path / "out", task="question-answering")
    assert list(tmp_path.iterdir()) == []


def test_a_base_model_without_pooler(tmp_path: Path) -> None:
    source = make(tmp_path / "masked", "BertForMaskedLM")
    report = export(source, tmp_path / "out", task="feature-extraction")
    manifest = json.loads((report.folder / "bundle.json").read_text())
    assert manifest["graphs"]["model"]["fp32"]["outputs"] == ["last_hidden_state"]


def test_unknown_things(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="unknown task"):
        export(checkpoint, tmp_path / "out", task="poetry")
    with pytest.raises(ExportError, match="q4"):
        export(checkpoint, tmp_path / "out", precision="q4")
    with pytest.raises(ModelNotFoundError):
        export(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ModelNotFoundError):
        export("nobody/nothing", tmp_path / "out", local_files_only=True, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("RobertaForTokenClassification", "token-classification"),
        ("DistilBertForQuestionAnswering", "question-answering"),
        ("XLMForQuestionAnsweringSimple", "question-answering"),
        ("BertForMaskedLM", "fill-mask"),
        ("XLMWithLMHeadModel", "fill-mask"),
        ("BertModel", "feature-extraction"),
        ("BertForPreTraining", "feature-extraction"),
    ],
)
def test_task_from_architecture(architecture: str, task: str, tmp_path: Path) -> None:
    assert tasks.resolve(None, SimpleNamespace(architectures=[architecture]), tmp_path).name == task


def test_task_that_nothing_names(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot tell the task of .*no pipeline"):
        tasks.resolve(None, SimpleNamespace(architectures=["WeirdForSomething"]), tmp_path)


def test_tasks_of_the_manifest(tmp_path: Path) -> None:
    def served(task: str, labels: list[str]) -> list[str]:
        config = SimpleNamespace(num_labels=len(labels), id2label=dict(enumerate(labels)))
        return tasks.manifest_tasks(tasks.TASKS[task], config, tmp_path)

    assert served("text-classification", ["NEG", "POS"]) == ["text-classification"]
    assert served("text-classification", ["contradiction", "Entailment"])[0] == "zero-shot-classification"
    assert served("text-classification", ["LABEL_0"]) == ["text-ranking", "text-classification"]
    assert served("feature-extraction", ["a", "b"]) == ["feature-extraction"]
    (tmp_path / "modules.json").write_text("[]")
    assert served("feature-extraction", ["a", "b"]) == ["sentence-similarity", "embedding", "feature-extraction"]


def test_weights_beside_the_graph(report: ExportReport, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    OnnxGraph.load(report.folder / "onnx/model.onnx").save(tmp_path / "onnx/model.onnx", limit=1000)
    assert (tmp_path / "onnx/model.onnx_data").stat().st_size > 10_000
    session = open_session(tmp_path / "onnx/model.onnx", root=tmp_path, device=parse_device("cpu"))
    case = read_golden(report.folder)[0]
    np.testing.assert_allclose(session.run(case.inputs)["logits"], case.outputs["logits"], atol=MODEL)


def test_folders_whose_names_are_not_utf8(tmp_path: Path) -> None:
    odd = odd_folder(tmp_path)
    report = export(
        make(tmp_path / "plain").rename(odd / os.fsdecode(b"m\xff")), odd / "bundle", precision=("fp32", "int8")
    )
    assert report.folder == odd / "bundle"
    pipe = pipeline("text-classification", odd / "bundle", device="cpu")
    assert pipe("good")[0]["label"].startswith("LABEL_")
    assert json.loads((odd / "bundle/bundle.json").read_text("utf-8"))["source"]["model"] == os.fsdecode(b"m\xff")
    verified = CliRunner().invoke(main, ["verify", str(odd / "bundle")])
    assert verified.exit_code == 0
    (odd / "empty").mkdir()
    result = CliRunner().invoke(main, ["run", "text-classification", "-m", str(odd / "empty"), "good"])
    assert result.exit_code == 1
    assert "error: " in result.stderr
