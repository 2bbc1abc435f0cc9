"""AutoFeatureExtractor: the class that a model's files name, or its family's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Unpack

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.audio.base import FeatureExtractor
from onnxpipe.processing.audio.registry import CLASSES, FAMILIES
from onnxpipe.processing.audio.settings import FeatureExtractorOverrides
from onnxpipe.processing.processor_config import Found, fetch_config


class AutoFeatureExtractor:
    """Feature extractors by name."""

    def __init__(self) -> None:
        raise OSError("AutoFeatureExtractor is made with AutoFeatureExtractor.from_pretrained(name_or_path)")

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        trust_remote_code: bool | None = None,
        **overrides: Unpack[FeatureExtractorOverrides],
    ) -> Any:
        """The extractor of a folder or of a Hub repository; arguments and errors as in `FeatureExtractor`.

        Returns:
            A `FeatureExtractor`; of a model of pictures its image processor, as that was called until 2023.

        Raises:
            UnsupportedError: a class that is not here; the message names those that are.
        """
        found = fetch_config(
            pretrained_model_name_or_path, kind="sound", revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, subfolder=subfolder, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return from_found(found, overrides)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Unpack[FeatureExtractorOverrides]) -> FeatureExtractor:
        """The extractor that the object of a `preprocessor_config.json` describes."""
        return class_for(config, {}, "the config").from_dict(config, **overrides)


def from_found(found: Found, overrides: FeatureExtractorOverrides) -> Any:
    """The extractor of what a folder says; of pictures, their processor."""
    if of_pictures(found.config, found.model):
        from onnxpipe.processing.images import auto  # not at the top: sound needs nothing of it

        of_images: Any = overrides
        return auto.from_found(found, of_images)
    return class_for(found.config, found.model, found.name).of_file(found.config, found.name, overrides)


def of_pictures(config: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Whether a file describes how pictures are prepared, and not sound."""
    named = config.get("feature_extractor_type")
    if config.get("image_processor_type"):
        return True
    if named in CLASSES or (not named and model.get("model_type") in FAMILIES):
        return False
    from onnxpipe.processing.images import auto, registry  # not at the top: sound needs nothing of it

    if named:
        return auto.canonical(str(named)) in registry.CLASSES
    return registry.class_of_family(str(model.get("model_type", ""))) is not None


def class_for(config: Mapping[str, Any], model: Mapping[str, Any], name: str) -> type[FeatureExtractor]:
    """The class that a file names; if it names none, that of the model's family.

    Args:
        config: `preprocessor_config.json`.
        model: `config.json`.
        name: of the file, for errors.

    Raises:
        UnsupportedError: there is no such class here.
    """
    named, family = config.get("feature_extractor_type"), model.get("model_type")
    chosen = CLASSES.get(str(named)) if named else FAMILIES.get(str(family))
    if chosen is None:
        known = ", ".join(sorted(CLASSES))
        if named:
            raise UnsupportedError(f"{name} names the feature extractor {named!r}, which is not here; known: {known}")
        kind = f"the family {family!r} has none here" if family else "nor its family"
        raise UnsupportedError(f"{name} names no feature extractor, and {kind}; known: {known}")
    return chosen
