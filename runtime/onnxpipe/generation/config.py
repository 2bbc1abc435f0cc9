"""GenerationConfig: the parameters of generation; a field that is not set is None (transformers 5)."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxpipe.bundle import Config, HubKeywords, HubOptions, fetch
from onnxpipe.bundle.files import read_json
from onnxpipe.errors import BundleError, ModelNotFoundError, UnknownArgumentError
from onnxpipe.generation.fields import DEFAULTS, FIELDS
from onnxpipe.generation.validation import validate
from onnxpipe.generation.watermarking import WatermarkingConfig

_KNOWN = frozenset(FIELDS)
#: Entries of files that are not about generation.
_NOTES = ("transformers_version", "_from_model_config", "_commit_hash", "_original_object_hash")
_FILE = "generation_config.json"
_OUTPUT_FLAGS = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")


class GenerationConfig:
    """The parameters of `generate`.

    Every field of transformers 5's GenerationConfig is an attribute, None until set. Fields that a file has and this
    class does not know (Whisper's `alignment_heads`, say) are kept as attributes and written back; names
    that code sets must be known.

    Raises:
        UnknownArgumentError: a keyword or attribute that is not a field; the nearest one is named.
        ValueError: a value that is not possible.
    """

    max_length: int | None
    max_new_tokens: int | None
    min_length: int | None
    min_new_tokens: int | None
    early_stopping: bool | str | None
    max_time: float | None
    stop_strings: str | list[str] | None
    do_sample: bool | None
    num_beams: int | None
    num_beam_groups: int | None
    diversity_penalty: float | None
    penalty_alpha: float | None
    dola_layers: str | list[int] | None
    constraints: list[Any] | None
    force_words_ids: list[Any] | None
    use_mtp: bool | None
    low_memory: bool | None
    use_cache: bool | None
    cache_implementation: str | None
    cache_config: Any
    max_cache_len: int | None
    prefill_chunk_size: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    top_h: float | None
    typical_p: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    repetition_penalty: float | None
    encoder_repetition_penalty: float | None
    length_penalty: float | None
    no_repeat_ngram_size: int | None
    encoder_no_repeat_ngram_size: int | None
    bad_words_ids: list[list[int]] | None
    renormalize_logits: bool | None
    forced_bos_token_id: int | None
    forced_eos_token_id: int | list[int] | None
    remove_invalid_values: bool | None
    exponential_decay_length_penalty: tuple[int, float] | None
    suppress_tokens: list[int] | None
    begin_suppress_tokens: list[int] | None
    sequence_bias: Any
    token_healing: bool | None
    guidance_scale: float | None
    watermarking_config: Any
    num_return_sequences: int | None
    output_attentions: bool | None
    output_hidden_states: bool | None
    output_scores: bool | None
    output_logits: bool | None
    return_dict_in_generate: bool | None
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    decoder_start_token_id: int | list[int] | None
    is_assistant: bool | None
    num_assistant_tokens: int | None
    num_assistant_tokens_schedule: str | None
    assistant_confidence_threshold: float | None
    prompt_lookup_num_tokens: int | None
    max_matching_ngram_size: int | None
    assistant_early_exit: int | None
    assistant_lookbehind: int | None
    target_lookbehind: int | None
    assistant_ensemble_weight: float | None
    speculation_type: str | None
    compile_config: Any
    disable_compile: bool | None
    continuous_batching_config: Any

    def __init__(self, **fields: Any) -> None:
        self._start({})
        for name, value in fields.items():
            if name not in _KNOWN:
                raise UnknownArgumentError.among("GenerationConfig", name, FIELDS)
            setattr(self, name, value)
        self.validate(given=frozenset(fields))

    def _start(self, extra: Mapping[str, Any]) -> None:
        self.__dict__.update(dict.fromkeys(FIELDS), _extra=dict(extra), _loaded=None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **fields: Any) -> GenerationConfig:
        """Make a config from the object of a generation_config.json; names it does not know are kept.

        Args:
            values: the object.
            **fields: values that replace the object's.
        """
        config = cls.__new__(cls)
        config._start({name: copy.deepcopy(value) for name, value in values.items() if _is_extra(name)})
        for name, value in values.items():
            if name in _KNOWN:
                setattr(config, name, copy.deepcopy(value))
        config.update(**fields)
        config.__dict__["_loaded"] = config.to_dict()
        return config

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name: str | os.PathLike[str],
        config_file_name: str | None = None,
        **keywords: Any,
    ) -> GenerationConfig:
        """Load the generation_config.json of a folder or a Hub repository.

        Args:
            pretrained_model_name: folder or Hub id.
            config_file_name: another name of the file.
            **keywords: the Hub's (`HubKeywords`), and values that replace the file's, e.g. `top_k=1`.

        Raises:
            ModelNotFoundError: no such folder, repository or file.
            BundleError: the file is not a config, or has values that are not possible.
        """
        hub, fields = HubOptions.split(keywords, HubKeywords)
        folder = fetch(pretrained_model_name, need="config", **hub.keywords)
        name = config_file_name or _FILE
        values = read_json(folder, name)
        try:
            return cls.from_dict(values, **fields)
        except (TypeError, ValueError):
            with _naming(folder / name):  # where the file's own values are at fault
                cls.from_dict(values)
            raise

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], config: Config) -> GenerationConfig:
        """Load the config of a model in `folder`: its generation_config.json, else the fields of its config.json.

        Raises:
            BundleError: the file is not a config, or has values that are not possible.
        """
        try:
            values = read_json(Path(folder), _FILE)
        except ModelNotFoundError:
            with _naming(Path(folder, "config.json")):
                return cls.from_model_config(config)
        with _naming(Path(folder, _FILE)):
            return cls.from_dict(values)

    @classmethod
    def from_model_config(cls, model_config: Config | Mapping[str, Any]) -> GenerationConfig:
        """Read the fields of generation in a config.json, where models had them before generation_config.json existed.

        Fields that the outer object leaves unset are taken from its `decoder`, `generator` or `text_config`.
        """
        values = model_config.to_dict() if isinstance(model_config, Config) else dict(model_config)
        inner: Any = next((values[name] for name in ("decoder", "generator", "text_config") if values.get(name)), {})
        config = cls.__new__(cls)
        config._start({})
        for source in (values, inner if isinstance(inner, Mapping) else {}):
            for name in FIELDS:
                if source.get(name) is not None and getattr(config, name) is None:
                    setattr(config, name, copy.deepcopy(source[name]))
        if values.get("force_bos_token_to_be_generated") and config.forced_bos_token_id is None:
            config.forced_bos_token_id = config.bos_token_id
        if any(getattr(config, flag) for flag in _OUTPUT_FLAGS):
            config.return_dict_in_generate = True
        config.validate(given=frozenset())
        return config

    def save_pretrained(self, save_directory: str | os.PathLike[str], config_file_name: str | None = None) -> None:
        """Write the fields that are set to generation_config.json in a folder, which is created if need be.

        Raises:
            ValueError: the fields contradict each other. (A config that was read from a file and not changed is always
                written.)
        """
        try:
            self.validate(strict=self.to_dict() != self.__dict__["_loaded"])
        except ValueError as error:
            raise ValueError(f"{error}\n\nFix these issues to save the configuration.") from None
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (config_file_name or _FILE)).write_text(self.to_json_string(), encoding="utf-8")

    def update(self, **fields: Any) -> None:
        """Set fields, and check the whole.

        Raises:
            UnknownArgumentError: a name that is neither a field nor in the file this was read from.
        """
        for name, value in fields.items():
            if not self.has(name):
                raise UnknownArgumentError.among("GenerationConfig.update", name, FIELDS)
            setattr(self, name, value)
        self.validate(given=frozenset(fields))

    def validate(self, strict: bool = False, *, given: frozenset[str] | None = None) -> None:
        """Check the values.

        Args:
            strict: fields that will be ignored raise, too; otherwise they are logged.
            given: names that the caller set just now; only they are warned about. None: all.

        Raises:
            ValueError: a value that is not possible, or two that contradict each other.
        """
        validate(self, strict=strict, given=given)

    def has(self, name: str) -> bool:
        """Whether `name` is a field, or came with the file."""
        return name in _KNOWN or name in self.__dict__["_extra"]

    def filled(self, *fallbacks: GenerationConfig) -> GenerationConfig:
        """Copy the config, with unset fields taken from the first fallback that has them, else from DEFAULTS."""
        config = copy.deepcopy(self)
        for fallback in fallbacks:
            for name in FIELDS:
                if getattr(config, name) is None:
                    setattr(config, name, copy.deepcopy(getattr(fallback, name)))
            config.__dict__["_extra"] = {**fallback.__dict__["_extra"], **config.__dict__["_extra"]}
        for name, value in DEFAULTS.items():
            if getattr(config, name) is None:
                setattr(config, name, value)
        return config

    def to_dict(self) -> dict[str, Any]:
        """All fields, and those that came with the file, as plain values."""
        values = {**{name: getattr(self, name) for name in FIELDS}, **self.__dict__["_extra"]}
        mark = values["watermarking_config"]
        if isinstance(mark, WatermarkingConfig):
            values["watermarking_config"] = mark.to_dict()
        return copy.deepcopy(values)

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in self.to_dict().items() if value is not None}

    def to_json_string(self, use_diff: bool = True) -> str:
        """JSON of the fields that are set, or of all."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(_plain(values), indent=2, sort_keys=True) + "\n"

    def __getattr__(self, name: str) -> Any:  # only for names that are not fields
        extra = self.__dict__.get("_extra")
        if extra is not None and name in extra:
            return extra[name]
        raise AttributeError(f"GenerationConfig has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__["_extra"]:
            self.__dict__["_extra"][name] = value
            return
        if name not in _KNOWN:
            raise UnknownArgumentError.among("GenerationConfig", name, FIELDS)
        if name == "watermarking_config" and isinstance(value, Mapping):
            value = WatermarkingConfig.from_dict(value)
        self.__dict__[name] = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        return f"GenerationConfig {self.to_json_string()}"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors about values that a file holds into a BundleError that names the file."""
    try:
        yield
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise BundleError(f"{path} has a value that is not possible: {error}") from error


def _is_extra(name: str) -> bool:
    return name not in _KNOWN and name not in _NOTES


def _plain(value: Any) -> Any:
    """Make a value JSON can hold: tuples as keys and objects become their text, as in transformers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
