"""onnxpipe, in a process that can import neither torch nor transformers. It answers from its bundle."""

from __future__ import annotations

import sys
import time
from typing import Any

NAME = PACKAGE = "onnxpipe"
IMAGE_CLASSES = 1000


def _threads(threads: int) -> int | None:
    """None where it would take as many by itself."""
    from onnxpipe.engine.threads import available_threads

    return None if threads == available_threads() else threads


def _pipeline(task: str, model: str, precision: str, threads: int) -> Any:
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import pipeline

    return pipeline(task, model=model, dtype=precision, device="cpu", threads=_threads(threads))


def embed(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to vectors."""
    return {"call": _pipeline("embedding", model, precision, threads)}


def classify_texts(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to labels with scores; `bare` is the same graph and tokenizer without a pipeline around them.

    `tokenizing` gives the seconds a text of the tokenizer, `besides` those in which neither it nor the graph runs.
    """
    pipe = _pipeline("text-classification", model, precision, threads)
    outside = _Outside(pipe)
    return {
        "call": pipe,
        "bare": _Bare(pipe, model),
        "tokenizing": lambda texts: outside(texts)[0],
        "besides": lambda texts: outside(texts)[1],
    }


class _Bare:
    """The pipeline's own session and the tokenizer of its folder, called one after the other."""

    def __init__(self, pipe: Any, model: str) -> None:
        from pathlib import Path

        from tokenizers import Tokenizer

        self._session = pipe.model.session.raw
        self._names = [each.name for each in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(str(Path(model, "tokenizer.json")))
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> Any:
        import numpy as np

        encoded = self._tokenizer.encode(text)
        arrays = {
            "input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids
        }  # fmt: skip
        return self._session.run(None, {name: np.array([arrays[name]], np.int64) for name in self._names})[0]


class _Outside:
    """The seconds a text of a call that its tokenizer takes, and those of everything but tokenizer and graph."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._session = pipe, pipe.model.session
        self._session.beside = 1  # batches that run side by side have a session of their own

    def __call__(self, texts: list[str]) -> tuple[float, float]:
        raw, tokenizer = self._session.raw, self._pipe.tokenizer
        runs, encodings = _Timed(raw), _Timed(tokenizer)
        self._session._session, self._pipe.tokenizer = runs, encodings
        try:
            began = time.perf_counter()
            self._pipe(texts)
            seconds = time.perf_counter() - began
        finally:
            self._session._session, self._pipe.tokenizer = raw, tokenizer
        return encodings.seconds / len(texts), (seconds - encodings.seconds - runs.seconds) / len(texts)


class _Timed:
    """ONNX Runtime's session, or a tokenizer, that adds up the seconds of its runs or calls."""

    def __init__(self, timed: Any) -> None:
        self._timed, self.seconds = timed, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._timed, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._time(self._timed, *arguments, **options)

    def run(self, *arguments: Any) -> Any:
        return self._time(self._timed.run, *arguments)

    def _time(self, function: Any, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            self.seconds += time.perf_counter() - began


def classify_tokens(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Texts to entities."""
    return {"call": _pipeline("token-classification", model, precision, threads)}


def classify_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to labels with scores; `scores` has those of all classes."""
    pipe = _pipeline("image-classification", model, precision, threads)
    return {"call": pipe, "scores": lambda paths: pipe(paths, top_k=IMAGE_CLASSES)}


def segment_images(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Paths of images to masks; `labels` has the label of each pixel."""
    pipe = _pipeline("image-segmentation", model, precision, threads)
    return {"call": lambda paths: [len(one) for one in pipe(paths)], "labels": lambda paths: map_labels(pipe(paths))}


def map_labels(answers: list[list[dict[str, Any]]]) -> list[list[list[str]]]:
    """Write the label of every eighth pixel in both directions."""
    import numpy as np

    maps = []
    for answer in answers:
        labels = np.full(np.asarray(answer[0]["mask"]).shape, "", "U64")
        for segment in answer:
            labels[np.asarray(segment["mask"]) > 0] = segment["label"]
        maps.append(labels[::8, ::8].tolist())
    return maps


class Clock:
    """A streamer that keeps the tokens and notes when each came."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        """Take the prompt first, then every new token."""
        self.times.append(time.perf_counter())
        if len(self.times) > 1:
            self.tokens.append(int(value.reshape(-1)[0]))

    def end(self) -> None:
        """Do nothing: the last token has come."""

    def answer(self, began: float) -> dict[str, Any]:
        """Sum up: the new tokens, the seconds to the first of them, and from the first to the last."""
        return {"tokens": self.tokens, "first": self.times[1] - began, "rest": self.times[-1] - self.times[1]}


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    import numpy as np

    from onnxpipe import AutoModelForCausalLM

    language_model = AutoModelForCausalLM.from_pretrained(
        model, dtype=precision, device="cpu", threads=_threads(threads)
    )

    def call(prompt: list[int], count: int) -> dict[str, Any]:
        clock, began = Clock(), time.perf_counter()
        language_model.generate(
            np.array([prompt]), max_new_tokens=count, min_new_tokens=count, do_sample=False, streamer=clock
        )
        return clock.answer(began)

    def forced(prompt: list[int], text: list[int]) -> list[int]:
        chosen: list[int] = []

        def force(ids: Any, scores: Any) -> Any:
            chosen.append(int(scores[0].argmax()))
            only = np.full_like(scores, -np.inf)
            only[0, text[len(chosen) - 1]] = 0
            return only

        language_model.generate(
            np.array([prompt]), max_new_tokens=len(text), do_sample=False, eos_token_id=-1, logits_processor=[force]
        )
        return chosen

    return {"call": call, "forced": forced}


def translate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A batch of texts to their translations."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    translator = AutoModelForSeq2SeqLM.from_pretrained(model, dtype=precision, device="cpu", threads=_threads(threads))

    def call(texts: list[str], beams: int, longest: int) -> list[str]:
        inputs = tokenizer(texts, padding=True, return_tensors="np")
        rows = translator.generate(**inputs, num_beams=beams, max_length=longest)
        return [str(one) for one in tokenizer.batch_decode(rows, skip_special_tokens=True)]

    return {"call": call}


def transcribe(model: str, precision: str, threads: int) -> dict[str, Any]:
    """A recording, float32 at 16 kHz in a file of numpy's, to its text."""
    import numpy as np

    pipe = _pipeline("automatic-speech-recognition", model, precision, threads)
    return {"call": lambda path, beams: pipe(np.load(path), num_beams=beams)["text"]}
