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
