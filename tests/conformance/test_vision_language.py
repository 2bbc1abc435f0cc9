"""Vision-language models: the same tokens as transformers, images encoded once, placeholders counted."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle import HubOptions
from onnxpipe.errors import ImageError, PrecisionError, UnknownArgumentError, UnsupportedError
from onnxpipe.models.auto import AutoModelForCausalLM, AutoModelForImageTextToText
from tolerances import MODEL
from zoo.vision_language import FAMILIES, HEAD, PRECISIONS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Models = Callable[[str, str], Path]
Bundles = Callable[..., Path]
every_family = pytest.mark.parametrize("family", FAMILIES)
WITH_VIDEOS = ("llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@cache
def prompts(folder: Path) -> list[Mapping[str, np.ndarray]]:
    """The model's inputs for four prompts (none, one and two images), each alone and then all in one batch."""
    from onnxpipe_export import checkpoint
    from onnxpipe_export.graphs.vision_language.prompts import batches

    source = checkpoint.load(str(folder), HEAD, HubOptions())
    return list(batches(source, source.tokenizer))


@cache
def original(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()


def tensors(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: torch.from_numpy(value) for name, value in batch.items()}


@every_family
def test_the_certificate_compares_prompts_with_images(family: str, bundles: Bundles) -> None:
    """Every precision is certified, with its prompts alone and in one padded batch; fp32 gives the original's tokens.

    Where videos have a placeholder of their own, a prompt with two of them is among these.
    """
    folder = bundles(family, HEAD, PRECISIONS)
    certificate = json.loads((folder / "certificate.json").read_text("utf-8"))
    assert set(certificate["graphs"]) == {"vision_encoder", "embed_tokens", "decoder_model_merged"}
    assert all(set(entry) == {"fp32", "int8", "q4"} for entry in certificate["graphs"].values())
    greedy = certificate["generation"]["fp32"]["searches"]["greedy"]
    prompts = 5 if family in WITH_VIDEOS else 4
    assert greedy["rows"] == greedy["equal_rows"] + greedy["near_ties"] == 2 * prompts
    assert certificate["generation"]["int8"]["searches"]["greedy"]["equal_tokens"] > 0.3


@every_family
def test_logits_are_the_original_s(family: str, models: Models, bundles: Bundles) -> None:
    batch = prompts(models(family, HEAD))[-1]
    model = AutoModelForImageTextToText.from_pretrained(bundles(family, HEAD, PRECISIONS), device="cpu")
    inside = batch["attention_mask"].astype(bool)
    with torch.inference_mode():
        expected = original(models(family, HEAD))(**tensors(batch)).logits.numpy()
    close = MODEL * float(np.abs(expected).max())
    np.testing.assert_allclose(model(**batch).logits[inside], expected[inside], rtol=0, atol=close)


@every_family
def test_the_image_decides_the_text(family: str, models: Models, bundles: Bundles) -> None:
    """Other pixels give another text, so the equal tokens of the certificate say something of the images."""
    batch = prompts(models(family, HEAD))[0]
    model = AutoModelForImageTextToText.from_pretrained(bundles(family, HEAD, PRECISIONS), device="cpu")
    other = {**batch, "pixel_values": np.ascontiguousarray(batch["pixel_values"][..., ::-1, ::-1])}
    assert model.generate(**batch, **GREEDY).tolist() != model.generate(**other, **GREEDY).tolist()


@every_family
def test_an_image_is_encoded_once(family: str, models: Models, bundles: Bundles) -> None:
    """Rows, calls and later turns share what the vision encoder gave; beams do not run it again either."""
    alone, together = prompts(models(family, HEAD))[1], prompts(models(family, HEAD))[-1]
    model = AutoModelForImageTextToText.from_pretrained(bundles(family, HEAD, PRECISIONS), device="cpu")
    first = model.generate(**alone, **GREEDY)
    once = model.vision.runs
    assert once >= 2
    np.testing.assert_array_equal(model.generate(**alone, **GREEDY), first)
    model.generate(**alone, num_beams=2, **GREEDY)
    assert model.vision.runs == once
    model.generate(**together, **GREEDY)
    twice = model.vision.runs
    longer = np.concatenate([first, first[:, -3:]], axis=1)
    images = {name: value for name, value in alone.items() if name not in ("input_ids", "attention_mask")}
    images = {name: value for name, value in images.items() if value.shape != alone["input_ids"].shape}
    model.generate(input_ids=longer, **images, **GREEDY)
    assert model.vision.runs == twice


@every_family
def test_text_alone_does_not_open_the_vision_encoder(family: str, models: Models, bundles: Bundles) -> None:
    batch = prompts(models(family, HEAD))[2]
    model = AutoModelForImageTextToText.from_pretrained(bundles(family, HEAD, PRECISIONS), device="cpu")
    answer = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **GREEDY)
    assert not model.vision.is_open
    text = AutoModelForCausalLM.from_pretrained(bundles(family, HEAD, PRECISIONS), device="cpu")
    again = text.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **GREEDY)
    np.testing.assert_array_equal(answer, again)


def test_features_beyond_the_limit_are_forgotten(models: Models, bundles: Bundles) -> None:
    batch = prompts(models("llava", HEAD))[1]
    model = AutoModelForImageTextToText.from_pretrained(bundles("llava", HEAD, PRECISIONS), device="cpu")
    model.vision._kept = model.encode_images(batch)["features"][0].nbytes
    model.encode_images({"pixel_values": batch["pixel_values"][::-1]})
    before = model.vision.runs
    model.encode_images({"pixel_values": batch["pixel_values"][:1]})
    assert model.vision.runs == before, "the newest is kept"
    model.encode_images({"pixel_values": batch["pixel_values"][1:]})
    assert model.vision.runs == before + 1, "the older one is not"


def test_placeholders_and_features_must_match(models: Models, bundles: Bundles) -> None:
    one, two, text, _, _ = prompts(models("llava", HEAD))
    model = AutoModelForImageTextToText.from_pretrained(bundles("llava", HEAD, PRECISIONS), device="cpu")
    with pytest.raises(ImageError, match="tokens: 32, features: 16"):
        model.generate(input_ids=two["input_ids"], pixel_values=one["pixel_values"], **GREEDY)
    with pytest.raises(ImageError, match="tokens: 16, features: 0"):
        model.generate(input_ids=one["input_ids"], **GREEDY)
    with pytest.raises(ImageError, match="tokens: 0, features: 16"):
        model.generate(input_ids=text["input_ids"], pixel_values=one["pixel_values"], **GREEDY)
    token = model.image_token_id
    uneven = np.array([[5] * 24 + [token] * 8 + [7], [5] * 8 + [token] * 24 + [7]])
    with pytest.raises(ImageError, match="goes on in the next row"):
        model.generate(input_ids=uneven, pixel_values=two["pixel_values"], **GREEDY)
    with pytest.raises(UnknownArgumentError, match="pixel_values"):
        model(input_ids=one["input_ids"], pixel_value=one["pixel_values"])


def test_a_copy_answers_as_the_model(models: Models, bundles: Bundles) -> None:
    batch = prompts(models("llava", HEAD))[0]
    model = AutoModelForImageTextToText.from_pretrained(bundles("llava", HEAD, PRECISIONS), device="cpu")
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301 - its own bytes
    np.testing.assert_array_equal(copy.generate(**batch, **GREEDY), model.generate(**batch, **GREEDY))


def test_each_graph_in_its_own_precision(bundles: Bundles) -> None:
    folder = bundles("llava", HEAD, PRECISIONS)
    wanted = {"vision_encoder": "int8", "decoder_model_merged": "q4"}
    for dtype in (wanted, "vision_encoder=int8, decoder_model_merged=q4"):
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, device="cpu")
        paths = [model.session.path, model.vision.session.path, model.embeddings.session.path]
        assert [path.name for path in paths] == [
            "decoder_model_merged_q4.onnx",
            "vision_encoder_int8.onnx",
            "embed_tokens.onnx",
        ]
    with pytest.raises(PrecisionError, match="has decoder_model_merged, embed_tokens, vision_encoder"):
        AutoModelForImageTextToText.from_pretrained(folder, dtype={"vision_tower": "int8"})
    with pytest.raises(PrecisionError, match="fp16"):
        AutoModelForImageTextToText.from_pretrained(folder, dtype={"vision_encoder": "fp16"})


def test_models_without_images_are_refused(bundles: Bundles) -> None:
    with pytest.raises(UnsupportedError, match="not for image-text-to-text"):
        AutoModelForImageTextToText.from_pretrained(bundles("llama", "causal"))


@pytest.mark.parametrize("fault", ["mask", "order", "newline"])
def test_wrong_graphs_are_refused(fault: str, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask that is frozen, tiles in another order, the end of rows left out: the certificate finds each."""
    from onnxpipe.errors import CertificateError
    from onnxpipe.models.vision_language.idefics3 import Idefics3
    from onnxpipe.models.vision_language.llava_next import LlavaNext
    from onnxpipe_export import export
    from onnxpipe_export.graphs.vision_language import idefics3

    family = "llava_next" if fault == "newline" else "smolvlm"
    if fault == "mask":
        features = idefics3._features
        everything = lambda model, pixel_values, pixel_attention_mask: features(  # noqa: E731
            model, pixel_values, pixel_attention_mask.float() + 1 > 0
        )
        monkeypatch.setattr(idefics3, "_features", everything)
    elif fault == "order":
        pieces = Idefics3.pieces
        monkeypatch.setattr(Idefics3, "pieces", lambda self, images: pieces(self, images)[::-1])
    else:
        packed = LlavaNext._packed
        without = lambda self, tiles, size: packed(  # noqa: E731
            self, [{**tile, "image_newline": 0 * tile["image_newline"]} for tile in tiles], size
        )
        monkeypatch.setattr(LlavaNext, "_packed", without)
    with pytest.raises(CertificateError, match=r"differ from|are not the original's"):
        export(str(models(family, HEAD)), str(tmp_path / "bundle"), task=HEAD)
    assert not (tmp_path / "bundle").exists()
