"""The keywords with which every loader reaches the Hub: which are taken, which are refused, and who takes them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import onnxpipe
from onnxpipe.bundle import HubKeywords, HubOptions, fetch
from onnxpipe.bundle.hub_options import FileKeywords
from onnxpipe.errors import UnknownArgumentError, UnsupportedError


def test_keywords_are_the_fields_of_the_options() -> None:
    fields = set(HubOptions.__dataclass_fields__)
    assert set(get_type_hints(HubKeywords)) | {"subfolder"} == fields
    assert set(get_type_hints(FileKeywords)) == fields | {"trust_remote_code"}


def test_split() -> None:
    keywords = {"revision": "v1", "subfolder": "a", "trust_remote_code": None, "size": 30}
    assert HubOptions.split(keywords) == (HubOptions("v1", subfolder="a"), {"size": 30})
    options, rest = HubOptions.split({"token": True, "subfolder": "a", "trust_remote_code": True}, HubKeywords)
    assert (options, rest) == (HubOptions(token=True), {"subfolder": "a", "trust_remote_code": True})
    with pytest.raises(UnsupportedError, match="trust_remote_code=True is refused"):
        HubOptions.split({"trust_remote_code": True})


def test_only() -> None:
    assert HubOptions.only({"local_files_only": True}, "fetch") == HubOptions(local_files_only=True)
    with pytest.raises(UnknownArgumentError, match=r"fetch got .* 'revison'; did you mean 'revision'\?"):
        HubOptions.only({"revison": "v1"}, "fetch")


def test_keywords_of_a_call() -> None:
    options = HubOptions("v1", True, Path("cache"), True, "sub")
    assert options.cache_folder == "cache" and HubOptions().cache_folder is None
    assert HubOptions(**options.keywords, subfolder="sub") == options


@pytest.mark.parametrize(
    "loader",
    [
        fetch,
        onnxpipe.AutoModel.from_pretrained,
        onnxpipe.SpeechT5HifiGan.from_pretrained,
        onnxpipe.AutoTokenizer.from_pretrained,
        onnxpipe.AutoImageProcessor.from_pretrained,
        onnxpipe.AutoVideoProcessor.from_pretrained,
        onnxpipe.AutoFeatureExtractor.from_pretrained,
        onnxpipe.ImageProcessor.from_pretrained,
    ],
    ids=lambda loader: loader.__qualname__,
)
def test_misspelt_keywords_raise(loader: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "WhisperFeatureExtractor"}')
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    if "Image" in loader.__qualname__ or "Video" in loader.__qualname__:
        (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    with pytest.raises(TypeError, match="revisoin"):
        loader(tmp_path, revisoin="v1")
    assert any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(loader).parameters.values())
