"""Make the prompts of decisions about images: placeholders in the texts of a request become the images."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from onnxpipe.errors import ImageError
from onnxpipe.processing.images.io.load import load_image
from onnxpipe.processing.multimodal.vision_language import VisionLanguageProcessor
from onnxpipe.processing.text.chat.messages import choose_template
from onnxpipe.processing.text.decision.config import DecisionConfig
from onnxpipe.processing.text.decision.prompts import Array, Assets, DecisionPrompts
from onnxpipe.processing.text.tokenizer import Tokenizer


class ImageAssets:
    """The images of a request by their placeholders, each loaded once.

    Args:
        assets: placeholder -> image, or {"data_base64": …}.

    Raises:
        ValueError: they are no dict, or one has no name or no image.
    """

    def __init__(self, assets: Any) -> None:
        if not isinstance(assets, Mapping) or not all(isinstance(name, str) and name for name in assets):
            raise ValueError(f"assets must be a dict of placeholders and their images, got {assets!r:.80}")
        for name, asset in assets.items():
            if isinstance(asset, Mapping) and "data_base64" not in asset:
                raise ValueError(f"the asset {name!r} has no data_base64: {sorted(map(str, asset))}")
        self._assets = assets
        self._loaded: dict[str, Any] = {}
        longest = sorted(assets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest)))

    def parts(self, text: str) -> list[dict[str, Any]]:
        """Split a text at placeholders into parts of a message: texts and images.

        Raises:
            ImageError: an image cannot be read.
        """
        parts: list[dict[str, Any]] = []
        last = 0
        for match in self._pattern.finditer(text):
            parts += [_said(text[last : match.start()]), {"type": "image", "image": self._image(match[0])}]
            last = match.end()
        return [part for part in [*parts, _said(text[last:])] if part.get("text") != ""]

    def inserted(self, value: Any, images: list[Any]) -> Any:
        """Replace the texts in plain data that name images by their parts, and add the images to `images`, in order."""
        if isinstance(value, dict):
            return {key: self.inserted(item, images) for key, item in value.items()}
        if isinstance(value, list):
            return [self.inserted(item, images) for item in value]
        if not isinstance(value, str):
            return value
        parts = self.parts(value)
        found = [part["image"] for part in parts if part["type"] == "image"]
        images += found
        return parts if found else value

    def check_used(self) -> None:
        """Check that the request names every image.

        Raises:
            ValueError: it does not.
        """
        for name in self._assets:
            if name not in self._loaded:
                raise ValueError(f"the asset {name!r} stands nowhere in the state or the questions: write it there")

    def _image(self, name: str) -> Any:
        if name not in self._loaded:
            asset = self._assets[name]
            try:
                self._loaded[name] = load_image(asset["data_base64"] if isinstance(asset, Mapping) else asset)
            except ImageError as error:
                raise type(error)(f"the asset {name!r}: {error}") from error
        return self._loaded[name]


def _said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


class ImageDecisionPrompts(DecisionPrompts):
    """Makes the prompts of requests that may have images.

    Args:
        tokenizer, config: see `DecisionPrompts`.
        processor: the model's; it is not changed.
    """

    def __init__(self, tokenizer: Tokenizer, config: DecisionConfig, processor: VisionLanguageProcessor) -> None:
        super().__init__(tokenizer, config)
        self._processor = processor

    def assets_of(self, request: Mapping[str, Any]) -> ImageAssets | None:
        """Return the images of a request; None for none.

        Raises:
            ValueError: they are not a dict of images.
        """
        return ImageAssets(request["assets"]) if request.get("assets") else None

    def encoded(
        self, tokenizer: Tokenizer, content: str, variables: Mapping[str, Any], assets: Assets | None
    ) -> tuple[Array, Mapping[str, Any]]:
        """Encode a message of the user, or a template's variables; see `DecisionPrompts.encoded`."""
        images: list[Any] = []
        parts: Any = content
        own = cast(ImageAssets | None, assets)
        if not variables:
            parts = [_said(content)] if own is None else own.parts(content)
        elif own is not None:
            rest = {name: value for name, value in variables.items() if name != "chat_template"}
            variables = {**variables, **own.inserted(rest, images)}
        processor = copy.copy(self._processor)
        processor.tokenizer = tokenizer
        template = choose_template(processor.chat_template, variables.get("chat_template"), tools=False)
        features = dict(
            processor.apply_chat_template(
                [{"role": "user", "content": parts}],
                tokenize=True,
                return_dict=True,
                processor_kwargs={"images": images} if images else {},
                **self.keywords(template),
                **variables,
            )
        )
        features.pop("attention_mask", None)
        return np.asarray(features.pop("input_ids")[0], np.int64), features
