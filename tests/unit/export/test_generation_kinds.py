"""The kinds of generation: which a checkpoint is, and how likely the original finds what it generates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxpipe_export.tracing")

from onnxpipe.bundle import HubOptions  # noqa: E402
from onnxpipe_export import checkpoint, tasks  # noqa: E402
from onnxpipe_export.certify_generation import OriginalOutputs  # noqa: E402
from onnxpipe_export.generation_kinds import (  # noqa: E402
    AudioToText,
    GenerationKind,
    ImageContinuation,
    ImageTextToText,
    ImageToText,
    QuestionAboutImage,
    TextContinuation,
    TextToText,
    kind_of,
)
from onnxpipe_export.graphs import describe  # noqa: E402
from tolerances import MODEL  # noqa: E402
from zoo import task_of  # noqa: E402
from zoo.cache import cached_model  # noqa: E402

KINDS: dict[tuple[str, str], type[GenerationKind]] = {
    ("llama", "causal"): TextContinuation,
    ("t5", "seq2seq"): TextToText,
    ("whisper", "automatic-speech-recognition"): AudioToText,
    ("moonshine", "automatic-speech-recognition"): AudioToText,
    ("speech_to_text", "automatic-speech-recognition"): AudioToText,
    ("seamless_m4t", "automatic-speech-recognition"): AudioToText,
    ("vit-gpt2", "image-to-text"): ImageToText,
    ("pix2struct", "image-to-text"): ImageToText,
    ("git", "image-to-text"): ImageContinuation,
    ("blip", "visual-question-answering"): QuestionAboutImage,
    ("llava", "image-text-to-text"): ImageTextToText,
    ("florence2", "image-text-to-text"): ImageTextToText,
}


class Listed:
    """A kind of generation that gives listed tokens: the second row others in a batch than alone."""

    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=9))
    padding, options = 0, {}

    def __init__(self) -> None:
        self.searches: list[tuple[int, int]] = []

    def batches(self) -> list[dict[str, np.ndarray]]:
        return [{"input_ids": np.array(ids)} for ids in ([[1]], [[2]], [[1], [2]])]

    def prompt_length(self, batch: Any) -> int:
        return 1

    def generate(self, batch: Any, options: Any) -> np.ndarray:
        self.searches.append((options["num_beams"], len(batch["input_ids"])))
        new = {1: [5, 9, 0], 2: [6, 7, 9] if len(batch["input_ids"]) == 1 else [6, 8, 9]}
        return np.array([[first, *new[first]] for (first,) in batch["input_ids"].tolist()])

    def choices(self, inputs: Any, tokens: np.ndarray) -> np.ndarray:
        return np.array([5, 9] if inputs["input_ids"][0, 0] == 1 else [6, 7, 9])


def test_a_row_alone_is_generated_step_by_step_only_where_its_tokens_are_not_those_of_the_batch() -> None:
    kind = Listed()
    outputs = OriginalOutputs(kind)  # type: ignore[arg-type]
    expected = [[[5, 9]], [[6, 7, 9]], [[5, 9], [6, 8, 9]]]
    for search in ("greedy", "beam_4"):
        assert [[row.tolist() for row in rows] for rows in outputs.answers[search]] == expected
    assert sorted(kind.searches) == [(1, 1), (1, 2), (4, 1), (4, 1), (4, 2)]


@pytest.mark.parametrize(("family", "head"), KINDS)
def test_greedy_tokens_are_those_that_the_original_generates(family: str, head: str) -> None:
    source = checkpoint.load(str(cached_model(family, head)), task_of(head), HubOptions())
    describe(source)  # completes the generation config of a BLIP
    kind = kind_of(source)
    assert kind is not None
    outputs = OriginalOutputs(kind)
    for batch, rows in zip(outputs.batches, outputs.answers["greedy"], strict=True):
        generated = outputs.new_tokens(batch, kind.generate(batch, outputs.options("greedy")))
        assert [row.tolist() for row in rows] == [row.tolist() for row in generated]


@pytest.mark.parametrize(("family", "head"), KINDS)
def test_the_original_finds_its_outputs_as_likely_as_it_said_when_it_generated(family: str, head: str) -> None:
    source = checkpoint.load(str(cached_model(family, head)), task_of(head), HubOptions())
    describe(source)  # completes the generation config of a BLIP
    kind = kind_of(source)
    assert type(kind) is KINDS[family, head]
    batches = kind.batches()
    options = {**kind.options, "num_beams": 1, "do_sample": False, "max_new_tokens": 4}
    batch = {name: torch.from_numpy(array) for name, array in batches[-1].items()}
    with torch.inference_mode():
        made: Any = source.model.generate(**batch, **options, output_logits=True, return_dict_in_generate=True)
    generated = kind.generate(batches[-1], options)[:, kind.prompt_length(batches[-1]) :]
    assert np.array_equal(generated, made["sequences"][:, -len(made["logits"]) :])
    for row, whole in enumerate(generated):
        tokens = whole[:2]
        said = [float(torch.log_softmax(logits[row], -1)[token]) for logits, token in zip(made["logits"], tokens)]
        found = kind.log_probabilities(kind.row(batches, len(batches) - 1, row), tokens)
        assert found.tolist() == pytest.approx(said, abs=64 * MODEL)


@pytest.mark.parametrize(
    ("task", "model_type"),
    [("automatic-speech-recognition", "wav2vec2"), ("visual-question-answering", "vilt"), ("fill-mask", "bert")],
)
def test_models_without_a_decoder_generate_nothing(task: str, model_type: str) -> None:
    config = SimpleNamespace(model_type=model_type, is_encoder_decoder=False)
    source: Any = SimpleNamespace(task=tasks.TASKS[task], model=SimpleNamespace(config=config))
    assert kind_of(source) is None
