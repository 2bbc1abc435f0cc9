"""Halves of dual encoders, alone with their projections, and GroupViT, whose mapping transformers leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from onnxpipe import AutoModel, pipeline  # noqa: E402
from onnxpipe_export import export  # noqa: E402
from tolerances import MODEL  # noqa: E402
from zoo.text import generator_tokenizers  # noqa: E402

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "projection_dim": 16}
VISION = {**SIZES, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8}
TEXT = {**SIZES, "num_hidden_layers": 2, "max_position_embeddings": 24}
GROUPS = {
    **SIZES,
    "depths": [1, 1, 1],
    "num_hidden_layers": 3,
    "num_group_tokens": [8, 4, 0],
    "num_output_groups": [8, 4, 4],
    "image_size": 32,
    "patch_size": 8,
    "assign_mlp_ratio": [0.5, 4],
}
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def save(model: Any, folder: Path, *, images: bool, texts: bool) -> Any:
    folder.mkdir()
    if texts:
        generator_tokenizers.save("llama", folder)
    if images:
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), encoding="utf-8")
    model.save_pretrained(folder)
    return model.eval()


def vocabulary(folder: Path) -> dict[str, int]:
    generator_tokenizers.save("llama", folder)
    size = max(generator_tokenizers.vocabulary("llama", folder).values()) + 1
    return {"vocab_size": size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def test_the_vision_half_gives_its_projection(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION))
    save(model, tmp_path / "model", images=True, texts=False)
    assert export(str(tmp_path / "model"), str(tmp_path / "out")).task == "image-feature-extraction"
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels)).image_embeds.numpy()
    found = AutoModel.from_pretrained(str(tmp_path / "out"))(pixel_values=pixels)
    np.testing.assert_allclose(found.image_embeds, expected, atol=MODEL, rtol=MODEL)


@pytest.mark.parametrize(
    ("config", "name"), [("CLIPTextConfig", "CLIPTextModelWithProjection"), ("SiglipTextConfig", "SiglipTextModel")]
)
def test_the_text_half_gives_its_output(config: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = getattr(transformers, config)(**{**TEXT, "projection_size": 16}, **vocabulary(tmp_path))
    model = save(getattr(transformers, name)(made), tmp_path / "model", images=False, texts=True)
    assert export(str(tmp_path / "model"), str(tmp_path / "out")).task == "feature-extraction"
    ids = np.array([[1, 40, 50, 60, 2]])
    with torch.no_grad():
        expected = model(torch.from_numpy(ids), attention_mask=torch.ones(1, 5, dtype=torch.int64))
    found = AutoModel.from_pretrained(str(tmp_path / "out"))(input_ids=ids)
    output = "text_embeds" if "Projection" in name else "pooler_output"
    np.testing.assert_allclose(found[output], expected[output].numpy(), atol=MODEL, rtol=MODEL)


def test_groupvit_tells_which_text_fits_an_image(tmp_path: Path) -> None:
    from PIL import Image

    torch.manual_seed(0)
    words = {**TEXT, **vocabulary(tmp_path)}
    config = transformers.GroupViTConfig(
        text_config=words, vision_config=GROUPS, projection_dim=16, projection_intermediate_dim=32
    )
    model = save(transformers.GroupViTModel(config), tmp_path / "model", images=True, texts=True)
    assert export(str(tmp_path / "model"), str(tmp_path / "out")).task == "zero-shot-image-classification"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    pixels = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")(image, return_tensors="pt")
    rows = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")(["a cat", "a red house"], padding=True)
    with torch.no_grad():
        kept = {key: torch.tensor(rows[key]) for key in ("input_ids", "attention_mask")}
        expected = model(**kept, **pixels).logits_per_image.softmax(dim=-1)[0]
    pipe = pipeline("zero-shot-image-classification", model=str(tmp_path / "out"))
    found = {
        one["label"]: one["score"]
        for one in pipe(image, candidate_labels=["a cat", "a red house"], hypothesis_template="{}")
    }
    assert [found["a cat"], found["a red house"]] == pytest.approx(expected.tolist(), abs=1e-4)
