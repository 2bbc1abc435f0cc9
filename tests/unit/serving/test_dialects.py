"""The shapes of TEI, rerank, KServe v2, OpenAI's audio, and live speech: the answers are the pipelines' own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe import Config, TextToAudioPipeline, pipeline
from unit.audio_files import wav
from unit.fakes import tokenizer
from unit.serving.stubs import b64, client, images, png_bytes, ranker, sentiment, writer
from unit.tasks.test_embedding import folder
from unit.tasks.test_speech_recognition import ctc_pipeline, said

HEADER = "inference-header-content-length"


# -- TEI and rerank ---------------------------------------------------------------------------------------------------
def test_embed(tmp_path: Path) -> None:
    pipe = pipeline("embedding", str(folder(tmp_path, "sentence_embedding")), device="cpu")
    web = client(pipe)
    expected = [vector.tolist() for vector in pipe(["tea cup", "tea"], normalize=True)]
    assert web.post("/embed", json={"inputs": ["tea cup", "tea"]}).json() == expected
    assert web.post("/embed", json={"inputs": "tea cup", "normalize": False}).json() == [[4, 6]]
    assert web.post("/embed", json={"inputs": [3, 4], "truncate": True}).json() == expected[:1]
    empty = web.post("/embed", json={"inputs": ""})
    assert (empty.status_code, empty.json()["error_type"]) == (400, "empty")
    many = web.post("/embed", json={"inputs": ["tea"] * 33})
    assert (many.status_code, many.json()["error_type"]) == (422, "validation")
    wrong = web.post("/embed", json={"inputs": "tea", "normalise": True})
    assert wrong.status_code == 422 and "did you mean 'normalize'" in wrong.json()["error"]
    assert web.post("/rerank", json={"query": "a", "texts": ["b"]}).status_code == 422
    assert web.post("/embed_sparse", json={"inputs": "tea"}).status_code == 422


def test_similarity_and_features(tmp_path: Path) -> None:
    path = str(folder(tmp_path, "last_hidden_state"))
    similar = pipeline("sentence-similarity", str(folder(tmp_path / "s", "sentence_embedding")), device="cpu")
    asked = {"source_sentence": "tea", "sentences": ["cup", "tea"]}
    assert client(similar).post("/similarity", json={"inputs": asked}).json() == similar(asked)
    features = pipeline("feature-extraction", path, device="cpu")
    features.model.per_token = frozenset()
    answer = client(features).post("/embed_all", json={"inputs": "tea"})
    assert answer.json() == [features("tea")[0]]


def test_rerank() -> None:
    pipe, texts = ranker(), ["a b", "hello you", "c"]
    web = client({"r": pipe})
    own = pipe({"query": "what", "documents": texts})
    assert web.post("/rerank", json={"query": "what", "texts": texts}).json() == [
        {"index": each["index"], "score": each["score"]} for each in own
    ]
    raw = web.post("/rerank", json={"query": "what", "texts": texts, "raw_scores": True, "return_text": True}).json()
    assert raw[0] == {
        "index": own[0]["index"], "text": texts[own[0]["index"]],
        "score": pipe({"query": "what", "documents": texts}, function_to_apply="none")[0]["score"],
    }  # fmt: skip
    for path in ("/v1/rerank", "/v2/rerank"):
        answer = web.post(path, json={"model": "r", "query": "what", "documents": texts, "top_n": 2}).json()
        assert set(answer) == {"id", "results", "meta"}
        assert answer["results"] == [{"index": each["index"], "relevance_score": each["score"]} for each in own[:2]]
    documents = [{"text": text} for text in texts]
    answer = web.post("/v1/rerank", json={"query": "what", "documents": documents, "return_documents": True}).json()
    assert answer["results"][0]["document"] == {"text": texts[own[0]["index"]]}
    assert web.post("/v1/rerank", json={"query": "what", "documents": "x"}).status_code == 400
    assert web.post("/rerank", json={"query": "x", "texts": ["a"] * 1000}).status_code == 422


def test_predict_has_teis_shape_where_its_fields_are() -> None:
    pipe = sentiment()
    web = client(pipe)
    every = pipe("hello", top_k=None)
    assert web.post("/predict", json={"inputs": "hello", "truncate": False}).json() == every
    batch = web.post("/predict", json={"inputs": [["hello"], ["a", "b"]]}).json()
    assert batch == [every, pipe({"text": "a", "text_pair": "b"}, top_k=None)]
    raw = web.post("/predict", json={"inputs": ["a", "b"], "raw_scores": True}).json()
    assert raw == pipe({"text": "a", "text_pair": "b"}, top_k=None, function_to_apply="none")
    assert web.post("/predict", json={"inputs": [["a", "b", "c"]]}).status_code == 422


def test_tokens() -> None:
    web = client(writer())
    (tokens,) = web.post("/tokenize", json={"inputs": "abc"}).json()
    assert [(each["text"], each["start"], each["stop"], each["special"]) for each in tokens] == [
        ("a", 0, 1, False), ("b", 1, 2, False), ("c", 2, 3, False)
    ]  # fmt: skip
    ids = [each["id"] for each in tokens]
    assert web.post("/decode", json={"ids": ids}).json() == ["abc"]
    assert web.post("/decode", json={"ids": [ids, ids]}).json() == ["abc", "abc"]
    for bad in (["a"], [10**9], None, [[-1]]):
        assert web.post("/decode", json={"ids": bad}).status_code == 422


# -- KServe v2 --------------------------------------------------------------------------------------------------------
def packed(*values: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each for each in values)


def infer(web: Any, name: str, document: dict[str, Any], blob: bytes | None = None) -> Any:
    head = json.dumps(document).encode()
    headers = {} if blob is None else {HEADER: str(len(head))}
    return web.post(f"/v2/models/{name}/infer", content=head + (blob or b""), headers=headers)


def test_kserve_describes_itself() -> None:
    web = client({"org/s": sentiment()})
    assert web.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert web.get("/v2/health/live").status_code == web.get("/v2/health/ready").status_code == 200
    assert web.get("/v2/models/org%2Fs").json()["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert web.get("/v2/models/org%2Fs/versions/1/ready").json() == {"name": "org/s", "ready": True}
    assert web.get("/v2/models/x/ready").status_code == 404


def test_kserve_in_json_and_in_binary() -> None:
    pipe, texts = sentiment(), ["hello", "a fine day"]
    web, own = client({"s": pipe}), sentiment()(["hello", "a fine day"])
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2]}
    answer = infer(web, "s", {"id": "7", "inputs": [{**tensor, "data": texts}]}).json()
    assert answer["id"] == "7" and answer["model_name"] == "s"
    outputs = {each["name"]: each for each in answer["outputs"]}
    assert outputs["label"]["data"] == [each["label"] for each in own] and outputs["label"]["datatype"] == "BYTES"
    assert np.allclose(outputs["score"]["data"], [each["score"] for each in own])

    blob = packed(*(text.encode() for text in texts))
    asked = {**tensor, "shape": [2, 1], "parameters": {"binary_data_size": len(blob)}}
    answer = infer(web, "s", {"inputs": [asked], "parameters": {"binary_data_output": True}}, blob)
    size = int(answer.headers[HEADER])
    entries = {each["name"]: each for each in json.loads(answer.content[:size])["outputs"]}
    first = entries["label"]["parameters"]["binary_data_size"]
    assert answer.content[size : size + first] == packed(*(each["label"].encode() for each in own))
    scores = np.frombuffer(answer.content[size + first :], "<f4")
    assert np.array_equal(scores, np.array([each["score"] for each in own], np.float32))

    wanted = [{"name": "score", "parameters": {"binary_data": True}}]
    only = infer(web, "s", {"inputs": [{**tensor, "data": texts}], "outputs": wanted})
    assert len(only.content) - int(only.headers[HEADER]) == 8
    ranked = infer(web, "s", {"inputs": [{**tensor, "data": texts}], "parameters": {"top_k": 2}}).json()["outputs"]
    assert [json.loads(each) for each in ranked[0]["data"]] == pipe(texts, top_k=2)


def test_kserve_images_vectors_and_graphs(tmp_path: Path) -> None:
    pipe, data = images(), png_bytes()
    web = client({"i": pipe})
    blob = packed(data)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    sent = infer(web, "i", {"inputs": [{**tensor, "parameters": {"binary_data_size": len(blob)}}]}, blob).json()
    written = infer(web, "i", {"inputs": [{**tensor, "data": [b64(data)]}]}).json()
    assert json.loads(sent["outputs"][0]["data"][0]) == json.loads(written["outputs"][0]["data"][0]) == pipe(data)

    embed = pipeline("embedding", str(folder(tmp_path, "sentence_embedding")), device="cpu")
    web = client({"e": embed})
    answer = infer(
        web, "e", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["tea cup"]}]}
    ).json()
    assert answer["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [1, 2], "data": [4, 6]}]
    ids = {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "data": [[3, 4]]}
    assert infer(web, "e-graph", {"inputs": [ids]}).json()["outputs"][0]["data"] == [4, 6]
    assert web.get("/v2/models/e-graph").json()["inputs"][0]["datatype"] == "INT64"
    for bad in ({**ids, "name": "x"}, {**ids, "shape": [3]}, {**ids, "datatype": "FP32"}, {**ids, "data": [["a"]]}):
        assert infer(web, "e-graph", {"inputs": [bad]}).status_code == 400


@pytest.mark.parametrize(
    ("tensor", "blob"),
    [
        ({"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 99}}, b"abc"),
        (
            {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 4}},
            b"\xff\xff\xff\xff",
        ),
        (
            {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 5}},
            b"\x01\x00\x00\x00a",
        ),
        ({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}, b"rest"),
        ({"name": "text", "datatype": "BYTES", "shape": [-1], "data": ["a"]}, b""),
        ({"name": "text", "datatype": "BYTES", "shape": [2**40], "data": ["a"]}, b""),
        ({"name": "text", "datatype": "STRING", "shape": [1], "data": ["a"]}, b""),
        ({"name": "text", "datatype": "BYTES", "shape": [1], "data": [1]}, b""),
        ({"name": "txt", "datatype": "BYTES", "shape": [1], "data": ["a"]}, b""),
        ({"name": "text", "datatype": "INT64", "shape": [1], "data": [1]}, b""),
        ({"name": "text", "datatype": "BYTES", "shape": [1], "path": "/etc/passwd"}, b""),
        ("text", b""),
    ],
    ids=range(12),
)
def test_kserve_refuses(tensor: Any, blob: bytes) -> None:
    answer = infer(client({"s": sentiment()}), "s", {"inputs": [tensor]}, blob)
    assert answer.status_code == 400 and isinstance(answer.json()["error"], str)


# -- OpenAI's audio, and live speech ----------------------------------------------------------------------------------
def test_transcriptions(tmp_path: Path) -> None:
    pipe, data = ctc_pipeline(tmp_path), wav(said("hello world"))
    web = client({"asr": pipe})

    def transcribe(path: str = "transcriptions", **fields: Any) -> Any:
        return web.post(f"/v1/audio/{path}", files={"file": ("a.wav", data)}, data={"model": "asr", **fields})

    assert transcribe().json() == {"text": "hello world"}
    assert transcribe(response_format="text").text == "hello world\n"
    own = pipe(data, return_timestamps="word")
    whole = transcribe(response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]}).json()
    assert [each["word"] for each in whole["words"]] == ["hello", "world"]
    assert [(each["start"], each["end"]) for each in whole["words"]] == [each["timestamp"] for each in own["chunks"]]
    assert whole["duration"] == pytest.approx(len(said("hello world")) / 16_000)
    assert {"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio"} < set(
        whole["segments"][0]
    )
    assert "00:00:00,000 --> " in transcribe(response_format="srt").text
    assert transcribe(response_format="vtt").text.startswith("WEBVTT")
    events = [json.loads(line[6:]) for line in transcribe(stream="true").text.splitlines() if line.startswith("data: ")]
    assert [each["type"] for each in events] == ["transcript.text.delta", "transcript.text.done"]
    for fields in ({"language": "en"}, {"response_format": "xml"}, {"temperature": "hot"}, {"languag": "en"}):
        assert transcribe(**fields).status_code == 400
    assert transcribe("translations").status_code == 400
    assert web.post("/v1/audio/transcriptions", json={}).status_code == 415
    assert web.post("/v1/audio/transcriptions", data={"model": "asr"}, files={"other": ("a", b"x")}).status_code == 400
    broken = web.post("/v1/audio/transcriptions", files={"file": ("a.wav", b"RIFFxxxx")})
    assert broken.status_code == 400 and broken.json()["error"]["type"] == "invalid_request_error"
    torn = {"content-type": "multipart/form-data; boundary=x"}
    assert web.post("/v1/audio/transcriptions", content=b"--x\r\nabc", headers=torn).status_code == 400


def test_live_speech(tmp_path: Path) -> None:
    samples = np.concatenate([said("hello world"), np.zeros(16_000, np.float32)])
    data = (samples * 32767).astype("<i2").tobytes()
    pipe = ctc_pipeline(tmp_path)
    expected = [text.final for text in pipe.live([data])][-1]
    with client({"asr": pipe}).websocket_connect("/v1/audio/live?step_s=0.5") as socket:
        for start in range(0, len(data), 9_999):
            socket.send_bytes(data[start : start + 9_999])
        socket.send_text("end")
        texts = [socket.receive_json()]
        while not texts[-1]["done"]:
            texts.append(socket.receive_json())
    assert texts[-1]["final"] == expected and texts[-1]["seconds"] == pytest.approx(len(samples) / 16_000)
    with client({"asr": pipe}).websocket_connect("/v1/audio/live?step=1") as socket:
        assert "did you mean 'step_s'" in socket.receive_json()["error"]
    with client({"s": sentiment()}).websocket_connect("/v1/audio/live") as socket:
        assert "/v1/audio/live" in socket.receive_json()["error"]


class Whistle:
    """A model of speech that is none: its samples depend on the text."""

    gives_spectrogram = False
    sampling_rate = 8_000
    name_or_path = "whistle"
    dtype = "float32"
    voices = ("low", "high")

    def __init__(self) -> None:
        self.config = Config({"model_type": "fake"})
        self.device = SimpleNamespace(type="cpu")

    def can_generate(self) -> bool:
        return False

    def encode_text(self, tokenizer: Any, text: str, kwargs: Any, forward_params: Any) -> dict[str, Any]:
        return {"input_ids": np.arange(len(text))}

    def synthesize(self, inputs: Any, *, forward_params: Any, generate_kwargs: Any, seed: int) -> Any:
        loud = 0.25 if forward_params.get("voice") == "low" else 0.5
        return np.full(100 * len(inputs["input_ids"]), loud, np.float32)


def test_speech() -> None:
    soundfile = pytest.importorskip("soundfile")
    web = client({"v": TextToAudioPipeline(Whistle(), tokenizer(), task="text-to-audio")})

    def speak(**fields: Any) -> Any:
        return web.post("/v1/audio/speech", json={"input": "hello", "model": "v", **fields})

    answer = speak(voice="low", response_format="wav")
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert (rate, len(samples), round(float(samples[0]), 2)) == (8_000, 500, 0.25)
    assert answer.headers["content-type"] == "audio/wav"
    assert len(speak(response_format="pcm").content) == 1000
    assert soundfile.info(io.BytesIO(speak(response_format="flac").content)).samplerate == 8_000
    for fields in ({"voice": "alloy"}, {"response_format": "aac"}, {"speed": 9}, {"input": ""}, {"voise": "low"}):
        assert speak(**fields).status_code == 400
    assert web.post("/", json={"inputs": "hello"}).content[:4] == b"RIFF"
    for name, voice, status in (("voice", "low", 200), ("voice", "/etc/passwd", 400), ("history_prompt", 0, 400)):
        body = {"inputs": "hello", "parameters": {"forward_params": {name: voice}}}
        assert web.post("/", json=body).status_code == status
