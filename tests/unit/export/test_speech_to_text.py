"""Export of speech encoder-decoders: graphs, their answers, precisions, and the tokenizer of Speech2Text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxpipe_export.tracing")

import onnx  # noqa: E402

from onnxpipe import AutoTokenizer  # noqa: E402
from onnxpipe.engine import Session  # noqa: E402
from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export import tasks  # noqa: E402
from onnxpipe_export.cases import audio as audio_cases  # noqa: E402
from onnxpipe_export.checkpoint import Checkpoint  # noqa: E402
from onnxpipe_export.graphs.seq2seq import speech as speech_seq2seq  # noqa: E402
from onnxpipe_export.graphs.seq2seq import speech_patches as speech_families  # noqa: E402
from onnxpipe_export.tokenizers import convert as tokenizer  # noqa: E402
from tolerances import MODEL, SUM  # noqa: E402
from unit.export.graphs import open_bundle_graph  # noqa: E402
from zoo.audio import speech_text_tokenizers  # noqa: E402
from zoo.audio.speech_text_models import FAMILIES, TASK  # noqa: E402
from zoo.cache import cached_bundle, cached_model  # noqa: E402
from zoo.text.synthetic_tokenizer import to_json  # noqa: E402

_WHISPERS = tuple(name for name in FAMILIES if name.startswith("whisper"))


def original(family: str) -> Any:
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(cached_model(family, TASK))
    if family in _WHISPERS:  # for its weights; SeamlessM4T v2's plain attention takes masks for numbers
        model.set_attn_implementation("eager")
    return model.eval()


def encoder_feeds(family: str, encoder: Session, lengths: tuple[float, ...] = (1.3, 0.7)) -> dict[str, np.ndarray]:
    extractor = audio_cases.load_extractor(cached_model(family, TASK))
    rate = extractor.sampling_rate
    recordings = [
        audio_cases.synthetic_audio(40 + number, int(seconds * rate), rate) for number, seconds in enumerate(lengths)
    ]
    return audio_cases.extract_features(extractor, recordings, tuple(encoder.inputs))


def first_call(decoder: Session, states: dict[str, np.ndarray], ids: np.ndarray) -> dict[str, np.ndarray]:
    feeds = {"encoder_hidden_states": states["last_hidden_state"], "input_ids": ids}
    feeds["encoder_attention_mask"] = states.get("encoder_attention_mask", np.ones(1))
    feeds["use_cache_branch"] = np.array([False])
    texts = len(states["last_hidden_state"])
    for name, spec in decoder.inputs.items():
        if name.startswith("past_key_values"):
            rows = texts if ".encoder." in name else len(ids)
            feeds[name] = np.zeros((rows, spec.shape[1], 0, spec.shape[3]), np.float32)
    return {name: feeds[name] for name in decoder.inputs}


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_have_the_names_that_others_know(family: str) -> None:
    bundle = cached_bundle(family, TASK)
    encoder, decoder = open_bundle_graph(bundle, "encoder_model"), open_bundle_graph(bundle, "decoder_model_merged")
    layers = {"whisper": 2, "whisper-en": 1, "moonshine": 3}.get(family, 2)
    kinds = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
    caches = [f"{layer}.{kind}" for layer in range(layers) for kind in kinds]
    masked = [] if family in _WHISPERS else ["attention_mask"]
    recording = "input_values" if family == "moonshine" else "input_features"
    assert list(encoder.inputs) == [recording, *masked]
    assert list(encoder.outputs) == ["last_hidden_state", *(f"encoder_{name}" for name in masked)]
    assert list(decoder.inputs) == [*(f"encoder_{name}" for name in masked), "input_ids", "encoder_hidden_states",
                                    *(f"past_key_values.{cache}" for cache in caches), "use_cache_branch"]  # fmt: skip
    weights = [f"cross_attentions.{layer}" for layer in range(layers)] if family in _WHISPERS else []
    presents = [f"present.{cache}" for cache in caches]
    assert list(decoder.outputs) == ["logits", "last_hidden_state", *presents, *weights]
    assert (bundle / "normalizer.json").is_file() == (family in _WHISPERS)  # how English words are spelt
    frames = {"whisper": 300, "whisper-en": 3000}.get(family)
    assert frames is None or encoder.inputs[recording].shape[1:] == (80, frames)
    certificate = json.loads((bundle / "certificate.json").read_text())
    assert certificate["tokenizer"]["mismatches"] == 0
    for search in certificate["generation"]["fp32"]["searches"].values():
        assert search["equal_rows"] + search["near_ties"] == search["rows"] == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_padded_batch_and_its_beams_answer_as_the_original(family: str) -> None:
    bundle, model = cached_bundle(family, TASK), original(family)
    encoder, decoder = open_bundle_graph(bundle, "encoder_model"), open_bundle_graph(bundle, "decoder_model_merged")
    feeds = encoder_feeds(family, encoder)
    states = encoder.run(feeds)
    ids = np.random.default_rng(3).integers(300, 900, (6, 5))  # three beams of each of two
    answer = decoder.run(first_call(decoder, states, ids))
    with torch.inference_mode():
        given = {name: torch.from_numpy(value).repeat_interleave(3, 0) for name, value in feeds.items()}
        expected = model(**given, decoder_input_ids=torch.from_numpy(ids), output_attentions=family in _WHISPERS)
    assert answer["logits"] == pytest.approx(expected.logits.numpy(), abs=2e-4)
    for layer, weights in enumerate(expected.cross_attentions if family in _WHISPERS else ()):
        assert answer[f"cross_attentions.{layer}"] == pytest.approx(weights.numpy(), abs=MODEL)
    assert answer["present.0.encoder.key"].shape[2] == states["last_hidden_state"].shape[1]


@pytest.mark.parametrize("family", ["seamless_m4t", "seamless_m4t_v2", "speech_to_text"])
def test_recordings_may_be_longer_than_the_tables_of_positions(family: str) -> None:
    encoder = open_bundle_graph(cached_bundle(family, TASK), "encoder_model")
    feeds = encoder_feeds(family, encoder, (7.0,))
    positions = getattr(original(family).config, "max_source_positions", None)
    assert family != "seamless_m4t" or feeds["input_features"].shape[1] > positions
    states, _ = speech_seq2seq.run_encoder(original(family), {name: torch.from_numpy(feeds[name]) for name in feeds})
    assert np.abs(encoder.run(feeds)["last_hidden_state"] - states.detach().numpy()).max() < 1e-4


def test_a_step_copies_no_states_and_gives_none_back() -> None:
    bundle = cached_bundle("whisper", TASK)
    encoder, decoder = open_bundle_graph(bundle, "encoder_model"), open_bundle_graph(bundle, "decoder_model_merged")
    states = encoder.run(encoder_feeds("whisper", encoder))
    ids = np.random.default_rng(4).integers(300, 900, (2, 4))
    whole = decoder.run(first_call(decoder, states, ids))
    feeds = first_call(decoder, states, ids[:, :3])
    first = decoder.run(feeds)
    feeds |= {name.replace("present", "past_key_values"): value for name, value in first.items() if "present" in name}
    noise = np.full_like(states["last_hidden_state"], 7.0)  # they are in the cache
    step = decoder.run({**feeds, "input_ids": ids[:, 3:], "encoder_hidden_states": noise,
                        "use_cache_branch": np.array([True])})  # fmt: skip
    assert step["logits"][:, 0] == pytest.approx(whole["logits"][:, 3], abs=MODEL)
    assert step["cross_attentions.1"] == pytest.approx(whole["cross_attentions.1"][:, :, 3:], abs=MODEL)
    assert step["present.0.encoder.key"].shape[2] == 0 and step["present.0.decoder.key"].shape[2] == 4
    graph = onnx.load(bundle / "onnx" / "decoder_model_merged.onnx").graph
    assert "If" not in {node.op_type for node in graph.node}
    assert len(graph.node) < 200
    makers = {output: node for node in graph.node for output in node.output}
    readers = [node.op_type for node in graph.node if "past_key_values.0.encoder.value" in node.input]
    assert "Concat" not in readers and makers["logits"].op_type != "Concat"


def test_words_are_stored_once() -> None:
    model = onnx.load(cached_bundle("whisper", TASK) / "onnx" / "decoder_model_merged.onnx")
    tables = [tensor for tensor in model.graph.initializer if 2600 < max(tensor.dims, default=0) < 2700]
    assert len(tables) == 1


def test_smaller_precisions_are_certified_and_generate() -> None:
    bundle = cached_bundle("whisper", TASK, ("fp32", "fp16", "int8"))
    certificate = json.loads((bundle / "certificate.json").read_text())
    for graph in certificate["graphs"].values():
        assert set(graph) == {"fp32", "fp16", "int8"} and all(entry["passed"] for entry in graph.values())
    assert certificate["generation"]["int8"]["searches"]["beam_4"]["rows"] == 6
    assert certificate["graphs"]["decoder_model_merged"]["int8"]["batch_invariance"] < MODEL
    kinds = {node.op_type for node in onnx.load(bundle / "onnx" / "decoder_model_merged_int8.onnx").graph.node}
    assert {"MatMulNBits", "MatMulIntegerToFloat"} <= kinds  # the latter for all states at once


def test_what_stands_in_while_tracing_is_the_same() -> None:
    from transformers.models.moonshine import modeling_moonshine as moonshine

    draw = np.random.default_rng(0).standard_normal
    query, key = (torch.from_numpy(draw((2, 3, 5, 12)).astype(np.float32)) for _ in range(2))
    angle = torch.from_numpy(draw((1, 5, 5)).astype(np.float32))
    cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
    expected = moonshine.apply_rotary_pos_emb(query, key, cos, sin)
    for mine, other in zip(speech_families.turn_pairs(query, key, cos, sin), expected, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=SUM)

    model = original("moonshine")
    count = model.get_encoder()._get_feat_extract_output_lengths
    with speech_families.traceable(model):
        traced = model.get_encoder()._get_feat_extract_output_lengths
        assert [traced(n) for n in range(900, 40000, 37)] == [count(n) for n in range(900, 40000, 37)]

    encoder = original("seamless_m4t_v2")
    chunks = encoder.get_encoder().encoder
    hidden = torch.zeros(2, 60, 48)
    mask = (torch.arange(60) < torch.tensor([[60], [37]])).long()
    expected = chunks._apply_chunk_attention(mask, hidden)
    with speech_families.traceable(encoder):
        assert torch.equal(chunks._apply_chunk_attention(mask, hidden) == 0, expected)


@pytest.mark.parametrize("variant", ["plain", "capitals", "languages"])
def test_speech_to_text_tokenizer_becomes_one_file(variant: str, tmp_path: Path) -> None:
    languages = ("pt", "fr", "ru", "nl", "ro", "it", "es", "de") if variant == "languages" else ()
    synthetic = speech_text_tokenizers.speech_to_text(languages)
    source, folder = tmp_path / "source", tmp_path / "bundle"
    for place in (source, folder):
        place.mkdir()
        (place / "config.json").write_text('{"model_type": "speech_to_text"}')
    for name, content in synthetic.files.items():
        (source / name).write_bytes(content)
    (source / "tokenizer_config.json").write_bytes(
        to_json({**synthetic.config, "do_upper_case": variant == "capitals"})
    )
    slow = tokenizer.load(source)
    tokenizer.write(slow, source, folder)
    assert tokenizer.verify(slow, source, folder).texts > 100
    (folder / "sentencepiece.bpe.model").unlink()
    ours = AutoTokenizer.from_pretrained(str(folder))
    ids = slow("the city of rome").input_ids
    assert list(ours("the city of rome")["input_ids"]) == ids
    text = ours.decode(ids, skip_special_tokens=True)
    assert text == slow.decode(ids, skip_special_tokens=True)
    assert text.isupper() == (variant == "capitals")


def test_a_model_of_another_build_is_refused(tmp_path: Path) -> None:
    parts = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16}  # fmt: skip
    encoder = transformers.Wav2Vec2Config(**parts, conv_dim=[8] * 7, num_conv_pos_embeddings=8,
                                        num_conv_pos_embedding_groups=2)  # fmt: skip
    decoder = transformers.BertConfig(**parts, is_decoder=True, add_cross_attention=True)
    config = transformers.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.update({"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1})
    model = transformers.SpeechEncoderDecoderModel(config).eval()
    extractor = json.dumps({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000})
    (tmp_path / "preprocessor_config.json").write_text(extractor)
    checkpoint = Checkpoint("s", None, tmp_path, config, tasks.TASKS[TASK], model)
    with pytest.raises(ExportError, match="speech-encoder-decoder"):
        speech_seq2seq.describe(checkpoint)
