"""A model's config.json with the defaults and names that transformers' configs have."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.diffusion_folder import INDEX, index_config
from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.bundle.genai_folder import GENAI, genai_config
from onnxpipe.bundle.hub import fetch
from onnxpipe.bundle.hub_options import HubKeywords, HubOptions
from onnxpipe.bundle.known_folders import known_folder, model_config
from onnxpipe.bundle.places import CONFIGS
from onnxpipe.errors import BundleError, ModelNotFoundError

#: The values of transformers' base config for names that the file does not have.
_DEFAULTS: dict[str, Any] = {
    "architectures": None,
    "problem_type": None,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "sep_token_id": None,
    "decoder_start_token_id": None,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "tie_word_embeddings": True,
    "finetuning_task": None,
    "task_specific_params": None,
    "torch_dtype": None,
    "dtype": None,
    "model_type": "",
}

#: Families whose files use other names than the common ones: model_type to common name to name in the file.
_OTHER_NAMES: dict[str, dict[str, str]] = {
    "distilbert": {"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    "gpt2": {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    "xlm": {"hidden_size": "emb_dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    "flaubert": {"hidden_size": "emb_dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    "xlnet": {"hidden_size": "d_model", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
    "bloom": {"num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
    "bart": {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads"},
    "mbart": {"hidden_size": "d_model", "num_attention_heads": "encoder_attention_heads"},
    "t5": {"hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
}

#: No classifier has more labels; a larger "num_labels" would only fill the memory.
_MOST_LABELS = 1_000_000


class Config:
    """Attribute access to config.json.

    A name that neither the file nor transformers' base config has raises AttributeError; use `get` for a default.
    Nested "..._config" objects are Configs too. Attributes can be set, e.g. to give labels other names.

    Attributes:
        model_type: the family, e.g. "bert".
        architectures: names of the PyTorch classes, e.g. ["BertForSequenceClassification"], or None.
        id2label: class number to label; "LABEL_0", "LABEL_1", ... where the file has none.
        label2id: the inverse.
        num_labels: number of labels; 2 if the file is silent, as in transformers.
        problem_type: "regression", "single_label_classification", "multi_label_classification" or None.
        name_or_path: the folder or Hub id it was read from.
    """

    _values: dict[str, Any]
    _labelled: bool

    def __init__(self, values: Mapping[str, Any], name_or_path: str = "") -> None:
        kept = copy.deepcopy(dict(values))
        self.__dict__["_values"] = kept
        self.__dict__["name_or_path"] = name_or_path or str(kept.pop("_name_or_path", ""))
        where = f"config.json of {self.name_or_path}" if self.name_or_path else "the config"
        _check_kinds(kept, where)
        count = kept.pop("num_labels", None)
        given = kept.get("id2label")
        self.__dict__["_labelled"] = given is not None or count is not None
        kept["id2label"] = _labels(count, where) if given is None else _numbered(given, where)
        if not isinstance(kept.get("label2id"), dict) or given is None:
            kept["label2id"] = {label: i for i, label in kept["id2label"].items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], name_or_path: str = "") -> Config:
        """Make a config from config.json's object."""
        return cls(values, name_or_path)

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str]) -> Config:
        """Load the config of a model folder.

        Raises:
            ModelNotFoundError: no config.json in it, nor a model_index.json.
            BundleError: the file is not a config.
        """
        return cls(_read(Path(folder)), str(folder))

    @classmethod
    def of_model(cls, folder: Path, instead: Config | None, graphs: Mapping[str, Mapping[str, Path]]) -> Config:
        """Load the config of a folder with graphs; where it has none, take the one that was passed, or what is known of
        such a folder (see `known_folder`).

        Raises:
            ModelNotFoundError: neither is there; the message says what a config is for.
            BundleError: the file is not a config.
        """
        if any(has_file(folder, name) for name in CONFIGS):
            return cls.from_folder(folder)
        if instead is not None:
            return instead
        known = known_folder(folder, graphs)
        if known is not None:
            return cls(known.config, str(folder))
        raise ModelNotFoundError(
            f"{folder} has graphs and no config.json, which says the model's family, labels and special tokens: put "
            "that of the original model there, or pass config= (a Hub id, a folder or a Config)"
        )

    @property
    def num_labels(self) -> int:
        """Number of labels."""
        return len(self._values["id2label"])

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        self.__dict__["_labelled"] = True
        if count != self.num_labels:
            self._values["id2label"] = _labels(count)
            self._values["label2id"] = {label: i for i, label in self._values["id2label"].items()}

    def get(self, name: str, default: Any = None) -> Any:
        """Get the attribute's value, or `default` if there is none."""
        return getattr(self, name, default)

    def get_text_config(self) -> Config:
        """Get the config of the text part of a model of images or audio and text; of any other this config itself."""
        inner = self.get("text_config")
        return inner if isinstance(inner, Config) else self

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """Get a value that is one of some names, in any case; None if there is none.

        Raises:
            BundleError: it is something else.
        """
        value = self.get(name)
        if not value:
            return None
        if not isinstance(value, str) or value.lower() not in choices:
            where = f"config.json of {self.name_or_path}" if self.name_or_path else "the config"
            raise BundleError(f"{where}: {name} is {value!r:.80}, which is not one of {', '.join(choices)}")
        return value.lower()

    def to_dict(self) -> dict[str, Any]:
        """Copy it as plain dicts and lists; the keys of `id2label` are ints. Default labels are left out."""
        names = self._values if self._labelled else self._values.keys() - {"id2label", "label2id"}
        return {name: copy.deepcopy(self._values[name]) for name in self._values if name in names}

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values")
        if values is None or name.startswith("__"):  # while being copied or unpickled
            raise AttributeError(name)
        key = self._key(name)
        if key in values:
            value = values[key]
            if name.endswith("_config") and isinstance(value, dict):
                return Config(value, self.name_or_path)
            return value
        if name in _DEFAULTS:
            return _DEFAULTS[name]
        raise AttributeError(f"the config of {self.name_or_path or 'this model'} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("num_labels", "name_or_path"):
            object.__setattr__(self, name, value)
            return
        self._values[self._key(name)] = value
        if name in ("id2label", "label2id"):
            self.__dict__["_labelled"] = True
        if name == "id2label":
            self._values["label2id"] = {label: i for i, label in value.items()}

    def _key(self, name: str) -> str:
        if name in self._values:
            return name
        return _OTHER_NAMES.get(str(self._values.get("model_type")), {}).get(name, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"Config({self._values!r})"


class Labels(dict[int, str]):
    """Labels by number. Of a config that has none every number has one, LABEL_<number>, as in transformers."""

    def __init__(self, labels: Mapping[int, str], where: str = "") -> None:
        super().__init__(labels)
        self._where = where

    def __missing__(self, number: int) -> str:
        if not self._where:
            return f"LABEL_{number}"
        raise BundleError(f"{self._where}: id2label has no label for {number}, which the model gives: the two differ")

    def __reduce__(self) -> tuple[Any, ...]:
        return Labels, (dict(self), self._where)


def _labels(count: Any, where: str = "the config") -> dict[int, str]:
    count = 2 if count is None else count
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST_LABELS:
        raise BundleError(f"{where}: num_labels is {count!r}: not a count of labels")
    return Labels({i: f"LABEL_{i}" for i in range(count)})


def _numbered(id2label: Any, where: str) -> dict[int, str]:
    try:
        labels = {int(key): value for key, value in id2label.items()}
    except (AttributeError, TypeError, ValueError):
        raise BundleError(f"{where}: id2label must map numbers to labels") from None
    wrong = [label for label in labels.values() if not isinstance(label, str)]
    if wrong:
        raise BundleError(f"{where}: id2label must map numbers to labels, and {wrong[0]!r} is not a text")
    return Labels(labels, where)


#: What the values of keys are that any model has, and that much depends on; None stands for a key that is absent.
_KINDS: dict[str, tuple[type, ...]] = {
    "model_type": (str,),
    "architectures": (list, tuple),
    "problem_type": (str,),
    "label2id": (dict,),
    "task_specific_params": (dict,),
    "prefix": (str,),
    "function_to_apply": (str,),
    "sentence_transformers": (dict,),
    "num_frames": (int,),
    "is_encoder_decoder": (bool,),
    "pad_token_id": (int,),
    "bos_token_id": (int,),
    "eos_token_id": (int, list, tuple),
    "decoder_start_token_id": (int, list, tuple),
    "vocab_size": (int,),
    "max_position_embeddings": (int,),
}


def _read(folder: Path) -> dict[str, Any]:
    """Read a folder's config.json, or the file that a folder of another kind has instead."""
    if not has_file(folder, "config.json"):
        if has_file(folder, INDEX):
            return index_config(folder)
        if has_file(folder, GENAI):
            return genai_config(folder)
    return dict(model_config(folder) or read_json(folder, "config.json"))  # which says that there is none


def _check_kinds(values: Mapping[str, Any], where: str) -> None:
    for key, kinds in _KINDS.items():
        value = values.get(key)
        if value is not None and not isinstance(value, kinds):
            raise BundleError(f"{where}: {key} is {value!r:.200}, a {type(value).__name__}: it must be a "
                              f"{' or '.join(kind.__name__ for kind in kinds)}")  # fmt: skip
    for task, params in (values.get("task_specific_params") or {}).items():
        if not isinstance(params, dict):
            raise BundleError(
                f"{where}: task_specific_params must map tasks to objects, and {task!r} has {params!r:.80}"
            )
    for label, number in (values.get("label2id") or {}).items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise BundleError(f"{where}: label2id must map labels to numbers, and {label!r} has {number!r:.80}")
    if not all(isinstance(name, str) for name in values.get("architectures") or ()):
        raise BundleError(f"{where}: architectures must be a list of names")


class AutoConfig:
    """Loads a `Config`: `AutoConfig.from_pretrained(folder_or_hub_id)`."""

    @staticmethod
    def from_pretrained(pretrained_model_name_or_path: str | os.PathLike[str], **keywords: Any) -> Config:
        """Load the config of a folder or a Hub repository.

        Args:
            pretrained_model_name_or_path: folder or Hub id.
            **keywords: the Hub's (`HubKeywords`), and values that replace the file's, e.g. `num_labels=3`.

        Raises:
            ModelNotFoundError: no such folder, repository or file.
            BundleError: the file is not a config.
        """
        hub, overrides = HubOptions.split(keywords, HubKeywords)
        folder = fetch(pretrained_model_name_or_path, need="config", **hub.keywords)
        values = _read(folder)
        labels = overrides.pop("num_labels", None)
        config = Config({**values, **overrides}, os.fspath(pretrained_model_name_or_path))
        if labels is not None:
            config.num_labels = labels
        return config
