"""The keywords with which every loader reaches the Hugging Face Hub, and their checked form.

def from_pretrained(name: str, **hub: Unpack[HubKeywords]) -> Thing:
    options = HubOptions.only(hub, "Thing.from_pretrained")
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypedDict

from onnxpipe.errors import UnknownArgumentError, UnsupportedError


class HubKeywords(TypedDict, total=False):
    """The keywords of every loader; they have no effect on a local folder.

    Attributes:
        revision: branch, tag or commit on the Hub; None for main.
        token: the Hub's token; True for the stored one, False for none.
        cache_dir: the Hub's cache; None for its default.
        local_files_only: never ask the network. HF_HUB_OFFLINE=1 does the same.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | os.PathLike[str] | None
    local_files_only: bool


class FileKeywords(HubKeywords, total=False):
    """The keywords of loaders of tokenizers and processors.

    Attributes:
        revision, token, cache_dir, local_files_only: see `HubKeywords`.
        subfolder: where in the folder the files are.
        trust_remote_code: refused when true.
    """

    subfolder: str
    trust_remote_code: bool | None


@dataclass(frozen=True)
class HubOptions:
    """The options of access to the Hub; see `HubKeywords`.

    Attributes:
        revision, token, cache_dir, local_files_only: see `HubKeywords`.
        subfolder: where in the folder the files are.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    subfolder: str = ""

    @classmethod
    def split(cls, keywords: Mapping[str, Any], names: type = FileKeywords) -> tuple[Self, dict[str, Any]]:
        """Split a loader's keywords into the Hub's and the rest.

        Args:
            keywords: of the call.
            names: the TypedDict of those that are the Hub's.

        Raises:
            UnsupportedError: trust_remote_code=True.
        """
        taken: frozenset[str] = names.__optional_keys__  # type: ignore[attr-defined]
        hub = {name: value for name, value in keywords.items() if name in taken}
        refuse_remote_code(hub.pop("trust_remote_code", None))
        return cls(**hub), {name: value for name, value in keywords.items() if name not in taken}

    @classmethod
    def only(cls, keywords: Mapping[str, Any], caller: str) -> Self:
        """Check the keywords of a loader that takes no others than `HubKeywords`.

        Raises:
            UnknownArgumentError: there are others.
        """
        options, rest = cls.split(keywords, HubKeywords)
        for name in rest:
            raise UnknownArgumentError.among(caller, name, HubKeywords.__optional_keys__)
        return options

    @property
    def cache_folder(self) -> str | None:
        """`cache_dir` as a text."""
        return None if self.cache_dir is None else str(self.cache_dir)

    @property
    def keywords(self) -> HubKeywords:
        """The same for a loader's call: `fetch(model, **options.keywords)`."""
        named: Any = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "subfolder"}
        keywords: HubKeywords = named
        return keywords


def refuse_remote_code(trust_remote_code: bool | None) -> None:
    """Refuse `trust_remote_code=True`: nothing from a model's folder is ever run here.

    Raises:
        UnsupportedError: it is true.
    """
    if trust_remote_code:
        raise UnsupportedError(
            "trust_remote_code=True is refused: no code from a model's folder is run. Leave it out; a model that needs "
            "its own code must be exported with its authors' tools and loaded as an ONNX folder."
        )
