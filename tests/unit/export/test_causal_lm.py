"""Causal language models on tiny random ones: both kinds of graphs, windows, caches, small weights, whole exports."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.bundle.proof import read_golden  # noqa: E402
from onnxpipe.engine import Session, open_session, parse_device  # noqa: E402
from onnxpipe.errors import CertificateError, ExportError  # noqa: E402
from onnxpipe_export import ExportReport, certify, export, tasks  # noqa: E402
from onnxpipe_export.cases.text import SENTENCES  # noqa: E402
from onnxpipe_export.checkpoint import Checkpoint  # noqa: E402
from onnxpipe_export.graphs import families  # noqa: E402
from onnxpipe_export.graphs.causal_lm import cases as causal_cases  # noqa: E402
from onnxpipe_export.graphs.causal_lm.graph import CausalLMExport, describe  # noqa: E402
from onnxpipe_export.graphs.causal_lm.rotary import find_rotary  # noqa: E402
from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.precision import gptq, nbits  # noqa: E402
from tolerances import MODEL  # noqa: E402
from unit.export.graphs import export_graph, open_graph  # noqa: E402

VOCABULARY = 120
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 64, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip


def random_model(config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4 if "embed" in name else 0.2)
    return model


class Letters:
    """A tokenizer of one token a letter, as far as the cases use one."""

    @property
    def backend_tokenizer(self) -> Letters:
        return self

    def encode(self, text: str) -> Any:
        return SimpleNamespace(ids=[3 + ord(letter) % (VOCABULARY - 3) for letter in text[:24]])


def graph_of(config: Any, folder: Path, attention: Any = "auto") -> CausalLMExport:
    model = random_model(config)
    task = tasks.TASKS["text-generation"]
    return describe(Checkpoint("tiny", None, folder, model.config, task, model), attention)


def llama(**options: Any) -> Any:
    return transformers.LlamaConfig(**{**SHAPE, **options})


CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=48, bos_token_id=1, eos_token_id=2
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, max_position_embeddings=40
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **SHAPE, head_dim=16, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    ),
    "smollm3": lambda: transformers.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0]),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        **{name: value for name, value in SHAPE.items() if name != "num_key_value_heads"}
    ),
    "llama": llama,
}
GQA = {"gpt2", "gemma3", "smollm3", "gpt_neox", "llama"}


@pytest.mark.parametrize("family", CONFIGS)
def test_a_family_is_certified(family: str, tmp_path: Path) -> None:
    graph = graph_of(CONFIGS[family](), tmp_path)
    path = export_graph(graph, tmp_path)
    assert graph.gqa == (family in GQA)
    assert ("GroupQueryAttention" in {node.op_type for node in OnnxGraph.load(path).graph.node}) == graph.gqa
    entry = certify.verify(path, tmp_path, "fp32", certify.run_original(graph, Letters()))
    assert entry["max_relative_difference"] < MODEL
    assert entry["batch_invariance"] < MODEL


def test_the_standard_kind_has_standard_operators_only(tmp_path: Path) -> None:
    graph = graph_of(llama(), tmp_path, "standard")
    path = export_graph(graph, tmp_path)
    assert {node.domain for node in OnnxGraph.load(path).graph.node} <= {"", "ai.onnx"}
    assert certify.verify(path, tmp_path, "fp32", certify.run_original(graph, Letters()))["passed"]


@pytest.mark.parametrize("off", [-1, 1])
def test_a_window_of_another_size_is_found(off: int, tmp_path: Path) -> None:
    graph = graph_of(transformers.MistralConfig(**SHAPE, sliding_window=16), tmp_path)
    path = export_graph(graph, tmp_path)
    reference = certify.run_original(graph, Letters())
    assert certify.verify(path, tmp_path, "fp32", reference)["passed"]
    model = OnnxGraph.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "local_window_size":
                assert attribute.i == 16
                attribute.i += off
    model.save(path)
    with pytest.raises(CertificateError, match="relative difference"):
        certify.verify(path, tmp_path, "fp32", reference)


def test_nodes_of_a_layer(tmp_path: Path) -> None:
    def nodes(layers: int) -> int:
        folder = tmp_path / str(layers)
        folder.mkdir()
        return len(OnnxGraph.load(export_graph(graph_of(llama(num_hidden_layers=layers), folder), folder)).graph.node)

    # 2 norms, queries with keys and values, attention, output, gate with up, Split, Sigmoid, 2 Mul, down
    assert nodes(3) - nodes(2) == 11


@pytest.mark.parametrize("kind", ["gqa", "standard"])
def test_which_logits_are_given(kind: Any, tmp_path: Path) -> None:
    graph = graph_of(llama(), tmp_path, kind)
    session = open_graph(export_graph(graph, tmp_path))
    rows = [np.array([5, 6, 7, 8, 9]), np.array([10]), np.array([11, 12, 13])]
    every = session.run(causal_cases.batch(graph, rows, keep=0))
    assert every["logits"].shape == (3, 5, VOCABULARY)
    assert every["last_hidden_state"].shape == (3, 5, 64)
    last = session.run(causal_cases.batch(graph, rows, keep=1))["logits"]
    assert last.shape == (3, 1, VOCABULARY)
    for row, ids in enumerate(rows):
        end = len(ids) - 1 if kind == "gqa" else 4
        np.testing.assert_array_equal(last[row, 0], every["logits"][row, end])
    three = session.run(causal_cases.batch(graph, rows[:1], keep=3))["logits"]
    np.testing.assert_allclose(three[0], every["logits"][0, 2:], atol=MODEL)


def test_prompts_padded_at_the_left(tmp_path: Path) -> None:
    graph = graph_of(llama(), tmp_path, "gqa")
    session = open_graph(export_graph(graph, tmp_path))
    rows = [np.array([5, 6, 7, 8, 9]), np.array([10]), np.array([11, 12, 13])]
    right, left = (causal_cases.batch(graph, rows, keep=0, side=side) for side in ("right", "left"))
    del left["num_logits_to_keep"]  # as others, who do not know it
    expected, got = session.run(right), session.run(left)
    for name in ("logits", "last_hidden_state"):
        for row, ids in enumerate(rows):
            np.testing.assert_array_equal(got[name][row, 5 - len(ids) :], expected[name][row, : len(ids)])
    assert all(np.array_equal(got[name][1, :, :1], expected[name][1, :, :1]) for name in graph.present)
    left["attention_mask"][0, 2] = 0
    with pytest.raises(RuntimeError, match="no_padding_between_tokens"):
        session.run(left)


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}, 64),
        ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}, 64),
        ({"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 32}, 32),
    ],
)  # fmt: skip
def test_scaled_positions(scaling: dict[str, Any], longest: int, tmp_path: Path) -> None:
    graph = graph_of(llama(rope_parameters={"rope_theta": 1e4, **scaling}), tmp_path)
    assert graph.max_length == longest
    path = export_graph(graph, tmp_path)
    certify.verify(path, tmp_path, "fp32", certify.run_original(graph, Letters()))
    beyond = causal_cases.batch(graph, [np.arange(longest + 40) % 20 + 5], keep=1)
    if scaling["rope_type"] == "dynamic":  # what comes beyond would be turned otherwise
        with pytest.raises(RuntimeError, match="cos_cache"):
            open_graph(path).run(beyond)
    else:  # a rotation goes on, as in the original
        expected = graph.reference(beyond)["logits"]
        np.testing.assert_allclose(open_graph(path).run(beyond)["logits"], expected, atol=1e-4)


def test_positions_that_depend_on_the_length_are_not_frozen(tmp_path: Path) -> None:
    scaling = {"rope_theta": 1e4, "rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 32}
    with pytest.raises(ExportError, match="beyond 32 tokens"):
        graph_of(llama(rope_parameters=scaling), tmp_path, "standard")


def test_attention_with_sinks_is_not_gqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = transformers.GptOssConfig(**SHAPE, head_dim=16, num_local_experts=4, sliding_window=16)
    with pytest.raises(ExportError, match="s_aux"):
        graph_of(config, tmp_path, "gqa").trace(tmp_path / "model.onnx")
    monkeypatch.setattr("onnxpipe_export.graphs.causal_lm.graph.GQA_FAMILIES", families.GQA_FAMILIES | {"gpt_oss"})
    assert not graph_of(config, tmp_path).gqa


def test_which_rotation() -> None:
    half = find_rotary(random_model(llama()))
    assert half is not None
    assert not half.interleaved
    pairs = find_rotary(random_model(transformers.CohereConfig(**SHAPE)))
    assert pairs is not None
    assert pairs.interleaved
    assert find_rotary(random_model(CONFIGS["gpt2"]())) is None


def test_what_models_keep(tmp_path: Path) -> None:
    config = transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1)
    assert graph_of(config, tmp_path / "states").past == ("past_conv.0", "past_ssm.0")
    with pytest.raises(ExportError, match="OpenAIGPTLMHeadModel keeps nothing that a graph can take"):
        graph_of(transformers.OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=4), tmp_path / "gpt")


def test_attention_of_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="auto, standard and gqa"):
        graph_of(llama(), tmp_path, "flash")


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [64, 72])
def test_blocks_are_what_the_kernel_reads(bits: int, width: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((width, 40)).astype(np.float32)
    session, blocks = product(weight, bits, tmp_path)
    activation = random.standard_normal((3, 5, width)).astype(np.float32)
    exact = activation @ nbits.dequantise(blocks, bits, width).T
    got = session.run({"x": activation})["y"]
    # the kernel rounds activations to 8 bits
    assert np.abs(got - exact).max() < 0.02 * np.abs(exact).max()
    assert (nbits.dequantise(blocks, bits, width).T - weight).std() < {4: 0.1, 8: 0.006}[bits]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [96, 192])
def test_blocks_do_not_depend_on_the_batch(bits: int, width: int, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    session, _ = product(random.standard_normal((width, 64)).astype(np.float32), bits, tmp_path)
    rows = random.standard_normal((1, 37, width)).astype(np.float32) * random.uniform(0.01, 100, (1, 37, 1))
    together = session.run({"x": rows})["y"]
    for count in (1, 2, 5, 16):
        for start in (0, 20):
            part = session.run({"x": rows[:, start : start + count]})["y"]
            np.testing.assert_array_equal(part, together[:, start : start + count])


def product(weight: np.ndarray, bits: int, folder: Path) -> tuple[Session, nbits.Blocks]:
    """A graph of one product, quantised, and its weight."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [value("x", onnx.TensorProto.FLOAT, ["b", "s", weight.shape[0]])],
        [value("y", onnx.TensorProto.FLOAT, ["b", "s", weight.shape[1]])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = OnnxGraph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9))
    nbits.quantise(model, bits)
    model.save(folder / "model.onnx")
    return open_graph(folder / "model.onnx"), nbits.quantise_blocks(weight.T, bits)


def test_rounding_that_makes_up_for_itself() -> None:
    random = np.random.default_rng(2)
    hidden = random.standard_normal((400, 12)) @ random.standard_normal((12, 64))
    activations = (hidden + 0.1 * random.standard_normal((400, 64))).astype(np.float32)
    weight = random.standard_normal((48, 64)).astype(np.float32)

    def error(blocks: nbits.Blocks) -> float:
        return float(np.square(activations @ (nbits.dequantise(blocks, 4, 64) - weight).T).mean())

    nearest = error(nbits.quantise_blocks(weight, 4))
    assert error(gptq.quantise_blocks(weight, gptq.factor_of(activations.T @ activations))) < 0.3 * nearest


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("LlamaForCausalLM", "text-generation"),
        ("GPT2LMHeadModel", "text-generation"),
        ("T5ForConditionalGeneration", "text2text-generation"),
        ("MarianMTModel", "text2text-generation"),
        ("ProphetNetForSeq2SeqLM", "text2text-generation"),
        ("XLMWithLMHeadModel", "fill-mask"),
    ],
)
def test_task_from_architecture(architecture: str, task: str, tmp_path: Path) -> None:
    assert tasks.resolve(None, SimpleNamespace(architectures=[architecture]), tmp_path).name == task


@pytest.mark.parametrize("architecture", ["CLIPSegForImageSegmentation", "VitPoseForPoseEstimation"])
def test_classes_that_no_pipeline_takes(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"no pipeline, here or in transformers.*{architecture}.*onnx-community"):
        tasks.resolve(None, SimpleNamespace(architectures=[architecture], model_type="x"), tmp_path)


def test_aliases(tmp_path: Path) -> None:
    for alias in ("summarization", "translation", "translation_en_to_fr", "text2text-generation"):
        assert tasks.resolve(alias, SimpleNamespace(), tmp_path).name == "text2text-generation"
    with pytest.raises(ExportError, match="unknown task"):
        tasks.resolve("translation_en_fr", SimpleNamespace(), tmp_path)


def test_tasks_of_the_manifest(tmp_path: Path) -> None:
    def first(model_type: str) -> str:
        task = tasks.TASKS["text2text-generation"]
        return tasks.manifest_tasks(task, SimpleNamespace(model_type=model_type), tmp_path)[0]

    assert {name: first(name) for name in ("marian", "m2m_100", "t5", "bart")} == {
        "marian": "translation",
        "m2m_100": "translation",
        "t5": "text2text-generation",
        "bart": "summarization",
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with tied embeddings and a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("causal") / "tiny-llama"
    words = sorted({word for text in SENTENCES for word in text.split()})
    names = ["<pad>", "<s>", "</s>", "<unk>", *words]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    random_model(llama(vocab_size=len(names), tie_word_embeddings=True)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def report(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export(checkpoint, tmp_path_factory.mktemp("bundles") / "tiny", precision=("fp32", "fp16"))


def test_a_bundle(report: ExportReport) -> None:
    assert report.task == "text-generation"
    manifest = json.loads((report.folder / "bundle.json").read_text())
    assert manifest["tasks"] == ["text-generation"]
    entry = manifest["graphs"]["model"]["fp32"]
    assert entry["inputs"][:4] == ["input_ids", "attention_mask", "position_ids", "num_logits_to_keep"]
    assert entry["outputs"][:3] == ["logits", "last_hidden_state", "present.0.key"]
    assert (report.folder / "generation_config.json").is_file()
    searches = report.certificate["generation"]["fp32"]["searches"]
    for search in ("greedy", "beam_4"):
        assert searches[search]["rows"] == searches[search]["equal_rows"] + searches[search]["near_ties"] == 8


def test_golden_cases_are_small_and_replay(report: ExportReport) -> None:
    golden = read_golden(report.folder)
    assert 2 <= len(golden) <= 3
    assert (report.folder / "golden.npz").stat().st_size < 200_000
    session = open_graph(report.folder / "onnx/model.onnx")
    for case in golden:
        got = session.run(case.inputs)
        for name, expected in case.outputs.items():
            mask = case.inputs["attention_mask"].astype(bool)
            inside = mask if expected.shape[:2] == mask.shape else np.ones(expected.shape[:2], bool)
            np.testing.assert_allclose(got[name][inside], expected[inside], atol=1e-4)


def test_fp16_has_small_caches(report: ExportReport) -> None:
    session = open_graph(report.folder / "onnx/model_fp16.onnx")
    assert session.inputs["past_key_values.0.key"].dtype == np.float16
    assert session.outputs["present.1.value"].dtype == np.float16
    assert session.outputs["logits"].dtype == session.outputs["last_hidden_state"].dtype == np.float32


def test_weights_beside_the_graph(report: ExportReport, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    OnnxGraph.load(report.folder / "onnx/model.onnx").save(tmp_path / "onnx/model.onnx", limit=1000)
    assert (tmp_path / "onnx/model.onnx_data").stat().st_size > 100_000
    session = open_session(tmp_path / "onnx/model.onnx", root=tmp_path, device=parse_device("cpu"))
    case = read_golden(report.folder)[0]
    np.testing.assert_allclose(session.run(case.inputs)["logits"], case.outputs["logits"], atol=1e-4)


def test_precisions_and_attention_of_other_tasks(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="for text-generation"):
        export(checkpoint, tmp_path / "out", task="feature-extraction", attention="standard")
    with pytest.raises(ExportError, match="q4"):
        export(checkpoint, tmp_path / "out", task="feature-extraction", precision="q4")
    with pytest.raises(ExportError, match="no trained weights"):
        export(checkpoint, tmp_path / "out", task="text-classification")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_traced(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("onnxpipe_export.tracing.trace", fail)
    with pytest.raises(
        ExportError,
        match=r"cannot be exported yet: .*'model' \(AssertionError\)\. Nothing is wrong with the checkpoint",
    ):
        export(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_generates_otherwise_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxpipe.models.causal_lm.model import CausalLM

    generate = CausalLM.generate

    def changed(self: Any, *given: Any, **options: Any) -> Any:
        found = np.array(generate(self, *given, **options))
        found[0, -1] = 3 if found[0, -1] != 3 else 4
        return found

    monkeypatch.setattr(CausalLM, "generate", changed)
    with pytest.raises(CertificateError, match="are not the original's"):
        export(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_shared_vocabulary_is_stored_once(tmp_path: Path) -> None:
    graph = graph_of(llama(vocab_size=1500, tie_word_embeddings=True), tmp_path)
    stored = [tuple(tensor.dims) for tensor in OnnxGraph.load(export_graph(graph, tmp_path)).graph.initializer]
    assert (1500, 64) in stored
    assert (64, 1500) not in stored
