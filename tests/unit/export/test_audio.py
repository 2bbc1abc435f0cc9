"""Export of audio models: inputs and outputs of their graphs, stand-ins for parts of them, and synthetic recordings."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")
import torch

from onnxpipe.bundle import open_bundle
from onnxpipe.bundle.config import Config
from onnxpipe.bundle.layout import side_files
from onnxpipe.bundle.tasks import infer_tasks
from onnxpipe.engine import open_session, parse_device
from onnxpipe.errors import ExportError
from onnxpipe_export import checkpoint, write
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.checkpoint import Checkpoint, HubOptions
from onnxpipe_export.graphs import describe
from onnxpipe_export.graphs.audio import clap
from onnxpipe_export.graphs.audio import patches as audio_module
from onnxpipe_export.graphs.audio.graph import AudioExport
from onnxpipe_export.precision import makers
from tolerances import ELEMENT, LAYER, MODEL, float32
from unit.export.graphs import open_bundle_graph
from zoo.audio.models import MODELS
from zoo.audio.sizes import CLASSES, CTC, FAMILIES, ZERO_SHOT
from zoo.cache import cached_bundle, cached_model

_UNMASKED = {"wav2vec2", "hubert", "wavlm", "sew", "unispeech", "unispeech-sat", "whisper"}
_UNMASKED_INPUTS = {"audio-spectrogram-transformer": ("input_values",), "whisper": ("input_features",)}
_SPECTROGRAMS = {"wav2vec2-bert", "wav2vec2-bert-adapter", "parakeet_ctc"}
_LIKE_OTHERS = ("wav2vec2", "wav2vec2-large", "wavlm-large", "wav2vec2-conformer", "sew-d", "wav2vec2-bert")
"""Families whose graphs are run here; the conformance suite runs all."""


def _inputs(family: str) -> tuple[str, ...]:
    if family in _UNMASKED_INPUTS:
        return _UNMASKED_INPUTS[family]
    recording = "input_features" if family in _SPECTROGRAMS else "input_values"
    return (recording,) if family in _UNMASKED else (recording, "attention_mask")


def _fresh(family: str, task: str) -> Checkpoint:
    return checkpoint.load(str(cached_model(family, task)), task, HubOptions())


_loaded = cache(_fresh)


@cache
def _graph(family: str, task: str) -> AudioExport:
    (graph,) = describe(_loaded(family, task))
    assert isinstance(graph, AudioExport)
    return graph


# Graphs


@pytest.mark.parametrize(("family", "task"), [key for key in MODELS if key[1] != ZERO_SHOT])
def test_a_graph_takes_what_it_should_and_time_is_free(family: str, task: str) -> None:
    graph = _graph(family, task)
    assert graph.inputs == _inputs(family)
    assert graph.outputs == ("logits",)
    fixed = family in _UNMASKED_INPUTS
    for name in graph.inputs:
        assert graph.axes[name][0] == "batch_size"
        assert (len(graph.axes[name]) == 1) == fixed
    assert (1 in graph.axes["logits"]) == (task == CTC)
    assert set(graph.makers) == {"fp32", "fp16", "int8"}


@pytest.mark.parametrize("family", _LIKE_OTHERS)
def test_a_recording_is_answered_the_same_alone_and_padded_among_longer_ones(family: str) -> None:
    graph = _graph(family, CTC)
    session = open_bundle_graph(cached_bundle(family, CTC))
    recordings = [graph.recording(number, length) for number, length in enumerate((0.8, 0.35, 1.23))]
    if "attention_mask" not in graph.inputs:
        recordings = [recording[: len(recordings[1])] for recording in recordings]
    feeds = graph.feeds(recordings)
    together = session.run(feeds)["logits"]
    for row, recording in enumerate(recordings):
        prepared = graph.feeds([recording])
        alone = session.run(prepared)["logits"][0]
        original = graph.reference(prepared)["logits"][0]
        assert np.abs(alone - original).max() < 1e-4 * np.abs(original).max()
        kept = graph.frames(int(prepared["attention_mask"].sum())) if "attention_mask" in graph.inputs else len(alone)
        np.testing.assert_allclose(together[row, :kept], alone[:kept], atol=MODEL)


def test_the_proof_of_a_recogniser_covers_lengths_batches_and_padding() -> None:
    graph = _graph("wav2vec2-large", CTC)
    cases = graph.cases(None)
    lengths = {case.feeds["input_values"].shape[1] for case in cases if case.rows == 1}
    assert len(lengths) > 6
    padded = [case for case in cases if not case.feeds["attention_mask"].all()]
    assert len(padded) == 3
    for case in padded:
        mask = graph.mask_of(case.feeds)
        assert mask is not None
        assert mask.shape == graph.reference(case.feeds)["logits"].shape[:2]
        assert mask.sum(1).tolist() == [graph.frames(int(n)) for n in case.feeds["attention_mask"].sum(1)]
    assert all(case.rows == 1 for case in cases if case.golden)  # a golden case is compared without this mask


def test_a_recogniser_in_half_precision_and_eight_bits_decides_the_same() -> None:
    folder = cached_bundle("wav2vec2-large", CTC, ("fp32", "fp16", "int8"))
    entries = json.loads((folder / "certificate.json").read_text("utf-8"))["graphs"]["model"]
    assert entries["fp32"]["max_relative_difference"] < MODEL
    assert entries["fp16"]["cosine_min"] > 0.9999
    assert entries["int8"]["cosine_mean"] > 0.999
    assert entries["int8"]["decision_agreement"] > 0.98
    assert entries["int8"]["batch_invariance"] < MODEL
    sizes = {name: (folder / "onnx" / f"model{end}.onnx").stat().st_size
             for name, end in (("fp32", ""), ("fp16", "_fp16"), ("int8", "_int8"))}  # fmt: skip
    assert sizes["fp16"] < 0.75 * sizes["fp32"]
    assert sizes["int8"] < sizes["fp32"]


def test_eight_bits_know_that_distances_are_twice_as_many_as_frames(tmp_path: Path) -> None:
    folder = cached_bundle("wav2vec2-conformer", CTC)
    graph = _graph("wav2vec2-conformer", CTC)
    makers.RECORDING["int8"](folder / "onnx" / "model.onnx", tmp_path / "model.onnx", [])
    session = open_session(tmp_path / "model.onnx", root=tmp_path, device=parse_device("cpu"))
    feeds = graph.feeds([graph.recording(0, 0.7), graph.recording(1, 0.7)])
    expected = graph.reference(feeds)["logits"]
    got = session.run(feeds)["logits"]
    assert (got.argmax(-1) == expected.argmax(-1)).mean() > 0.95


# CLAP


def test_audio_and_text_are_two_graphs() -> None:
    folder = cached_bundle("clap-fused", ZERO_SHOT)
    audio, text = open_bundle_graph(folder, "audio_model"), open_bundle_graph(folder, "text_model")
    assert list(audio.inputs) == ["input_features", "is_longer"]
    assert list(audio.outputs) == ["audio_embeds"]
    assert list(text.inputs) == ["input_ids", "attention_mask"]
    assert list(text.outputs) == ["text_embeds", "logit_scale", "logit_bias"]
    original = _loaded("clap-fused", ZERO_SHOT).model
    scale = text.run({"input_ids": np.array([[0, 2]]), "attention_mask": np.array([[1, 1]])})["logit_scale"]
    assert float(scale) == pytest.approx(original.logit_scale_a.exp().item(), rel=ELEMENT)
    plain = next(graph for graph in describe(_loaded("clap", ZERO_SHOT)) if graph.name == "audio_model")
    assert plain.inputs == ("input_features",)


def test_long_recordings_are_fused_and_short_ones_are_not() -> None:
    patches = _loaded("clap-fused", ZERO_SHOT).model.audio_model.audio_encoder.patch_embed
    spectra = torch.randn(4, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    for longer in ([0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]):
        chosen = torch.tensor(longer)[:, None].bool()
        with torch.no_grad():
            expected = patches(spectra, torch.where(chosen)[0])
            got = clap.fuse_whole_and_cuts(patches, {"longer": chosen}, spectra)
        torch.testing.assert_close(got, expected, rtol=0, atol=LAYER)


# What stands in for parts of models


def test_frames_masks_are_those_of_the_original() -> None:
    model = _loaded("wav2vec2-adapter", CTC).model
    mask = (torch.arange(9000)[None] < torch.tensor([9000, 4321, 1000])[:, None]).long()
    for adapted in (None, False):
        frames = int(model._get_feat_extract_output_lengths(torch.tensor(9000), add_adapter=adapted))
        expected = model._get_feature_vector_attention_mask(frames, mask, add_adapter=adapted)
        assert torch.equal(audio_module.frame_mask(model, frames, mask, adapted), expected)


@pytest.mark.parametrize("length", [1, 2, 37])
def test_positions_are_those_of_the_original(length: int) -> None:
    hidden = torch.zeros(2, length, 32)
    relative = _loaded("wav2vec2-conformer", CTC).model.wav2vec2_conformer.encoder.embed_positions
    got = audio_module.relative_positions(audio_module.angle_steps(32), hidden)
    torch.testing.assert_close(got, relative(hidden), rtol=0, atol=float32(length))
    rotary = _loaded("wav2vec2-conformer-rope", CTC).model.wav2vec2_conformer.encoder.embed_positions
    torch.testing.assert_close(
        audio_module.rotary_positions(rotary.inv_freq, hidden), rotary(hidden), rtol=0, atol=float32(length)
    )
    parakeet = _loaded("parakeet_ctc", CTC).model.encoder.encode_positions
    torch.testing.assert_close(
        audio_module.repeated_positions(parakeet.inv_freq, hidden),
        parakeet(hidden),
        rtol=0,
        atol=float32(length),
    )


def test_wavlm_attends_as_the_original() -> None:
    attention = _loaded("wavlm-large", CTC).model.wavlm.encoder.layers[0].attention
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 11, 32, generator=generator)
    bias = torch.randn(3 * attention.num_heads, 11, 11, generator=generator)
    mask = torch.arange(11)[None] < torch.tensor([11, 4, 7])[:, None]
    for given in (None, mask):
        with torch.no_grad():
            expected, _ = attention.torch_multi_head_self_attention(hidden, given, bias)
            got, _ = audio_module.wavlm_attention(attention, hidden, given, bias)
        torch.testing.assert_close(got, expected, rtol=0, atol=LAYER)


@pytest.mark.parametrize(
    "family", ["wav2vec2-conformer", "wav2vec2-adapter", "data2vec-audio", "sew-d", "wavlm-large", "mms"]
)
def test_padding_is_hidden_where_the_original_looks_at_it(family: str) -> None:
    graph = _graph(family, CTC)
    model = graph.checkpoint.model
    recordings = [graph.recording(number, length) for number, length in enumerate((0.6, 0.33, 0.9))]
    feeds = graph.feeds(recordings)
    with torch.no_grad(), audio_module.traceable(model, masked=True):
        together = model(**{name: torch.from_numpy(feeds[name]) for name in graph.inputs}).logits.numpy()
    for row, recording in enumerate(recordings):
        alone = graph.reference(graph.feeds([recording]))["logits"][0]  # the original's
        np.testing.assert_allclose(together[row, : len(alone)], alone, atol=1e-4 * float(np.abs(alone).max()))


def test_a_norm_before_the_kernel_of_positions_hides_padding_too() -> None:
    """distil-hubert's and others' of `conv_pos_batch_norm`, whose norm makes zeros something else."""
    import transformers

    sizes = {**FAMILIES["hubert-large"].sizes, "conv_pos_batch_norm": True, "vocab_size": 32}
    torch.manual_seed(0)
    model = transformers.HubertForCTC(transformers.HubertConfig(**sizes)).eval()
    model.hubert.encoder.pos_conv_embed.batch_norm.running_mean.normal_()
    values = torch.randn(2, 8000)
    mask = torch.ones(2, 8000, dtype=torch.int64)
    mask[0, 5000:] = 0
    with torch.no_grad():
        alone = model(values[:1, :5000], attention_mask=mask[:1, :5000]).logits[0]
        with audio_module.traceable(model, masked=True):
            together = model(values * mask, attention_mask=mask).logits[0]
    torch.testing.assert_close(together[: len(alone)], alone, rtol=0, atol=1e-4)


def test_stand_ins_go_when_the_tracing_is_done() -> None:
    model = _loaded("wav2vec2-conformer", CTC).model
    before = {id(module): dict(vars(module)) for module in model.modules()}
    with audio_module.traceable(model, masked=True):
        assert any(dict(vars(module)) != before[id(module)] for module in model.modules())
    assert all(vars(module).keys() == before[id(module)].keys() for module in model.modules())


def test_weights_of_a_length_and_a_direction_become_one() -> None:
    model = _fresh("wav2vec2", CTC).model
    values = torch.from_numpy(audio_cases.synthetic_audio(0, 4000, 16000))[None]
    with torch.no_grad():
        before = model(values).logits
        audio_module.plain_weights(model)
        torch.testing.assert_close(model(values).logits, before, rtol=0, atol=MODEL)
    assert not any("parametrizations" in name for name, _ in model.named_parameters())


# Synthetic recordings, and the user's


def test_synthetic_recordings_are_the_same_every_time_and_differ_from_each_other() -> None:
    recordings = [audio_cases.synthetic_audio(number, 8000, 16000) for number in range(8)]
    for number, recording in enumerate(recordings):
        assert recording.dtype == np.float32
        assert 0.05 < float(np.abs(recording).max()) <= 1.0
        np.testing.assert_array_equal(recording, audio_cases.synthetic_audio(number, 8000, 16000))
    likeness = np.corrcoef(recordings) - np.eye(len(recordings))
    assert float(np.abs(likeness).max()) < 0.3
    assert audio_cases.synthetic_audio(3, 1, 48000).shape == (1,)
    assert not audio_cases.silence(5).any()


def test_what_an_extractor_draws_is_the_same_and_leaves_the_callers_numbers_alone() -> None:
    extractor = audio_cases.load_extractor(cached_model("clap-fused", ZERO_SHOT))
    long = audio_cases.synthetic_audio(0, 11 * 48000, 48000)
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    rows = [audio_cases.extract_features(extractor, [long], ["input_features", "is_longer"]) for _ in range(2)]
    assert np.random.rand() == expected
    np.testing.assert_array_equal(rows[0]["input_features"], rows[1]["input_features"])
    assert rows[0]["is_longer"].dtype == np.bool_


def test_a_model_without_its_feature_extractor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(ExportError, match=r"preprocessor_config\.json"):
        audio_cases.load_extractor(tmp_path)


def test_the_users_recordings_verify(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "one.wav", audio_cases.synthetic_audio(0, 22050, 22050), 22050)
    soundfile.write(tmp_path / "two.flac", audio_cases.synthetic_audio(2, 16000, 16000), 16000)
    folder = str(cached_model("wav2vec2", CTC))
    (graph,) = describe(checkpoint.load(folder, CTC, HubOptions(), tmp_path))
    own = [case for case in graph.cases(None) if case.feeds["input_values"].shape == (1, 16000)][-2:]
    assert all(case.calibrates for case in own)
    assert own[0].feeds["input_values"].std() == pytest.approx(1.0, abs=1e-2)  # normalised, resampled to 16 kHz


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no recording in"):
        audio_cases.audio_files(tmp_path)
    with pytest.raises(ExportError, match="is not a folder"):
        audio_cases.audio_files(tmp_path / "none")
    (tmp_path / "broken.wav").write_bytes(b"not audio")
    with pytest.raises(ExportError, match=r"broken\.wav"):
        list(audio_cases.user_audio(tmp_path, 16000))


# Files


def test_old_checkpoints_are_read(tmp_path: Path) -> None:
    """facebook/wav2vec2-base-960h has no masked_spec_embed, and weight norms by their old names."""
    from safetensors.torch import load_file, save_file

    source = cached_model("wav2vec2", CTC)
    shutil.copytree(source, tmp_path / "old")
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = load_file(source / "model.safetensors")
    old = {}
    for name, value in weights.items():
        for new, before in names.items():
            name = name.replace(new, before)
        old[name] = value
    assert old.pop("wav2vec2.masked_spec_embed") is not None
    assert any(name.endswith("weight_g") for name in old)
    save_file(old, tmp_path / "old" / "model.safetensors", {"format": "pt"})
    model = checkpoint.load(str(tmp_path / "old"), CTC, HubOptions()).model
    values = torch.from_numpy(audio_cases.synthetic_audio(0, 4000, 16000))[None]
    with torch.no_grad():
        expected = _loaded("wav2vec2", CTC).model(values).logits
        torch.testing.assert_close(model(values).logits, expected, rtol=0, atol=MODEL)


def test_the_language_that_a_checkpoint_holds_is_taken_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    downloads: list[dict[str, Any]] = []

    def download(name: str, **how: Any) -> str:
        downloads.append(how)
        return "."

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint.download("facebook/mms-1b-all", HubOptions(), ("*.safetensors",))
    assert "adapter.*" in downloads[0]["ignore_patterns"]


def test_a_language_model_goes_with_its_recogniser(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "language_model").mkdir(parents=True)
    target.mkdir()
    for name in ("config.json", "alphabet.json", "language_model/attrs.json", "language_model/5gram.bin"):
        (source / name).write_text("{}")
    write.copy_side_files(source, target)
    names = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert names == ["alphabet.json", "config.json", "language_model/5gram.bin", "language_model/attrs.json"]
    assert set(names) <= set(side_files(names, "model"))


@pytest.mark.parametrize(
    ("model_type", "architecture", "task"),
    [
        ("wav2vec2", "Wav2Vec2ForCTC", CTC),
        ("wav2vec2", "Wav2Vec2ForSequenceClassification", CLASSES),
        ("wavlm", "WavLMForSequenceClassification", CLASSES),
        ("audio-spectrogram-transformer", "ASTForAudioClassification", CLASSES),
        ("whisper", "WhisperForAudioClassification", CLASSES),
        ("whisper", "WhisperForConditionalGeneration", CTC),
        ("moonshine", "MoonshineForConditionalGeneration", CTC),
        ("speech_to_text", "Speech2TextForConditionalGeneration", CTC),
        ("seamless_m4t_v2", "SeamlessM4Tv2Model", CTC),
        ("seamless_m4t", "SeamlessM4TForSpeechToText", CTC),
        ("clap", "ClapModel", ZERO_SHOT),
        ("speecht5", "SpeechT5ForTextToSpeech", "text-to-audio"),
        ("vits", "VitsModel", "text-to-audio"),
        ("bark", "BarkModel", "text-to-audio"),
        ("musicgen", "MusicgenForConditionalGeneration", "text-to-audio"),
        ("style_text_to_speech_2", None, "text-to-audio"),
        ("bert", "BertForSequenceClassification", "text-classification"),
    ],
)
def test_a_folder_without_a_manifest_has_a_task(model_type: str, architecture: str | None, task: str) -> None:
    config = Config({"model_type": model_type, "architectures": [architecture] if architecture else []})
    assert infer_tasks(config, False)[0] == task


def test_a_bundle_says_what_it_is_for() -> None:
    assert open_bundle(cached_bundle("wav2vec2-large", CTC)).tasks == (CTC,)
