"""Encoder-decoder models: what their calls take for the encoder's output, its mask, and the decoder's tokens."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle import Config
from onnxpipe.engine import Device
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.image_to_text.blip import BlipQuestions
from onnxpipe.models.image_to_text.model import ImageToText
from onnxpipe.models.seq2seq.base import EncoderDecoder
from onnxpipe.models.seq2seq.graph import Encoded, Seq2SeqGraphs
from onnxpipe.models.seq2seq.model import Seq2SeqLM
from onnxpipe.models.speech_to_text.speech_seq2seq import SpeechSeq2Seq
from onnxpipe.models.vision_encoder import VisionEncoder

TOKENS = np.array([[1, 2, 3], [4, 5, 6]])
IDS = {"input_ids": np.array([[1, 7, 7, 2], [1, 7, 2, 0]])}
PIXELS = {"pixel_values": np.ones((2, 4, 3), np.float32)}
#: An input for each kind of model: all encoders here give four states for each row.
INPUTS: dict[type[EncoderDecoder], dict[str, Any]] = {
    Seq2SeqLM: IDS,
    ImageToText: PIXELS,
    SpeechSeq2Seq: {"input_features": np.ones((2, 4, 3), np.float32)},
    BlipQuestions: IDS | PIXELS,
}
EVERY = pytest.mark.parametrize("kind", INPUTS)


class FakeSession:
    """A graph that counts its runs: states are the number of the run, logits the sums of the states."""

    def __init__(self, *outputs: str, **inputs: tuple[Any, ...]) -> None:
        named = {name.replace("__", "."): shape for name, shape in inputs.items()}
        self.inputs = {name: SimpleNamespace(shape=shape, dtype=np.dtype(np.float32)) for name, shape in named.items()}
        self.outputs = {name.replace("__", "."): SimpleNamespace(shape=("batch", "length", 9)) for name in outputs}
        self.path, self.device, self.runs = Path("graph.onnx"), Device("cpu"), 0

    def fit(self, name: str, value: Any) -> Any:
        return value

    def run(self, feeds: dict[str, Any], outputs: Any = None) -> dict[str, Any]:
        self.runs += 1
        if "logits" in self.outputs:
            sums = feeds["encoder_hidden_states"].sum(axis=(1, 2))[:, None, None]
            return {"logits": sums * np.ones((*feeds["input_ids"].shape, 9), np.float32)}
        rows = len(next(iter(feeds.values())))
        return {name: np.full((rows, 4, 2), self.runs, np.float32) for name in self.outputs}


def graphs(kind: type[EncoderDecoder], *, masked: bool = True) -> Seq2SeqGraphs:
    caches = {f"past_key_values__0__{part}__key": ("batch", 1, "past", 2) for part in ("decoder", "encoder")}
    mask = {"encoder_attention_mask": ("batch", "length")} if masked else {}
    decoder: Any = FakeSession(
        "logits", "present__0__decoder__key", "present__0__encoder__key",
        input_ids=("batch", "length"), encoder_hidden_states=("batch", "states", 2), **caches, **mask,
    )  # fmt: skip
    encoder: Any = FakeSession("last_hidden_state", **{name: array.shape for name, array in INPUTS[kind].items()})
    return Seq2SeqGraphs(encoder, decoder, decoder, "fp32", Config({}))


def model(kind: type[EncoderDecoder], folder: Path, *, masked: bool = True) -> Any:
    bundle: Any = SimpleNamespace(folder=folder, config=Config({}))
    if kind is not BlipQuestions:
        return kind(bundle, graphs(kind, masked=masked), "M")
    bundle.config = Config({"text_config": {"bos_token_id": 1}})
    vision: Any = FakeSession("image_features", pixel_values=("batch", 4, 3))
    return BlipQuestions(bundle, graphs(kind, masked=masked), "M", VisionEncoder(lambda _: (vision, ""), batched=True))


@EVERY
def test_what_the_encoder_gave_is_taken_in_any_form(kind: type[EncoderDecoder], tmp_path: Path) -> None:
    whole = model(kind, tmp_path)
    first = whole(**INPUTS[kind], decoder_input_ids=TOKENS)
    assert (first.logits == 8).all()
    states = first.encoder_last_hidden_state
    for given in (states, (states,), {"last_hidden_state": states}, whole.encode({"encoder_outputs": states})):
        again = whole(encoder_outputs=given, decoder_input_ids=TOKENS)
        np.testing.assert_array_equal(again.logits, first.logits)
    assert whole.graphs.encoder.runs == 1
    assert whole(encoder_outputs=states, decoder_input_ids=TOKENS, return_dict=False)[0].shape == (2, 3, 9)


@EVERY
def test_what_another_model_s_encoder_gave_is_left_aside(kind: type[EncoderDecoder], tmp_path: Path) -> None:
    whole, other = model(kind, tmp_path), model(kind, tmp_path)
    foreign = other.encode(INPUTS[kind])
    own = whole.encode({**INPUTS[kind], "encoder_outputs": foreign})
    assert isinstance(own, Encoded)
    assert own.owner is whole.graphs
    assert whole.graphs.encoder.runs == 1


@EVERY
def test_the_mask_of_states_has_their_shape(kind: type[EncoderDecoder], tmp_path: Path) -> None:
    states = np.ones((2, 4, 2), np.float32)
    given = {"encoder_outputs": states, "attention_mask": np.array([[1, 1, 1, 0]] * 2)}
    mask = model(kind, tmp_path).encode(given).mask
    assert mask.tolist() == given["attention_mask"].tolist()
    given["attention_mask"] = np.ones((2, 9))  # e.g. of frames, of which a state has several
    with pytest.raises(ValueError, match=r"attention_mask has the shape \(2, 9\); the input has \(2, 4\)"):
        model(kind, tmp_path).encode(given)
    assert model(kind, tmp_path, masked=False).encode(given).mask is None


@EVERY
def test_inputs_that_are_missing_or_do_not_fit(kind: type[EncoderDecoder], tmp_path: Path) -> None:
    whole = model(kind, tmp_path)
    with pytest.raises(ValueError, match="decoder_input_ids must be given"):
        whole(**INPUTS[kind])
    with pytest.raises(ValueError, match=f"{whole.main_input_name} must be given"):
        whole(decoder_input_ids=TOKENS)
    with pytest.raises(ValueError, match="decoder_input_ids has 1 rows and the encoder's input 2"):
        whole.start(TOKENS[:1], INPUTS[kind], max_length=9)
    assert whole.input_names >= {*INPUTS[kind], "encoder_outputs", "decoder_input_ids"}


@pytest.mark.parametrize(("kind", "modality"), [(ImageToText, "images"), (SpeechSeq2Seq, "audio")])
def test_an_encoder_of_something_else_is_refused(kind: type[EncoderDecoder], modality: str, tmp_path: Path) -> None:
    bundle: Any = SimpleNamespace(folder=tmp_path, config=Config({}))
    with pytest.raises(UnsupportedError, match=f"not an encoder of {modality}: its inputs are input_ids"):
        kind(bundle, graphs(Seq2SeqLM), "M")


def test_special_tokens_that_a_config_of_blip_leaves_out(tmp_path: Path) -> None:
    config = model(BlipQuestions, tmp_path).generation_config
    found = (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id)
    assert found == (1, 102, 0), "the first from the file, the others as in transformers.BlipTextConfig()"


def test_questions_need_an_image_each(tmp_path: Path) -> None:
    whole = model(BlipQuestions, tmp_path)
    with pytest.raises(ValueError, match="pixel_values must be given"):
        whole.encode(IDS)
    with pytest.raises(ValueError, match="2 questions and 1 images"):
        whole.encode({**IDS, "pixel_values": PIXELS["pixel_values"][:1]})
    with pytest.raises(ValueError, match=r"input_ids has the shape \(4,\)"):
        whole.encode({**PIXELS, "input_ids": IDS["input_ids"][0]})
