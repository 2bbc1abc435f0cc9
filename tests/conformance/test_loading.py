"""Where models come from: bundles, foreign folders, weights exported on the way; and the Auto classes on numpy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxpipe
from onnxpipe import errors
from tolerances import MODEL

Models = Callable[[str, str], Path]
Bundles = Callable[..., Path]
TEXTS = ["We love this movie!", "Do not buy it."]


@pytest.fixture(scope="module")
def bundle(bundles: Bundles) -> Path:
    return bundles("bert", "classify")


def foreign(bundle: Path, target: Path, layout: str) -> Path:
    """The bundle as another tool would leave it: without our three files, graphs where that tool puts them."""
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("bundle.json", "certificate.json", "golden.npz"))
    if layout == "optimum":
        (target / "onnx" / "model.onnx").rename(target / "model.onnx")
    elif layout == "onnx-community":
        (target / "onnx" / "model.onnx").rename(target / "onnx" / "model_quantized.onnx")
    return target


@pytest.mark.parametrize("layout", ["transformers.js", "optimum", "onnx-community"])
def test_folders_of_others_load_as_they_are(bundle: Path, tmp_path: Path, layout: str) -> None:
    expected = onnxpipe.pipeline(model=bundle)(TEXTS)
    folder = foreign(bundle, tmp_path / "model", layout)
    pipe = onnxpipe.pipeline(model=folder)
    assert pipe.task == "text-classification" and pipe.model.bundle.certificate is None
    assert pipe(TEXTS) == expected
    assert pipe.dtype == ("q8" if layout == "onnx-community" else "float32")
    if layout == "onnx-community":  # 8-bit weights by either name
        assert onnxpipe.pipeline(model=folder, dtype="int8")(TEXTS) == expected
        assert onnxpipe.pipeline(model=folder, torch_dtype="q8")(TEXTS) == expected


def test_weights_are_exported_into_the_cache_once(
    models: Models, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxpipe.models import loading

    monkeypatch.setenv("ONNXPIPE_CACHE", str(tmp_path))
    weights = models("bert", "classify")
    before = sorted(p.name for p in weights.iterdir())
    assert onnxpipe.pipeline("text-classification", model=weights)(TEXTS) == onnxpipe.pipeline(model=bundle)(TEXTS)
    exports = list((tmp_path / "exports").iterdir())
    assert len(exports) == 1 and sorted(p.name for p in weights.iterdir()) == before

    exporter = loading.load_exporter()
    monkeypatch.setattr(exporter, "export", lambda *a, **k: pytest.fail("exported twice"))
    onnxpipe.pipeline("text-classification", model=weights)
    onnxpipe.AutoModelForSequenceClassification.from_pretrained(weights)


def test_weights_alone_tell_the_task(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPIPE_CACHE", str(tmp_path))
    assert onnxpipe.pipeline(model=models("bert", "ner")).task == "token-classification"
    assert len(list((tmp_path / "exports").iterdir())) == 1


def test_without_the_exporter_the_error_gives_the_command(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpipe.models import loading

    def absent() -> Any:
        raise errors.MissingDependencyError("not installed")

    monkeypatch.setattr(loading, "load_exporter", absent)
    with pytest.raises(errors.NotExportedError, match=r"onnxpipe export .*-o"):
        onnxpipe.pipeline("text-classification", model=models("bert", "classify"))


def test_a_precision_that_is_not_there(bundle: Path) -> None:
    with pytest.raises(errors.PrecisionError, match="fp32"):
        onnxpipe.pipeline(model=bundle, dtype="q4")
    with pytest.raises(errors.PrecisionError, match="bfloat16"):
        onnxpipe.pipeline(model=bundle, dtype="bfloat16")


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"framework": "tf"}, "framework"),
        ({"model_kwargs": {"low_cpu_mem_usage": True}}, "low_cpu_mem_usage"),
        ({"model_kwargs": {"attn_implementation": "sdpa"}}, "attention is fixed"),
        ({"device_map": {"a": 0, "b": 1}}, "one device"),
        ({"image_processor": "x"}, "works on text"),
        ({"on_eror": "return"}, "on_eror"),
        ({"pipeline_class": None, "task": "question-answering"}, "not for question-answering"),
    ],
)
def test_what_cannot_be_meant_here_is_refused(bundle: Path, keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(errors.OnnxPipeError, match=says):
        onnxpipe.pipeline(**{"task": "text-classification", "model": bundle, **keywords})


def test_keywords_with_a_meaning_here(bundle: Path) -> None:
    expected = onnxpipe.pipeline(model=bundle)(TEXTS)
    for keywords in (
        {"device": -1}, {"device": "cpu"}, {"device_map": "cpu"}, {"device_map": {"": "cpu"}}, {"framework": "pt"},
        {"torch_dtype": "float32"}, {"dtype": np.dtype("float32")}, {"model_kwargs": {"dtype": "fp32"}},
        {"use_fast": False}, {"threads": 1}, {"providers": ["CPUExecutionProvider"]}, {"trust_remote_code": False},
        {"tokenizer": str(bundle)}, {"tokenizer": (str(bundle), {"model_max_length": 64})},
        {"config": str(bundle)}, {"num_workers": 2}, {"binary_output": True},
    ):  # fmt: skip
        assert onnxpipe.pipeline("text-classification", model=str(bundle), **keywords)(TEXTS) == expected, keywords


def test_a_config_of_the_users_own_renames_labels(bundle: Path) -> None:
    config = onnxpipe.AutoConfig.from_pretrained(bundle, id2label={0: "a", 1: "b", 2: "c"})
    assert onnxpipe.pipeline("text-classification", model=bundle, config=config)(TEXTS[0])[0]["label"] in "abc"


@pytest.mark.parametrize(
    ("auto", "head"),
    [
        ("AutoModel", "base"),
        ("AutoModelForSequenceClassification", "classify"),
        ("AutoModelForTokenClassification", "ner"),
        ("AutoModelForQuestionAnswering", "qa"),
        ("AutoModelForMaskedLM", "mlm"),
    ],
)
def test_auto_classes_answer_as_transformers(models: Models, bundles: Bundles, auto: str, head: str) -> None:
    import torch
    import transformers

    weights, folder = models("bert", head), bundles("bert", head)
    theirs = getattr(transformers, auto).from_pretrained(weights).eval()
    with torch.inference_mode():
        encoded = transformers.AutoTokenizer.from_pretrained(weights)(TEXTS, padding=True, return_tensors="pt")
        expected = theirs(**encoded)
    tokenizer = onnxpipe.AutoTokenizer.from_pretrained(folder)
    model = getattr(onnxpipe, auto).from_pretrained(folder)
    got = model(**tokenizer(TEXTS, padding=True, return_tensors="np"))
    mask = encoded["attention_mask"].numpy().astype(bool)
    for name, value in got.items():
        reference = expected[name].numpy()
        if value.shape[:2] == mask.shape:
            value, reference = value[mask], reference[mask]
        np.testing.assert_allclose(value, reference, atol=1e-4, err_msg=name)
    assert got[0] is next(iter(got.values())) and got.to_tuple()[0] is got[0]
    assert model(**encoded)[0].shape == got[0].shape  # torch tensors are understood without torch
    with pytest.raises(errors.UnsupportedError, match="np"):
        tokenizer(TEXTS, padding=True, return_tensors="pt")


def test_a_head_that_is_not_there_is_refused(bundle: Path) -> None:
    with pytest.raises(errors.UnsupportedError, match="is for text-classification, not for token-classification"):
        onnxpipe.AutoModelForTokenClassification.from_pretrained(bundle)


def test_ranking(bundles: Bundles) -> None:
    pipe = onnxpipe.pipeline(model=bundles("bert", "rank"))
    assert pipe.task == "text-ranking"
    documents = ["Paris is in France.", "The food was good.", "ok"]
    ranked = pipe("Where is Paris?", documents)
    logits = pipe.model(**pipe.tokenizer(["Where is Paris?"] * 3, documents, padding=True, return_tensors="np")).logits
    scores = 1 / (1 + np.exp(-logits[:, 0]))
    assert [e["index"] for e in ranked] == np.argsort(-scores).tolist()
    assert [e["score"] for e in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=MODEL)
    assert [e["document"] for e in ranked] == [documents[e["index"]] for e in ranked]
    assert len(pipe({"query": "q", "documents": documents}, top_k=2)) == 2
    assert pipe("q", documents, function_to_apply="none")[0]["score"] == pytest.approx(
        float(pipe.model(**pipe.tokenizer(["q"] * 3, documents, padding=True, return_tensors="np")).logits.max()),
        abs=MODEL,
    )
    assert pipe("q", []) == []


def test_embedding_options(bundles: Bundles) -> None:
    pipe = onnxpipe.pipeline("embedding", model=bundles("bert", "base"))
    features = onnxpipe.pipeline("feature-extraction", model=bundles("bert", "base"))(TEXTS[0], return_tensors=True)[0]
    assert pipe(TEXTS[0]) == pytest.approx(features.mean(0), abs=MODEL)
    assert pipe(TEXTS[0], pooling="cls") == pytest.approx(features[0], abs=MODEL)
    assert pipe(TEXTS[0], pooling=("max", "last")) == pytest.approx(np.r_[features.max(0), features[-1]], abs=MODEL)
    short = pipe(TEXTS[0], truncate_dim=4, normalize=True)
    assert short == pytest.approx(features.mean(0)[:4] / np.linalg.norm(features.mean(0)[:4]), abs=MODEL)
    with pytest.raises(errors.UnsupportedError, match="prompt_name"):
        pipe(TEXTS[0], prompt_name="query")
    vectors = [v / np.linalg.norm(v) for v in pipe(TEXTS)]
    similar = onnxpipe.pipeline("sentence-similarity", model=bundles("bert", "base"))
    assert similar(TEXTS[0], [TEXTS[1], TEXTS[0]]) == pytest.approx([float(vectors[0] @ vectors[1]), 1.0], abs=MODEL)


@pytest.mark.parametrize("stored", ["model.safetensors", "pytorch_model.bin"])
def test_a_dense_layer_after_pooling(models: Models, tmp_path: Path, stored: str) -> None:
    """sentence-transformers' own steps, its linear layer included, come along into the bundle."""
    import torch
    from safetensors.torch import save_file

    from onnxpipe_export import export

    source = shutil.copytree(models("bert", "base"), tmp_path / "source")
    steps = ["Transformer", "Pooling", "Dense", "Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{step}" if i else "", "type": f"sentence_transformers.models.{step}"}
        for i, step in enumerate(steps)
    ]
    (source / "modules.json").write_text(json.dumps(modules))
    for folder, content in (
        ("1_Pooling", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}),
        ("2_Dense", {"in_features": 32, "out_features": 5, "activation_function": "torch.nn.modules.activation.Tanh"}),
    ):
        (source / folder).mkdir()
        (source / folder / "config.json").write_text(json.dumps(content))
    state = {"linear.weight": torch.randn(5, 32) / 10, "linear.bias": torch.randn(5)}
    (save_file if stored.endswith("safetensors") else torch.save)(state, source / "2_Dense" / stored)

    export(source, tmp_path / "bundle")
    pipe = onnxpipe.pipeline(model=tmp_path / "bundle")
    assert pipe.task == "sentence-similarity"
    features = onnxpipe.pipeline("feature-extraction", model=tmp_path / "bundle")(TEXTS[0], return_tensors=True)[0]
    expected = np.tanh(state["linear.weight"].numpy() @ features.mean(0) + state["linear.bias"].numpy())
    assert pipe(TEXTS[0]) == pytest.approx(expected / np.linalg.norm(expected), abs=MODEL)


@pytest.mark.parametrize("include", [True, False])
def test_prompts_of_a_model(bundles: Bundles, tmp_path: Path, include: bool) -> None:
    """A named prompt goes before the text, and is pooled or not as the model declares."""
    ignored = shutil.ignore_patterns("bundle.json", "certificate.json", "golden.npz")
    folder = shutil.copytree(bundles("bert", "base"), tmp_path / "model", ignore=ignored)
    prompts = {"prompts": {"query": "the bridge was"}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean", "include_prompt": include}))
    pipe = onnxpipe.pipeline("embedding", model=folder)
    text = "the bridge was built"
    features = onnxpipe.pipeline("feature-extraction", model=folder)(text, return_tensors=True)[0]
    skipped = 0 if include else len(pipe.tokenizer("the bridge was")["input_ids"]) - 1
    expected = features[skipped:].mean(0)
    assert pipe(" built", prompt_name="query") == pytest.approx(expected, abs=MODEL)
    assert pipe(" built", prompt="the bridge was") == pytest.approx(expected, abs=MODEL)
    assert pipe(text) == pytest.approx(features.mean(0), abs=MODEL)


def test_save_pretrained_and_load_again(bundle: Path, tmp_path: Path) -> None:
    pipe = onnxpipe.pipeline(model=bundle)
    pipe.save_pretrained(tmp_path / "copy")
    assert onnxpipe.pipeline(model=tmp_path / "copy")(TEXTS) == pipe(TEXTS)


def test_a_copy_of_a_bundle_with_one_precision_of_two(bundles: Bundles, tmp_path: Path) -> None:
    """As the Hub's cache has it: bundle.json names both, one was downloaded."""
    part = shutil.copytree(bundles("bert", "base", ("fp32", "fp16", "int8")), tmp_path / "part")
    (part / "onnx" / "model.onnx").unlink()
    pipe = onnxpipe.pipeline("feature-extraction", model=part, dtype="int8")
    pipe.save_pretrained(tmp_path / "copy")
    copy = onnxpipe.pipeline("feature-extraction", model=tmp_path / "copy", dtype="int8")
    assert copy(TEXTS) == pipe(TEXTS)
    assert sorted(copy.model.bundle.graphs["model"]) == ["fp16", "int8"]
    copy.save_pretrained(tmp_path / "copy")  # onto itself
    assert onnxpipe.pipeline("feature-extraction", model=tmp_path / "copy", dtype="int8")(TEXTS) == pipe(TEXTS)


def test_a_stream_goes_on_where_it_was(bundle: Path) -> None:
    pipe, texts = onnxpipe.pipeline(model=bundle), [f"{text} {i}" for i, text in enumerate(TEXTS * 20)]
    expected, stream = pipe(texts), pipe(text for text in texts)
    assert [next(stream) for _ in range(5)] + list(stream) == expected  # by then rows were read ahead


def test_placement_and_repr(bundle: Path) -> None:
    pipe = onnxpipe.pipeline(model=bundle, device="cpu")
    assert "CPUExecutionProvider" in str(pipe.placement())
    assert str(pipe.device) == "cpu" and pipe.device.type == "cpu"
    assert repr(pipe).startswith("TextClassificationPipeline: {'model': 'BertForSequenceClassification'")
