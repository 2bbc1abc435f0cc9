"""The workloads that are timed: a model, the calls of a turn, what is compared first, and who takes part.

Their data are built in, or lie in the folder that ONNXPIPE_TEST_DATA names; a workload without its data is left out.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf import compare
from perf.compare import Quality
from perf.environments import cache
from perf.models import checkpoint

ORIGINAL = "transformers fp32"
Calls = Callable[[], list[list[Any]]]
Reply = dict[str, Any]


def _nothing() -> list[list[Any]]:
    return []


@dataclass(frozen=True)
class Workload:
    """What is timed.

    Attributes:
        name: its name on the command line.
        title: what a turn does.
        task: the function of the peers' modules.
        model: the name of the checkpoint.
        participants: "peer precision", onnxpipe's first.
        calls: the arguments of each call of a turn.
        check: the arguments of the calls whose answers are compared, of the function `checked`.
        follow: prompts with a number of tokens: instead of `check`, what a participant would choose after each token
            that the original chose (the peers' function `forced`).
        quality: compares those answers with the original's.
        alone: the arguments of calls, each with one of the first inputs of `check`, whose answers must be those of the
            list.
        figure: a turn's figure from its reply.
        unit: of the figure.
        more: whether more is better.
        repeat: how often a turn makes its calls.
        kind: "calls"; "cold" for the time from a process's start to its first answer; "size" for that of its files.
        function: the peers' function that is timed, where it is not `call`; by participant.
        keep: whether the figure follows from the answers.
        floor: below this quality no time is believed.
        slack: by how much a peer's quality may be lower to count as equal.
    """

    name: str
    title: str
    task: str
    model: str
    participants: tuple[str, ...]
    calls: Calls
    quality: Callable[[Sequence[Any], Sequence[Any]], Quality] | None = None
    check: Calls = _nothing
    checked: str = "call"
    follow: Calls = _nothing
    alone: Calls = _nothing
    figure: Callable[[Reply], float] = lambda reply: 1000 * statistics.median(reply["seconds"])
    unit: str = "ms"
    more: bool = False
    repeat: int = 1
    kind: str = "calls"
    function: dict[str, str] = field(default_factory=dict)
    keep: bool = False
    floor: float = 0.9
    slack: float = 0.0005


def _seconds(reply: Reply) -> float:
    return float(sum(reply["seconds"]))


def _milliseconds_each(count: int) -> Callable[[Reply], float]:
    return lambda reply: 1000 * _seconds(reply) / count


# -- inputs -----------------------------------------------------------------------------------------------------------
PASSAGES = (
    "How do I run a language model on a small device?",
    "ONNX Runtime executes neural networks on CPUs, GPUs and phones.",
    "Quantised weights make a model four times smaller and often faster.",
    "The recipe calls for two eggs, flour and a pinch of salt.",
    "A container without PyTorch starts in less than a second.",
    "The train to Lyon leaves at nine from platform four.",
    "Embeddings turn sentences into vectors that can be compared.",
    "She painted the fence on a quiet Sunday afternoon.",
    "Edge boxes have little memory, so every megabyte of a dependency counts.",
    "Interest rates were left unchanged by the central bank.",
)
SENTENCE = "How do I run a small language model on an old device?"
"""16 tokens with the first and the last."""
SHORT = "a gorgeous and deeply moving film"
"""9 tokens."""


def mixed_texts(count: int) -> list[str]:
    """Cut texts of 4 to 79 words out of the passages, all different."""
    words = " ".join(PASSAGES).split()
    return [" ".join(words[(i * 13 + j) % len(words)] for j in range(4 + i * 37 % 76)) for i in range(count)]


def _data(*parts: str) -> Path:
    root = os.environ.get("ONNXPIPE_TEST_DATA")
    path = Path(root or "", *parts)
    if not root or not path.exists():
        raise LookupError(f"no data: set ONNXPIPE_TEST_DATA to a folder that has {'/'.join(parts)}")
    return path.resolve()


def _column(file: str, column: str, count: int) -> list[str]:
    rows = [json.loads(line)[column] for line in _data(file).read_text("utf-8").splitlines()[:count]]
    return [" ".join(row) if isinstance(row, list) else row for row in rows]


def _photos(count: int, first: int = 0) -> list[str]:
    found = sorted(path for path in _data("imagenet").iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    return [str(path) for path in found[first : first + count]]


def _scenes() -> list[str]:
    return [str(path) for path in sorted(_data("coco").glob("*.jpg"))[:4]]


def _sentence_pairs() -> list[dict[str, str]]:
    rows = [json.loads(line) for line in _data("multi30k_val_en_fr.jsonl").read_text("utf-8").splitlines()[:64]]
    return sorted(rows, key=lambda row: len(row["en"]))


def _recordings() -> list[str]:
    """Decode the recordings to one channel at 16 kHz, in files of numpy's."""
    import numpy as np
    import soundfile
    import soxr

    folder = cache() / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row in _spoken():
        target = folder / f"{row['file']}.npy"
        if not target.is_file():
            array, rate = soundfile.read(_data("speech", row["file"]), dtype="float32", always_2d=True)
            np.save(target, np.asarray(soxr.resample(array.mean(axis=1), rate, 16_000), np.float32))
        paths.append(str(target))
    return paths


def _spoken() -> list[dict[str, str]]:
    return [json.loads(line) for line in _data("speech", "transcripts.jsonl").read_text("utf-8").splitlines()]


def samples() -> dict[str, list[str]]:
    """Collect what peers calibrate with: none of it is timed."""
    sentences = _column("stsb_dev.jsonl", "sentence1", 450)
    texts = [
        " ".join(sentences[3 * i : 3 * i + 1 + i % 6]) for i in range(150)
    ]  # as short and as long as what is timed
    return {"texts": texts, "images": _photos(32, first=40)}


def _prompt(length: int) -> list[int]:
    """Encode so many tokens of text for the llama."""
    from tokenizers import Tokenizer

    text = " ".join(mixed_texts(20))
    return list(Tokenizer.from_file(str(checkpoint(LLAMA) / "tokenizer.json")).encode(text).ids[:length])


# -- the workloads ----------------------------------------------------------------------------------------------------
OURS = ("onnxpipe int8", "onnxpipe fp32")
ENCODERS = (*OURS, "openvino int8", "openvino bf16", "optimum int8", "fastembed fp32", "ctranslate2 int8", ORIGINAL)
IMAGES = (*OURS, "openvino int8", "openvino bf16", "optimum fp32", ORIGINAL)
DECODERS = (
    "onnxpipe int8", "onnxpipe q4", "onnxpipe fp32", "llama_cpp Q8_0", "llama_cpp Q4_0", "llama_cpp Q4_0-pure",
    "genai int4", "ctranslate2 int8", "optimum fp32", ORIGINAL,
)  # fmt: skip
NEW = 64
LONGEST, BATCH = 80, 16
MINILM, LLAMA, WHISPER = "all-MiniLM-L6-v2", "SmolLM2-135M-Instruct", "whisper-tiny.en"


def _spoken_quality(answers: Sequence[str], wanted: Sequence[str]) -> Quality:
    return compare.transcripts(answers, wanted, [row["text"] for row in _spoken()])


def _translated(answers: Sequence[list[str]], wanted: Sequence[list[str]]) -> Quality:
    texts, others = ([text for batch in batches for text in batch] for batches in (answers, wanted))
    return compare.translations(texts, others, [row["fr"] for row in _sentence_pairs()])


def _batches(beams: int) -> list[list[Any]]:
    texts = [row["en"] for row in _sentence_pairs()]
    return [[texts[i : i + BATCH], beams, LONGEST] for i in range(0, len(texts), BATCH)]


def _first(answers: Sequence[Any], wanted: Sequence[Any]) -> Quality:
    """Compare the lists of the first calls: those of one list."""
    return compare.vectors(answers[0], wanted[0])


def _rate(reply: Reply) -> float:
    return statistics.median((NEW - 1) / answer["rest"] for answer in reply["answers"])


def _to_first(reply: Reply) -> float:
    return 1000 * statistics.median(answer["first"] for answer in reply["answers"])


def _images(name: str, title: str, model: str, count: int, *, listed: bool = False) -> Workload:
    """Classify so many photos, one by one or in a list; they are compared as a list, and some of them alone as well."""
    return Workload(
        name, title, "classify_images", model, IMAGES,
        calls=lambda: [[_photos(count)]] if listed else [[path] for path in _photos(count)],
        figure=_milliseconds_each(count), unit="ms a photo",
        check=lambda: [[_photos(count)]], checked="scores", slack=0.002,
        quality=lambda answers, wanted: compare.scores(answers[0], wanted[0]),
        alone=lambda: [[[path]] for path in _photos(min(count // 2, 8))],
    )  # fmt: skip


WORKLOADS = (
    Workload(
        "minilm", "MiniLM, one sentence of 16 tokens, from text", "embed", MINILM, ENCODERS,
        calls=lambda: [[SENTENCE]], repeat=100,
        check=lambda: [[text] for text in (SENTENCE, *PASSAGES)],
        quality=lambda answers, wanted: compare.vectors([_flat(a) for a in answers], [_flat(a) for a in wanted]),
    ),
    Workload(
        "minilm-400", "MiniLM, a list of 400 texts of 4 to 79 words", "embed", MINILM, ENCODERS,
        calls=lambda: [[mixed_texts(400)]], figure=_seconds, unit="s",
        check=lambda: [[mixed_texts(400)]], quality=_first,
        alone=lambda: [[[text]] for text in mixed_texts(400)[:24]],
    ),
    Workload(
        "cold", "MiniLM, from the start of a process to its first answer", "embed", MINILM,
        (*OURS, "ctranslate2 int8", "openvino int8", "fastembed fp32", "optimum int8", ORIGINAL),
        calls=lambda: [[SENTENCE]], kind="cold", unit="s",
    ),
    Workload(
        "decode", "llama of 135M, tokens a second after 32", "generate", LLAMA, DECODERS,
        calls=lambda: [[_prompt(32), NEW]], figure=_rate, unit="tokens/s", more=True,
        keep=True, follow=lambda: [[_prompt(32), NEW]], quality=compare.tokens, floor=0.5, slack=0.02,
    ),
    Workload(
        "prefill", "llama of 135M, a prompt of 512 tokens to the first new one", "generate", LLAMA, DECODERS,
        calls=lambda: [[_prompt(512), 2]], figure=_to_first,
        keep=True, follow=lambda: [[_prompt(512), 16]], quality=compare.tokens, floor=0.5, slack=0.05,
    ),
    *(
        Workload(
            name, f"opus-mt-en-fr, 64 sentences in batches of 16, {how}", "translate", "opus-mt-en-fr",
            (*OURS, "ctranslate2 int8", "optimum fp32", ORIGINAL),
            calls=lambda beams=beams: _batches(beams), figure=_seconds, unit="s",
            check=lambda beams=beams: _batches(beams), quality=_translated, floor=0.3, slack=0.01,
        )
        for name, how, beams in (("opus-mt", "four beams", 4), ("opus-mt-greedy", "greedy", 1))
    ),
    _images("vit", "ViT-base (random weights), photos one by one", "vit-base", 8),
    _images("resnet", "resnet-50, photos one by one", "resnet-50", 16),
    _images("resnet-list", "resnet-50, a list of 32 photos", "resnet-50", 32, listed=True),
    *(
        Workload(
            name, f"whisper-tiny.en, six recordings (36 s) one by one, {how}", "transcribe", WHISPER,
            (*OURS, "faster_whisper int8", ORIGINAL),
            calls=lambda beams=beams: [[path, beams] for path in _recordings()], figure=_seconds, unit="s",
            check=lambda beams=beams: [[path, beams] for path in _recordings()], quality=_spoken_quality, slack=0.03,
        )
        for name, how, beams in (("whisper", "greedy", 1), ("whisper-beams", "five beams", 5))
    ),
    Workload(
        "size", "llama of 135M, graph and weights (GGUF: with the vocabulary)", "generate", LLAMA, DECODERS,
        calls=_nothing, kind="size", unit="MB",
    ),
    Workload(
        "short-text", "MiniLM fine-tuned on SST-2, `pipe(text)` of 9 tokens beside its bare graph and tokenizer",
        "classify_texts", "minilm-sst2",
        ("onnxpipe int8", "bare int8", "onnxpipe fp32", "bare fp32", ORIGINAL),
        calls=lambda: [[SHORT]], repeat=300, function={"bare int8": "bare", "bare fp32": "bare"},
        check=lambda: [[SHORT]], quality=lambda answers, wanted: compare.labels(answers, wanted),
    ),
    *(
        Workload(
            name, f"the same model, {what} each of 400 texts in a list", "classify_texts", "minilm-sst2", OURS,
            calls=lambda: [[mixed_texts(400)]], unit="µs a row", function=dict.fromkeys(OURS, function), keep=True,
            figure=lambda reply: 1e6 * statistics.median(reply["answers"]),
        )
        for name, what, function in (
            ("tokenizing-a-row", "tokenizing", "tokenizing"),
            ("python-a-row", "Python besides tokenizing for", "besides"),
        )
    ),
    Workload(
        "reviews", "MiniLM fine-tuned on SST-2, a list of 872 reviews", "classify_texts", "minilm-sst2",
        (*OURS, ORIGINAL), calls=lambda: [[_column("sst2_dev.jsonl", "text", 872)]], figure=_seconds, unit="s",
        check=lambda: [[_column("sst2_dev.jsonl", "text", 872)]],
        quality=lambda answers, wanted: compare.labels(answers[0], wanted[0]),
    ),
    Workload(
        "ner", "MiniLM fine-tuned on CoNLL-2003, a list of 400 sentences", "classify_tokens", "minilm-conll",
        (*OURS, ORIGINAL), calls=lambda: [[_column("conll2003_valid.jsonl", "tokens", 400)]], figure=_seconds, unit="s",
        check=lambda: [[_column("conll2003_valid.jsonl", "tokens", 400)]],
        quality=lambda answers, wanted: compare.labels(answers[0], wanted[0]),
    ),
    Workload(
        "deeplab", "mobilenet-v2-deeplab, photos to masks of their size, one by one", "segment_images",
        "mobilenet-v2-deeplab", (*OURS, ORIGINAL),
        calls=lambda: [[[path]] for path in _scenes()], figure=_milliseconds_each(4), unit="ms a photo",
        check=lambda: [[_scenes()]], checked="labels",
        quality=lambda answers, wanted: compare.pixels(answers[0], wanted[0]),
    ),
)  # fmt: skip


def _flat(vector: Any) -> Any:
    return vector[0] if isinstance(vector[0], list) else vector


def bits(participant: str) -> int:
    """Return the bits of a participant's precision: it is compared with peers that have as many or more."""
    precision = participant.split()[1]
    return next(count for start, count in _BITS.items() if precision.startswith(start))


_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8, "Q8": 8, "int4": 4, "q4": 4, "Q4": 4}
