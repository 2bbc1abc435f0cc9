"""The graphs of MusicGen, Bark and EnCodec against PyTorch, part by part."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")

from onnxpipe.engine import Session, open_session, parse_device  # noqa: E402
from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import checkpoint, tasks  # noqa: E402
from onnxpipe_export.graphs import describe  # noqa: E402
from onnxpipe_export.graphs.text_to_audio import encodec  # noqa: E402
from onnxpipe_export.tracing import quiet  # noqa: E402
from tolerances import MODEL  # noqa: E402
from unit.export.graphs import LetterTokenizer, export_graph, open_graph  # noqa: E402
from zoo.audio.music_models import TASK, VOICE  # noqa: E402

Bundles = Callable[..., Path]
Models = Callable[[str, str], Path]

_GRAPHS = {
    "musicgen": ["decoder_model_merged", "encodec_decode", "text_encoder"],
    "musicgen-stereo": ["decoder_model_merged", "encodec_decode", "text_encoder"],
    "bark": ["coarse_acoustics", "encodec_decode", "fine_acoustics", "semantic"],
}


def load(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(str(folder), TASK, checkpoint.HubOptions())


@pytest.mark.parametrize("family", _GRAPHS)
def test_every_graph_is_certified(family: str, bundles: Bundles) -> None:
    folder = bundles(family, TASK)
    certificate = json.loads((folder / "certificate.json").read_text())
    assert sorted(certificate["graphs"]) == _GRAPHS[family]
    for entry in certificate["graphs"].values():
        assert entry["fp32"]["passed"]
        assert entry["fp32"]["max_relative_difference"] < MODEL
        assert entry["fp32"]["batch_invariance"] < MODEL
    assert json.loads((folder / "bundle.json").read_text())["tasks"] == [TASK]
    assert {path.stem for path in (folder / "onnx").iterdir()} == set(_GRAPHS[family])


def test_voices_go_with_bark(bundles: Bundles, models: Models) -> None:
    folder, source = bundles("bark", TASK), models("bark", TASK)
    named = json.loads((folder / "speaker_embeddings_path.json").read_text())[VOICE]
    for path in named.values():
        assert (folder / path).read_bytes() == (source / path).read_bytes()
        assert path in json.loads((folder / "bundle.json").read_text())["files"]


def test_voices_outside_the_folder_are_not_copied(tmp_path: Path) -> None:
    from onnxpipe_export import write

    (tmp_path / "speaker_embeddings_path.json").write_text(json.dumps({"x": {"semantic_prompt": "../../secret.npy"}}))
    with pytest.raises(ExportError, match="leaves the folder"):
        write.copy_side_files(tmp_path, tmp_path / "out")


@pytest.fixture(scope="module")
def musicgen(models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Session, Any]:
    source = load(models("musicgen", TASK))
    graph = next(graph for graph in describe(source) if graph.name == "decoder_model_merged")
    return graph, open_graph(export_graph(graph, tmp_path_factory.mktemp("musicgen"))), source.model


def test_a_step_needs_no_branch_and_nothing_of_the_text(musicgen: tuple[Any, Session, Any]) -> None:
    graph, session, _ = musicgen
    kinds = [node.op_type for node in onnx.load(session.path).graph.node]
    assert "If" not in kinds
    later = next(case.feeds for case in graph.cases(LetterTokenizer(longest=9)) if case.feeds["use_cache_branch"][0])
    other = {**later, "encoder_hidden_states": 7 * later["encoder_hidden_states"]}
    first, second = session.run(later), session.run(other)
    assert all(np.array_equal(first[name], second[name]) for name in graph.outputs)


def test_a_row_of_no_text_attends_to_nothing(musicgen: tuple[Any, Session, Any]) -> None:
    graph, session, _ = musicgen
    feeds = dict(graph.cases(LetterTokenizer(longest=9))[0].feeds)
    feeds["encoder_attention_mask"] = np.zeros_like(feeds["encoder_attention_mask"])
    nothing = {**feeds, "encoder_hidden_states": np.zeros_like(feeds["encoder_hidden_states"])}
    anything = {**feeds, "encoder_hidden_states": np.ones_like(feeds["encoder_hidden_states"])}
    assert np.array_equal(session.run(nothing)["logits"], session.run(anything)["logits"])


def test_positions_go_beyond_the_original_table(musicgen: tuple[Any, Session, Any]) -> None:
    graph, session, model = musicgen
    limit = model.decoder.config.max_position_embeddings
    feeds = dict(graph.cases(LetterTokenizer(longest=9))[0].feeds)
    ids = np.resize(np.arange(60), (4, limit + 5))
    with torch.inference_mode(), quiet():
        expected = model(
            encoder_outputs=(torch.from_numpy(feeds["encoder_hidden_states"]),),
            attention_mask=torch.from_numpy(feeds["encoder_attention_mask"]),
            decoder_input_ids=torch.from_numpy(ids),
        ).logits.numpy()
    assert session.run({**feeds, "input_ids": ids})["logits"] == pytest.approx(expected, abs=1e-4)


Built = dict[str, tuple[Any, Session]]


@pytest.fixture(scope="module")
def bark(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("bark")
    return {
        graph.name: (graph, open_graph(export_graph(graph, folder))) for graph in describe(load(models("bark", TASK)))
    }


def test_causal_stages_attend_by_one_node_a_layer(bark: Built) -> None:
    for name in ("semantic", "coarse_acoustics"):
        session = bark[name][1]
        kinds = [node.op_type for node in onnx.load(session.path).graph.node]
        assert kinds.count("GroupQueryAttention") == 2
        assert ("history_ids" in session.inputs) == (name == "semantic")


def test_heads_of_odd_widths_attend_by_plain_operators(models: Models, tmp_path: Path) -> None:
    source = load(models("bark", TASK))
    config = transformers.BarkSemanticConfig(
        num_layers=1, num_heads=2, hidden_size=12, block_size=300, input_vocab_size=1216, output_vocab_size=112
    )
    with quiet():
        source.model.semantic = transformers.models.bark.modeling_bark.BarkSemanticModel(config).eval()
    graph = describe(source)[0]
    session = open_graph(export_graph(graph, tmp_path))
    assert "GroupQueryAttention" not in [node.op_type for node in onnx.load(session.path).graph.node]
    for case in graph.cases(None)[:7:2]:
        answer = session.run(case.feeds)
        for name, expected in graph.reference(case.feeds).items():
            assert answer[name] == pytest.approx(expected, abs=MODEL), name


@pytest.mark.parametrize("precision", ["fp16", "int8", "q4"])
def test_smaller_precisions_of_every_stage(bark: Built, tmp_path: Path, precision: str) -> None:
    least = {"fp16": 0.9999, "int8": 0.999, "q4": 0.95}[precision]
    for name, (graph, full) in bark.items():
        cases = graph.cases(None)
        path = tmp_path / f"{name}_{precision}.onnx"
        graph.makers[precision](full.path, path, [case.feeds for case in cases if case.calibrates])
        session = open_session(path, root=tmp_path, device=parse_device("cpu"))
        output = graph.outputs[0]
        found = []
        for case in cases[:4]:
            expected = graph.reference(case.feeds)[output]
            a, b = (x.reshape(-1, x.shape[-1]).astype(float) for x in (expected, session.run(case.feeds)[output]))
            found.append(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).mean())
        assert np.mean(found) > least, name


@pytest.mark.parametrize(
    ("causal", "norm"), [(True, "weight_norm"), (False, "weight_norm"), (False, "time_group_norm")]
)
def test_the_codec_decodes_any_number_of_frames(causal: bool, norm: str, tmp_path: Path) -> None:
    config = transformers.EncodecConfig(
        num_filters=2, hidden_size=8, upsampling_ratios=[4, 3], codebook_size=16, target_bandwidths=[8.0],
        use_causal_conv=causal, use_conv_shortcut=causal, norm_type=norm, num_lstm_layers=1, sampling_rate=24_000,
        dilation_growth_rate=3, num_residual_layers=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.EncodecModel(config).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    codes = {frames: np.random.default_rng(frames).integers(0, 16, (1, 2, 1, frames)) for frames in (1, 2, 6, 7, 31)}
    with torch.inference_mode():
        expected = {n: model.decode(torch.from_numpy(c), [None]).audio_values.numpy() for n, c in codes.items()}
    graph = encodec.describe(_of(model), model, 1, 16)
    session = open_graph(export_graph(graph, tmp_path))
    for frames, given in codes.items():
        recording = session.run({"audio_codes": given})["audio_values"]
        assert recording.shape == (2, 1, 12 * frames)
        assert recording == pytest.approx(expected[frames], abs=MODEL)


def test_codecs_that_cannot_be_exported_are_refused() -> None:
    config = transformers.EncodecConfig(num_filters=2, hidden_size=8, codebook_size=16, target_bandwidths=[1.5])
    model = transformers.EncodecModel(config).eval()
    with pytest.raises(ExportError, match="has 5"):
        encodec.describe(_of(model), model, 6, 16)
    model.config.chunk_length_s, model.config.overlap = 1.0, 0.01
    with pytest.raises(ExportError, match="chunk_length_s"):
        encodec.describe(_of(model), model, 1, 16)
    model.config = transformers.MimiConfig()
    with pytest.raises(ExportError, match="mimi"):
        encodec.describe(_of(model), model, 1, 16)


def _of(model: Any) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint("codec", None, Path("codec"), model.config, tasks.TASKS[TASK], model)
