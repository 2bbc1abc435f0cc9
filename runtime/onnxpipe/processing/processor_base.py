"""ProcessorBase: how the settings of image processors and feature extractors are loaded, saved and shown."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from onnxpipe.bundle.hub_options import HubOptions
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.processing.processor_config import Kind, ProcessorConfig, fetch_config


class ProcessorBase(ABC):
    """Settings as attributes, from and to `preprocessor_config.json`.

    What the file has and the class does not know is kept, as attributes and for `to_dict`.
    """

    #: What is processed: it says in which files the settings are.
    kind: ClassVar[Kind]
    #: The key under which a file names the class.
    type_key: ClassVar[str]
    #: The settings that mean something to the class.
    known_settings: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, **settings: Any) -> None:
        self._extra: dict[str, Any] = {}
        self._apply(settings)

    @classmethod
    def _load(cls, model: str | os.PathLike[str], keywords: Mapping[str, Any]) -> Self:
        """Load the processor of a folder or of a Hub repository, for `from_pretrained`.

        Args:
            model: a folder, or a Hub id.
            keywords: the Hub's (`FileKeywords`), and settings instead of what the files say.
        """
        hub, overrides = HubOptions.split(keywords)
        return cls.from_config(fetch_config(model, cls.kind, hub), overrides)

    @classmethod
    def from_config(cls, config: ProcessorConfig, overrides: Mapping[str, Any]) -> Self:
        """Make a processor from what a model's folder says.

        Args:
            config: the settings of the file, and where it is.
            overrides: settings instead of the file's.

        Raises:
            BundleError: the file has a value that means nothing.
            UnknownArgumentError: an override that this class has not.
            UnsupportedError: an override that means nothing.
        """
        processor = cls()
        settings, processor._extra = cls._settings_in(config)
        try:
            processor._apply(settings)
        except UnsupportedError as error:
            raise BundleError(f"{config.name}: {error}") from error
        processor._apply(overrides)
        processor._load_more(config.folder)
        return processor

    @classmethod
    @abstractmethod
    def _settings_in(cls, config: ProcessorConfig) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split a file's values into the settings of the class and the others that are kept."""

    @abstractmethod
    def _apply(self, settings: Mapping[str, Any]) -> None:
        """Check settings and set them as attributes.

        Raises:
            UnknownArgumentError: one that this class has not.
            UnsupportedError: a value that means nothing.
        """

    @abstractmethod
    def _plain_settings(self) -> dict[str, Any]:
        """The settings as JSON values."""

    def _load_more(self, folder: Path | None) -> None:  # noqa: B027
        """Read other files of the model, for families that need some; None where there are none."""

    def to_dict(self) -> dict[str, Any]:
        """The settings as `preprocessor_config.json` has them."""
        return {**self._extra, **self._plain_settings(), self.type_key: type(self).__name__}

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> list[str]:
        """Write `preprocessor_config.json`, which transformers 4 and 5 read too, and return its path in a list.

        The settings of videos that differ from those of images are in `video_preprocessor_config.json`.

        Args:
            save_directory: the folder; made if need be.
        """
        name = "video_preprocessor_config.json" if self.kind == "video" else "preprocessor_config.json"
        path = Path(save_directory) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return [str(path)]

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("_extra", {})
        if name not in extra:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return extra[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True)}"
