"""The clients that people have, against a server of ours: what they parse is the pipeline's own answer."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxpipe import TextToAudioPipeline, pipeline
from unit.audio_files import wav
from unit.fakes import tokenizer
from unit.serving.stubs import images, png_bytes, ranker, sentiment, writer, zero_shot
from unit.serving.test_dialects import Whistle
from unit.tasks.test_embedding import folder
from unit.tasks.test_speech_recognition import ctc_pipeline, said

CHAT: list[Any] = [{"role": "user", "content": "hi"}]
GREEDY = {"do_sample": False, "max_new_tokens": 12}
SPEECH = wav(said("hello world"))


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("clients")
    embed = str(folder(root / "embed", "sentence_embedding"))
    features = pipeline("feature-extraction", str(folder(root / "features", "last_hidden_state")), device="cpu")
    features.model.per_token = frozenset()
    return {
        "s": sentiment(), "z": zero_shot(), "w": writer(), "r": ranker(), "i": images(),
        "e": pipeline("embedding", embed, device="cpu"), "m": pipeline("sentence-similarity", embed, device="cpu"),
        "f": features, "a": ctc_pipeline(root), "v": TextToAudioPipeline(Whistle(), tokenizer(), task="text-to-audio"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def url(pipes: dict[str, Any]) -> Iterator[str]:
    """A server on a port of its own; connections wait in the socket until it has started."""
    uvicorn = pytest.importorskip("uvicorn")
    from onnxpipe.serving import app

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app(pipes, keys=("secret",)), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def written(pipes: dict[str, Any], value: Any, **options: Any) -> str:
    return str(pipes["w"](value, return_full_text=False, **{**GREEDY, **options})[0]["generated_text"])


# -- openai -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def openai(url: str) -> Any:
    return pytest.importorskip("openai").OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0)


def test_openai_models(openai: Any, pipes: dict[str, Any]) -> None:
    assert {model.id for model in openai.models.list()} == set(pipes)
    assert openai.models.retrieve("w").owned_by == "onnxpipe"


def test_openai_chats(openai: Any, pipes: dict[str, Any]) -> None:
    def ask(**fields: Any) -> Any:
        return openai.chat.completions.create(
            model="w", messages=CHAT, max_completion_tokens=12, **{"temperature": 0, **fields}
        )

    answer, own = ask(), written(pipes, CHAT)
    assert answer.choices[0].message.content == own and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    chunks = list(ask(stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == own
    assert chunks[-1].usage.total_tokens == answer.usage.total_tokens
    sampled = ask(temperature=1, n=3, seed=5)
    expected = pipes["w"](CHAT, return_full_text=False, num_return_sequences=3, seed=5, do_sample=True,
                          temperature=1.0, max_new_tokens=12)  # fmt: skip
    assert [choice.message.content for choice in sampled.choices] == [each["generated_text"] for each in expected]
    streamed = [""] * 3
    for chunk in ask(temperature=1, n=3, seed=5, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == [choice.message.content for choice in sampled.choices]
    scores = ask(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert "".join(each.token for each in scores) == own and all(len(each.top_logprobs) == 2 for each in scores)


def test_openai_forms_and_tools(openai: Any) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = openai.chat.completions.create(model="w", messages=CHAT, response_format=form, seed=1, max_tokens=60)
    assert answer.choices[0].message.content.replace(" ", "").replace("\n", "") in ('{"ok":true}', '{"ok":false}')
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    answer = openai.chat.completions.create(
        model="w", messages=CHAT, tools=[tool], tool_choice="required", temperature=0, max_tokens=200
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls[0].function.name == "look"


def test_openai_completions(openai: Any, pipes: dict[str, Any]) -> None:
    own = written(pipes, "once", max_new_tokens=16)
    assert openai.completions.create(model="w", prompt="once", temperature=0).choices[0].text == own
    stream = openai.completions.create(model="w", prompt="once", temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == own


def test_openai_embeddings(openai: Any, pipes: dict[str, Any]) -> None:
    answer = openai.embeddings.create(model="e", input=["tea cup", "tea"])  # the client asks for base64
    assert [each.embedding for each in answer.data] == [vector.tolist() for vector in pipes["e"](["tea cup", "tea"])]


def test_openai_audio(openai: Any, pipes: dict[str, Any]) -> None:
    file = ("speech.wav", io.BytesIO(SPEECH))
    own = pipes["a"](SPEECH)["text"]
    assert openai.audio.transcriptions.create(model="a", file=file).text == own
    said_again = ("speech.wav", io.BytesIO(SPEECH))
    stream = openai.audio.transcriptions.create(model="a", file=said_again, stream=True)
    events = list(stream)
    assert events[-1].type == "transcript.text.done" and events[-1].text == own
    sound = openai.audio.speech.create(model="v", voice="low", input="la", response_format="wav")
    assert sound.read()[:4] == b"RIFF"


def test_openai_faults(openai: Any) -> None:
    errors = pytest.importorskip("openai")
    with pytest.raises(errors.NotFoundError, match="no model 'gpt-4'"):
        openai.chat.completions.create(model="gpt-4", messages=CHAT)
    with pytest.raises(errors.BadRequestError, match="temperature"):
        openai.chat.completions.create(model="w", messages=CHAT, temperature=9)
    with pytest.raises(errors.AuthenticationError):
        openai.with_options(api_key="other").models.list()


# -- huggingface_hub --------------------------------------------------------------------------------------------------
def hub(url: str, name: str) -> Any:
    return pytest.importorskip("huggingface_hub").InferenceClient(model=f"{url}/models/{name}", token="secret")


def test_inference_client_texts(url: str, pipes: dict[str, Any]) -> None:
    (own,) = pipes["s"]("a fine day")
    (got,) = hub(url, "s").text_classification("a fine day")
    assert (got.label, got.score) == (own["label"], own["score"])
    own = pipes["z"]("a text", candidate_labels=["x", "y"])
    pairs = hub(url, "z").zero_shot_classification("a text", ["x", "y"])
    assert [(each.label, each.score) for each in pairs] == list(zip(own["labels"], own["scores"], strict=True))
    asked = {"source_sentence": "tea", "sentences": ["cup", "tea"]}
    assert hub(url, "m").sentence_similarity("tea", ["cup", "tea"]) == pipes["m"](asked)
    assert hub(url, "f").feature_extraction("tea").tolist() == pipes["f"]("tea")
    assert np.array_equal(hub(url, "e").feature_extraction("tea"), pipes["e"]("tea"))


def test_inference_client_writes(url: str, pipes: dict[str, Any]) -> None:
    own = written(pipes, "once")
    client = hub(url, "w")
    assert client.text_generation("once", do_sample=False, max_new_tokens=12, return_full_text=False) == own
    whole = client.text_generation("once", do_sample=False, max_new_tokens=12, details=True)
    assert whole.generated_text == own and whole.details.finish_reason == "length"
    assert "".join(each.text for each in whole.details.tokens) == own
    pieces = client.text_generation("once", do_sample=False, max_new_tokens=12, stream=True)
    assert "".join(pieces) == own
    chats = pytest.importorskip("huggingface_hub").InferenceClient(base_url=f"{url}/v1", api_key="secret")
    answer = chats.chat_completion(CHAT, model="w", temperature=0, max_tokens=12)
    assert answer.choices[0].message.content == written(pipes, CHAT)
    chunks = chats.chat_completion(CHAT, model="w", temperature=0, max_tokens=12, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == written(pipes, CHAT)


def test_inference_client_files(url: str, pipes: dict[str, Any]) -> None:
    data = png_bytes()
    for top in (None, 2):  # as bytes, and in base64 with parameters
        own = pipes["i"](data, **({} if top is None else {"top_k": top}))
        got = hub(url, "i").image_classification(data, top_k=top)
        assert [(each.label, each.score) for each in got] == [(each["label"], each["score"]) for each in own]
    assert hub(url, "a").automatic_speech_recognition(SPEECH).text == pipes["a"](SPEECH)["text"]
    assert hub(url, "v").text_to_speech("la")[:4] == b"RIFF"


# -- tritonclient -----------------------------------------------------------------------------------------------------
def test_tritonclient(url: str, pipes: dict[str, Any]) -> None:
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    headers = {"Authorization": "Bearer secret"}
    assert client.is_server_live(headers) and client.is_server_ready(headers)
    assert client.is_model_ready("s", "", headers)
    assert "binary_tensor_data" in client.get_server_metadata(headers)["extensions"]
    assert client.get_model_metadata("s", "", headers)["inputs"][0]["name"] == "text"

    # the client writes the length of its JSON into the headers that it is given, and leaves it there
    def infer(model: str, name: str, values: list[bytes], binary: bool = True, **parameters: Any) -> Any:
        tensor = triton.InferInput(name, [len(values)], "BYTES")
        tensor.set_data_from_numpy(np.array(values, object), binary_data=binary)
        return client.infer(model, [tensor], headers=dict(headers), parameters=parameters or None)

    texts = ["hello", "a fine day"]
    for binary in (True, False):
        answer, own = infer("s", "text", [text.encode() for text in texts], binary), pipes["s"](texts)
        assert answer.as_numpy("label").tolist() == [each["label"].encode() for each in own]
        assert answer.as_numpy("score").tolist() == pytest.approx([each["score"] for each in own])
    vectors = infer("e", "text", [b"tea cup"], normalize=True).as_numpy("embedding")
    assert np.array_equal(vectors[0], pipes["e"]("tea cup", normalize=True))
    top = infer("i", "image", [png_bytes()], top_k=1).as_numpy("label")
    assert top.tolist() == [pipes["i"](png_bytes())[0]["label"].encode()]
    ids = triton.InferInput("input_ids", [1, 2], "INT64")
    ids.set_data_from_numpy(np.array([[3, 4]], np.int64))
    assert client.infer("e-graph", [ids], headers=dict(headers)).as_numpy("sentence_embedding").tolist() == [[4, 6]]
    with pytest.raises(Exception, match="did you mean 'top_k'"):
        infer("s", "text", [b"x"], top_q=1)
    client.close()


# -- cohere, langchain ------------------------------------------------------------------------------------------------
def test_cohere_ranks(url: str, pipes: dict[str, Any]) -> None:
    cohere = pytest.importorskip("cohere")
    texts = ["a b", "hello you", "c"]
    own = pipes["r"]({"query": "what", "documents": texts})
    for make in (cohere.Client, cohere.ClientV2):
        got = make("secret", base_url=url).rerank(model="r", query="what", documents=texts, top_n=2)
        assert [(each.index, each.relevance_score) for each in got.results] == [
            (each["index"], pytest.approx(each["score"])) for each in own[:2]
        ]


def test_langchain(url: str, pipes: dict[str, Any]) -> None:
    langchain = pytest.importorskip("langchain_openai")
    common: dict[str, Any] = {"base_url": f"{url}/v1", "api_key": "secret"}
    chat = langchain.ChatOpenAI(model="w", temperature=0, max_tokens=12, **common)
    own = written(pipes, CHAT)
    assert chat.invoke("hi").content == own
    assert "".join(chunk.content for chunk in chat.stream("hi")) == own
    embed = langchain.OpenAIEmbeddings(model="e", check_embedding_ctx_length=False, **common)
    assert embed.embed_documents(["tea cup", "tea"]) == [vector.tolist() for vector in pipes["e"](["tea cup", "tea"])]
    assert embed.embed_query("tea") == pipes["e"]("tea").tolist()
