"""Florence-2 next to transformers: tasks, answers, and the boxes that are read from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import onnxpipe
from onnxpipe.errors import ImageError, UnsupportedError
from onnxpipe.models.auto import AutoModelForImageTextToText
from onnxpipe.processing.auto import AutoProcessor
from onnxpipe.processing.multimodal.florence2_answers import parse
from tolerances import MODEL
from zoo.vision.images import encoded
from zoo.vision_language import HEAD, PRECISIONS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GREEDY: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False}
TASKS = (
    "<OCR>", "<OCR_WITH_REGION>", "<CAPTION>", "<OD>", "<DENSE_REGION_CAPTION>", "<CAPTION_TO_PHRASE_GROUNDING>",
    "<REFERRING_EXPRESSION_SEGMENTATION>", "<REGION_TO_SEGMENTATION>", "<OPEN_VOCABULARY_DETECTION>",
    "<REGION_TO_OCR>", "<REGION_PROPOSAL>",
)  # fmt: skip
KINDS = ("pure_text", "ocr", "description_with_bboxes", "phrase_grounding", "polygons", "bboxes",
         "description_with_bboxes_or_polygons")  # fmt: skip
CONFIG = {kind: {} for kind in KINDS} | {
    "phrase_grounding": {"banned_grounding_tokens": ["it", "the image"]},
    "ocr": {"AREA_THRESHOLD": 0.01},
}


@pytest.fixture(scope="module")
def folder(models: Callable[[str, str], Path]) -> Path:
    return models("florence2", HEAD)


@pytest.fixture(scope="module")
def bundle(bundles: Callable[..., Path]) -> Path:
    return bundles("florence2", HEAD, PRECISIONS)


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers.processing_utils import ProcessorMixin

    with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):
        return transformers.Florence2Processor(
            transformers.CLIPImageProcessorPil.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder),
            post_processor_config=CONFIG,
        )


def image(name: str) -> Image.Image:
    return onnxpipe.load_image(encoded(name)[0])


# -- answers ----------------------------------------------------------------------------------------------------------
PARTS = ("cat", " a dog ", "it", "the image", "café", "<poly>", "</poly>", "<sep>", "<s>", "</s>", "<pad>", "<od>",
         ", ", "<ground>")  # fmt: skip


def answers() -> list[str]:
    """Texts that look like answers, whole and broken."""
    rng = np.random.default_rng(11)
    found = ["", "cat", "<loc_1><loc_2>", "a<loc_0><loc_0><loc_999><loc_999>"]
    for _ in range(150):
        parts = []
        for _ in range(rng.integers(1, 9)):
            parts.append(PARTS[rng.integers(len(PARTS))])
            parts += [f"<loc_{place}>" for place in rng.integers(0, 1000, rng.choice([0, 1, 4, 5, 8, 10]))]
        found.append("".join(parts))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_read_as_there(task: str, theirs: Any) -> None:
    banned, size = CONFIG["phrase_grounding"]["banned_grounding_tokens"], (641, 333)
    places = 0
    for text in answers():
        expected = theirs.post_process_generation(text=text, task=task, image_size=size)[task]
        found = parse(text, task, size, banned=banned, smallest_area=0.01)
        assert found == expected, text
        places += isinstance(found, dict) and any(found.values())
    assert places > 10 or isinstance(found, str)


def test_answers_as_ids(theirs: Any, bundle: Path) -> None:
    processor: Any = AutoProcessor.from_pretrained(bundle)
    text = "<s>cat<loc_5><loc_20><loc_500><loc_999>a dog<loc_1><loc_2><loc_3><loc_4></s>"
    ids = theirs.tokenizer(text, add_special_tokens=False).input_ids
    expected = theirs.post_process_generation(sequence=ids, task="<OD>", image_size=(200, 100))
    assert processor.post_process_generation(sequence=np.array(ids), task="<OD>", image_size=(200, 100)) == expected
    assert expected["<OD>"]["labels"] == ["cat", "a dog"]
    assert processor.post_process_generation(text="<s>A cat.</s>", task="<CAPTION>") == {"<CAPTION>": "A cat."}
    for options in ({"text": text}, {"task": "<OD>"}, {"text": text, "sequence": ids, "task": "<OD>"},
                    {"text": text, "task": "<OD>"}):  # fmt: skip
        with pytest.raises(UnsupportedError):
            processor.post_process_generation(**options)


# -- the model --------------------------------------------------------------------------------------------------------
def test_tokens_are_the_original_s(original: Any, bundle: Path) -> None:
    processor: Any = AutoProcessor.from_pretrained(bundle)
    model = AutoModelForImageTextToText.from_pretrained(bundle, device="cpu")
    alone = processor(images=image("photo"), text="<OD>")
    together = processor(images=[image("photo"), image("wide")], text=["<OD>", "<CAPTION>"], padding=True)
    for features in (alone, together):
        tensors = {name: torch.from_numpy(value) for name, value in features.items()}
        for search in ({}, {"num_beams": 3}):
            with torch.inference_mode():
                expected = original.generate(**tensors, **GREEDY, **search).tolist()
            assert model.generate(**features, **GREEDY, **search).tolist() == expected
    assert model.vision.runs == 2, "an image is encoded once"
    mirrored = {**alone, "pixel_values": np.ascontiguousarray(alone["pixel_values"][..., ::-1])}
    states = model.encode(mirrored).states.numpy(), model.encode(alone).states.numpy()
    assert not np.allclose(*states), "the image decides"


def test_logits_are_the_original_s(original: Any, bundle: Path) -> None:
    processor: Any = AutoProcessor.from_pretrained(bundle)
    model = AutoModelForImageTextToText.from_pretrained(bundle, device="cpu", dtype="fp32")
    features = processor(images=[image("photo"), image("wide")], text=["<OD>", "<CAPTION>"], padding=True)
    given = {**features, "decoder_input_ids": np.array([[2, 0, 7, 11], [2, 0, 12, 5]])}
    with torch.inference_mode():
        expected = original(**{name: torch.from_numpy(value) for name, value in given.items()}).logits.numpy()
    found = model(**given)
    np.testing.assert_allclose(found.logits, expected, rtol=0, atol=MODEL)
    given["encoder_outputs"] = found.encoder_last_hidden_state
    for name in features.keys() - {"attention_mask"}:
        del given[name]
    np.testing.assert_array_equal(model(**given).logits, found.logits)


def test_placeholders_and_features_must_match(bundle: Path) -> None:
    processor: Any = AutoProcessor.from_pretrained(bundle)
    model = AutoModelForImageTextToText.from_pretrained(bundle, device="cpu")
    features = processor(images=image("photo"), text="<OD>")
    with pytest.raises(ImageError, match="tokens: 17, features: 0"):
        model.generate(input_ids=features["input_ids"], **GREEDY)
    with pytest.raises(ImageError, match="tokens: 0, features: 17"):
        model.generate(input_ids=np.array([[5, 6, 7]]), pixel_values=features["pixel_values"], **GREEDY)


def test_the_pipeline(folder: Path, original: Any, theirs: Any, bundle: Path) -> None:
    ours = onnxpipe.pipeline("image-text-to-text", bundle, device="cpu")
    pipe = transformers.ImageTextToTextPipeline(model=original, processor=theirs)
    for task in ("<OD>", "<CAPTION>", "What is this?"):
        named = {"images": image("photo"), "text": task}
        answer = ours(**named, **GREEDY)
        # without being told so, transformers' pipeline drops the tokens of places, which are special ones
        assert answer == pipe(**named, generate_kwargs=dict(GREEDY), skip_special_tokens=False)
        streamed = "".join(ours.stream(**named, **GREEDY))  # without the token that the decoder starts from
        assert f"{task}</s>{streamed}" == answer[0]["generated_text"]
    several = {"images": [image("photo"), image("wide")], "text": ["<OD>", "<CAPTION>"]}
    records = ours(**several, **GREEDY)
    assert records[0] == ours(images=image("photo"), text="<OD>", **GREEDY)[0]
    asked = ours(image("wide"), question="<CAPTION>", **GREEDY)[0]
    assert "<CAPTION>" + asked["generated_text"] == records[1]["generated_text"]
    plain = ours(images=image("photo"), text="<OD>", skip_special_tokens=True, return_full_text=False, **GREEDY)
    assert "</s>" not in plain[0]["generated_text"]
