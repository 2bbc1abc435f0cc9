"""Encoder-decoder graphs against PyTorch: first calls, steps, beams that share a text, padding, and every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.engine import Session, open_session, parse_device  # noqa: E402
from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import tasks  # noqa: E402
from onnxpipe_export.checkpoint import Checkpoint  # noqa: E402
from onnxpipe_export.generation_kinds import TextToText  # noqa: E402
from onnxpipe_export.graphs.seq2seq import graph as seq2seq  # noqa: E402
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport  # noqa: E402
from tolerances import MODEL  # noqa: E402
from unit.export.graphs import LetterTokenizer, export_graph, open_graph  # noqa: E402
from zoo.foreign import Kind, make_foreign  # noqa: E402

_SIZES = {"d_model": 32, "vocab_size": 200, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_BART = {**_SIZES, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
         "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 40,
         "decoder_start_token_id": 2}  # fmt: skip
_T5 = {**_SIZES, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "pad_token_id": 0,
       "eos_token_id": 1, "decoder_start_token_id": 0, "relative_attention_num_buckets": 8,
       "relative_attention_max_distance": 20}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bart": ("BartConfig", _BART),
    "mbart": ("MBartConfig", {**_BART, "scale_embedding": True}),
    "pegasus": ("PegasusConfig", {**_BART, "scale_embedding": True, "pad_token_id": 0}),
    "marian": ("MarianConfig", {**_BART, "scale_embedding": True, "activation_function": "swish"}),
    "m2m_100": ("M2M100Config", {**_BART, "scale_embedding": True}),
    "blenderbot": ("BlenderbotConfig", _BART),
    "blenderbot-small": ("BlenderbotSmallConfig", _BART),
    "mvp": ("MvpConfig", _BART),
    "plbart": ("PLBartConfig", _BART),
    "t5": ("T5Config", _T5),
    "mt5": ("MT5Config", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "umt5": ("UMT5Config", _T5),
}


def make(family: str) -> Checkpoint:
    name, options = FAMILIES[family]
    config = getattr(transformers, name)(**options)
    torch.manual_seed(0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15, mean=0.0 if parameter.dim() > 1 else 1.0)
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.normal_(std=0.05)
    return Checkpoint(family, None, Path(family), config, tasks.TASKS["text2text-generation"], model)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_graphs_answer_as_the_original(family: str, tmp_path: Path) -> None:
    checkpoint = make(family)
    words = LetterTokenizer(checkpoint.config.eos_token_id)
    for graph in seq2seq.describe(checkpoint):
        session = open_graph(export_graph(graph, tmp_path))
        assert (tuple(session.inputs), tuple(session.outputs)) == (graph.inputs, graph.outputs)
        for case in graph.cases(words)[:10:3]:
            mask = graph.mask_of(case.feeds)
            answer = session.run(case.feeds)
            for name, expected in graph.reference(case.feeds).items():
                kept = slice(None) if mask is None else mask.astype(bool)
                assert answer[name][kept] == pytest.approx(expected[kept], abs=2e-4), name
        pairs = list(graph.chains(session.run, words))
        assert pairs or graph.name == "encoder_model"
        for expected, got in pairs:  # first call, single tokens, several at once; one beam and four
            assert all(got[name] == pytest.approx(expected[name], abs=2e-4) for name in expected)
        assert graph.invariance(session.run, words) < MODEL


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seq2SeqDecoderExport, Session, Path]:
    folder = tmp_path_factory.mktemp("marian") / "onnx"
    folder.mkdir()
    encoder, decoder = seq2seq.describe(make("marian"))
    export_graph(encoder, folder)
    assert isinstance(decoder, Seq2SeqDecoderExport)
    return decoder, open_graph(export_graph(decoder, folder)), folder


def test_there_is_no_branch_and_no_work_for_the_states_in_a_step(
    marian: tuple[Seq2SeqDecoderExport, Session, Path],
) -> None:
    graph, session, folder = marian
    model = onnx.load(folder / "decoder_model_merged.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert "If" not in kinds
    assert len(kinds) < 200  # for three layers; what a step costs beside its products
    axes = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in model.graph.input}  # fmt: skip
    assert axes["input_ids"] == ["decoder_batch_size", "sequence_length"]
    assert axes["encoder_hidden_states"] == ["batch_size", "encoder_sequence_length", 32]
    assert axes["past_key_values.2.decoder.key"] == ["decoder_batch_size", 4, "past_sequence_length", 8]
    assert axes["past_key_values.2.encoder.value"] == ["batch_size", 4, "encoder_past_sequence_length", 8]
    # in a step the states may be anything of the right shape
    case = graph.cases(LetterTokenizer(2))[-3].feeds
    first = session.run(case)
    later = {**case, **{name.replace("present", "past_key_values"): value for name, value in first.items()},
             "use_cache_branch": np.array([True])}  # fmt: skip
    later = {name: later[name] for name in graph.inputs}
    answers = [
        session.run({**later, "encoder_hidden_states": states * later["encoder_hidden_states"]}) for states in (1, 9)
    ]
    assert all(np.array_equal(answers[0][name], answers[1][name]) for name in graph.outputs)
    assert answers[0]["present.0.encoder.key"].shape == first["present.0.encoder.key"].shape


@pytest.mark.parametrize("precision", ["fp16", "int8", "q4"])
def test_smaller_precisions_run_first_calls_and_steps(
    marian: tuple[Seq2SeqDecoderExport, Session, Path], tmp_path: Path, precision: str
) -> None:
    graph, _, folder = marian
    words = LetterTokenizer(2)
    path = tmp_path / f"decoder_{precision}.onnx"
    calibration = [case.feeds for case in graph.cases(words) if case.calibrates]
    graph.makers[precision](folder / "decoder_model_merged.onnx", path, calibration)
    session = open_session(path, root=tmp_path, device=parse_device("cpu"))
    least = {"fp16": 0.9999, "int8": 0.99, "q4": 0.8}[precision]
    for expected, got in graph.chains(session.run, words):
        a, b = (answer["logits"].reshape(-1, 200).astype(np.float64) for answer in (expected, got))
        cosines = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        assert cosines.mean() > least
    if precision == "int8":  # one scale a row: neighbours do not matter
        assert graph.invariance(session.run, words) < 1e-4


@pytest.mark.parametrize("kind", ["separate", "merged"])
def test_folders_as_others_write_them_generate_the_same(
    marian: tuple[Seq2SeqDecoderExport, Session, Path], tmp_path: Path, kind: Kind
) -> None:
    from onnxpipe import AutoModelForSeq2SeqLM

    graph, _, folder = marian
    model = graph.checkpoint.model
    (folder.parent / "config.json").write_text(json.dumps(model.config.to_dict()))
    model.generation_config.save_pretrained(folder.parent)
    foreign = AutoModelForSeq2SeqLM.from_pretrained(str(make_foreign(kind, folder.parent, tmp_path / kind)))
    ids = np.array([[5, 6, 7, 8, 2], [30, 31, 2, 1, 1]])
    mask = (ids != 1).astype(np.int64)
    for beams in (1, 3):
        options = {"num_beams": beams, "max_new_tokens": 10, "do_sample": False, "pad_token_id": 1}
        expected = model.generate(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), **options)
        found = foreign.generate(input_ids=ids, attention_mask=mask, **options)
        assert np.array_equal(found, expected.numpy())


def test_a_decoder_of_another_build_is_refused() -> None:
    config = transformers.ProphetNetConfig(
        vocab_size=50, hidden_size=32, num_encoder_layers=1, num_decoder_layers=1, num_encoder_attention_heads=4,
        num_decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32,
    )  # fmt: skip
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    checkpoint = Checkpoint("p", None, Path("p"), config, tasks.TASKS["text2text-generation"], model)
    with pytest.raises(ExportError, match=r"prophetnet.*ProphetNetNgramSelfAttention.*bart"):
        seq2seq.describe(checkpoint)


def test_a_decoder_deeper_than_the_encoder_generates() -> None:
    batch = {"input_ids": np.array([[5, 6, 7, 1]]), "attention_mask": np.ones((1, 4), np.int64)}
    options = {"num_beams": 1, "do_sample": False, "max_new_tokens": 5, "min_new_tokens": 5, "pad_token_id": 0}
    assert TextToText(make("t5")).generate(batch, options).shape == (1, 6)
