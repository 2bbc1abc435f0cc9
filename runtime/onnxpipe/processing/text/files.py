"""Load a tokenizer's backend and settings from the files of a folder, and save them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, read_bytes, read_text
from onnxpipe.bundle.known_folders import model_config
from onnxpipe.errors import BundleError, UnknownArgumentError, UnsupportedError
from onnxpipe.processing.text import vocabulary_files
from onnxpipe.processing.text.declared_tokens import (
    add_missing,
    added_tokens,
    extra_tokens,
    legacy_tokens,
    named_tokens,
    optional_json,
    token_of,
    with_languages,
)
from onnxpipe.processing.text.families import CLASS_OF, RENAMED, TokenizerFamily, family_of
from onnxpipe.processing.text.flags import FLAGS, apply_flags
from onnxpipe.processing.text.hostile import check_merges, growth
from onnxpipe.processing.text.languages import LanguageConfig
from onnxpipe.processing.text.metaspace import adapt as adapt_metaspace
from onnxpipe.processing.text.setting_kinds import check_settings
from onnxpipe.processing.text.strategies import UNLIMITED
from onnxpipe.processing.text.vocabulary import ROLES

logger = logging.getLogger("onnxpipe")

_SETTINGS = frozenset(
    {"model_max_length", "max_len", "padding_side", "truncation_side", "model_input_names", "chat_template",
     "clean_up_tokenization_spaces", "split_special_tokens", "extra_special_tokens", "additional_special_tokens"}
)  # fmt: skip
_REFUSED = frozenset(
    {"from_slow", "legacy", "tokenizer_type", "tokenizer_file", "tokenizer_object", "vocab_file", "merges_file",
     "gguf_file", "force_download", "resume_download", "proxies", "mirror", "config", "code_revision", "backend",
     "use_auth_token", "add_bos_token", "add_eos_token", "language", "task",
     "predict_timestamps", "do_basic_tokenize", "never_split", "keep_accents", "remove_space", "split_by_punct",
     "errors", "sp_model_kwargs", "fix_mistral_regex", "mistral_format", "added_tokens_decoder"}
)  # fmt: skip
#: Keys of configs that belong to one copy of the files, or are saved elsewhere.
_NOT_SAVED = frozenset(
    {"added_tokens_decoder", "additional_special_tokens", "extra_special_tokens", "chat_template", "name_or_path",
     "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file", "device_map", "is_local",
     "local_files_only", "files_loaded", "init_inputs", "max_len"}
)  # fmt: skip


@dataclass(frozen=True)
class TokenizerSettings:
    """The settings of a tokenizer, apart from its backend.

    Attributes:
        named: special tokens by role.
        extra: special tokens without a role.
        model_max_length: the most tokens that the model accepts; 1e30 where it is not known.
        padding_side, truncation_side: "right" or "left".
        model_input_names: the rows that a call returns, `input_ids` first.
        pad_token_type_id: the token type of padding.
        clean_up_tokenization_spaces: whether decoding removes the spaces before punctuation.
        split_special_tokens: whether special tokens that occur in a text are split like other words.
        chat_template: the template, or templates by name.
        tokenizer_class: the class that the files name.
        name_or_path: where it was loaded from.
        languages: the language tokens; None if the tokenizer has none.
        src_lang, tgt_lang: the languages of source and target texts; None for the class's.
        config: `tokenizer_config.json` with the overrides, for saving.
        vocabularies: ids by token, by language, where each language has its own vocabulary (CTC); else empty.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    model_max_length: int = UNLIMITED
    padding_side: str = "right"
    truncation_side: str = "right"
    model_input_names: tuple[str, ...] = ("input_ids", "attention_mask")
    pad_token_type_id: int = 0
    clean_up_tokenization_spaces: bool = False
    split_special_tokens: bool = False
    chat_template: str | dict[str, str] | None = None
    tokenizer_class: str | None = None
    name_or_path: str = ""
    languages: LanguageConfig | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    vocabularies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def source(self, file: str) -> str:
        """Name a file of the tokenizer, for errors."""
        return str(Path(self.name_or_path) / file) if self.name_or_path else f"the tokenizer's {file}"

    def __post_init__(self) -> None:
        for kind, side in (("Padding", self.padding_side), ("Truncation", self.truncation_side)):
            if side not in ("right", "left"):
                raise ValueError(f"{kind} side should be selected between 'right' and 'left', current value: {side}")


def load(folder: Path, name: str, overrides: Mapping[str, Any]) -> tuple[Any, TokenizerSettings, Any]:
    """Load the backend (`tokenizers.Tokenizer`) and the settings of a folder, as transformers' fast tokenizers do.

    The third value is the backend of target texts, None where it is the same: `target_tokenizer.json` (Marian has a
    SentencePiece model for each side).

    Raises:
        UnknownArgumentError, UnsupportedError: an override that is unknown or not supported.
        ModelNotFoundError: no tokenizer.json, and no vocabulary files that a tokenizer can be built from.
        BundleError: a damaged file.
    """
    config = optional_json(folder, "tokenizer_config.json")
    check_settings(config, folder / "tokenizer_config.json")
    own = (*ROLES, "padding_side", "truncation_side")  # these have transformers' errors
    check_settings({key: value for key, value in overrides.items() if key not in own}, None)
    tokenizer_class = _class(folder, config)
    family = family_of(tokenizer_class)
    if "auto_map" in config:
        logger.warning("%s has its own tokenizer code, which is not run: only tokenizer.json is used.", name)
    _check_overrides(
        overrides, {*_settings_of(family), *ROLES, *family.tokens, *(k for k in config if k.endswith("_token"))}
    )
    merged = {**family.tokens, **config, **legacy_tokens(folder, config), **overrides}
    named, specs = named_tokens(merged)
    extra = [token_of(token) for token in extra_tokens(merged)]
    backend, vocabularies = _backend(folder, family, named, merged)
    if family.languages is not None:
        extra = with_languages(extra, backend, family.languages)
    if backend.padding is not None and "pad_token" not in merged:
        named["pad_token"] = backend.padding["pad_token"]
    sides = _sides(backend, family)
    backend.no_padding()
    backend.no_truncation()
    _apply_flags(backend, family, config, overrides)
    add_missing(backend, added_tokens(folder, config, literal=family.literal), named, specs, extra)
    options = overrides if has_file(folder, "tokenizer.json") else {**config, **overrides}
    if {"add_bos_token", "add_eos_token"} & options.keys() and family.open_ended:
        _set_post_processor(backend, named, options)
    kept = {k: v for k, v in {**config, **overrides}.items() if k not in _NOT_SAVED}
    limit = merged.get("model_max_length", merged.get("max_len", family.max_length))
    if limit is not None and limit < (added := backend.num_special_tokens_to_add(False)):
        raised = ValueError if {"model_max_length", "max_len"} & overrides.keys() else BundleError
        raise raised(f"model_max_length of {name} is {limit}, and {added} special tokens are added to each text")
    settings = TokenizerSettings(
        named=named,
        extra=tuple(str(token) for token in extra),
        model_max_length=UNLIMITED if limit is None else int(limit),
        padding_side=merged.get("padding_side", sides[0]),
        truncation_side=merged.get("truncation_side", sides[1]),
        model_input_names=tuple(merged.get("model_input_names") or family.inputs),
        pad_token_type_id=family.pad_type,
        clean_up_tokenization_spaces=bool(merged.get("clean_up_tokenization_spaces")),
        split_special_tokens=bool(merged.get("split_special_tokens")),
        chat_template=overrides.get("chat_template", _chat_template(folder, config)),
        tokenizer_class=tokenizer_class,
        name_or_path=name,
        languages=_languages(family, merged),
        src_lang=merged.get("src_lang") if family.languages else None,
        tgt_lang=merged.get("tgt_lang") if family.languages else None,
        config=kept,
        vocabularies=vocabularies,
    )
    return backend, settings, _target(folder, named, specs, extra)


def save(folder: Path, backend: Any, settings: TokenizerSettings, target: Any = None) -> tuple[str, ...]:
    """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and chat templates; return their
    paths. Both transformers 4 and 5 read them."""
    folder.mkdir(parents=True, exist_ok=True)
    roles: dict[str, Any] = {**settings.named}
    if settings.extra:
        roles["additional_special_tokens"] = list(settings.extra)
    config = {
        **{k: v for k, v in settings.config.items() if k not in ROLES},
        **roles,
        "clean_up_tokenization_spaces": settings.clean_up_tokenization_spaces,
        "model_input_names": list(settings.model_input_names),
        "model_max_length": settings.model_max_length,
        "padding_side": settings.padding_side,
        "truncation_side": settings.truncation_side,
    }
    if settings.languages is not None:
        config.update(src_lang=settings.src_lang, tgt_lang=settings.tgt_lang)
    if settings.tokenizer_class:
        config["tokenizer_class"] = settings.tokenizer_class
    files = {
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(roles),
        "tokenizer.json": backend.to_str(pretty=True),
    }
    if target is not None:
        files["target_tokenizer.json"] = target.to_str(pretty=True)
    template = settings.chat_template
    for name, text in ({"default": template} if isinstance(template, str) else template or {}).items():
        if Path(name).name != name:  # it may come from a config, and must not point outside the folder
            raise BundleError(f"a chat template cannot be saved under the name {name!r}: use a plain file name")
        files["chat_template.jinja" if name == "default" else f"additional_chat_templates/{name}.jinja"] = text
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tuple(str(folder / name) for name in files)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _settings_of(family: TokenizerFamily) -> set[str]:
    """Collect the settings that only some classes have."""
    known = {"add_bos_token", "add_eos_token"} if family.open_ended else set()
    known |= {"legacy"} if family.metaspace else set()
    known |= {*family.settings}
    if family.languages is not None:
        known |= {"src_lang", "tgt_lang", *(["legacy_behaviour"] if family.languages.movable else [])}
    return known


def _check_overrides(overrides: Mapping[str, Any], more: set[str]) -> None:
    known = _SETTINGS | FLAGS.keys() | more
    for name in overrides:
        if name in _REFUSED and name not in known:
            raise UnsupportedError(
                f"{name}= is not supported: tokenizer.json fixes it, and a loaded tokenizer cannot change it"
            )
        if name not in known:
            raise UnknownArgumentError.among("AutoTokenizer.from_pretrained", name, known)


def _class(folder: Path, config: Mapping[str, Any]) -> str | None:
    model = model_config(folder)
    named = config.get("tokenizer_class")
    known = not has_file(folder, "config.json")  # of a folder that is known without one, vocabulary and all
    if model.get("model_type") in RENAMED and (known or has_file(folder, "tokenizer.json")):
        return RENAMED[model["model_type"]]
    if isinstance(named, str):
        return named
    named = model.get("tokenizer_class")
    return named if isinstance(named, str) else CLASS_OF.get(str(model.get("model_type")))


def _backend(
    folder: Path, family: TokenizerFamily, named: Mapping[str, str], merged: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Mapping[str, int]]]:
    """Build the backend; also return the vocabularies by language, where each language has its own."""
    if family.vocabulary == "ctc" and has_file(folder, "vocab.json"):
        from onnxpipe.processing.text.speech import ctc_vocabulary

        vocabulary, vocabularies = ctc_vocabulary.read(folder, merged.get("target_lang"))
        return ctc_vocabulary.build(vocabulary, named, lower=bool(merged.get("do_lower_case"))), vocabularies
    if family.vocabulary == "characters":
        from onnxpipe.processing.text.speech import characters

        return characters.build(folder, named, merged.get("added_tokens_decoder")), {}
    built = has_file(folder, "tokenizer.json")
    return _read(folder, "tokenizer.json") if built else vocabulary_files.build(folder, family, named), {}


def _set_post_processor(backend: Any, named: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Put the begin or end token around texts, by `add_bos_token` and `add_eos_token` of the options."""
    from tokenizers import processors

    bos, eos = (
        [named[f"{role}_token"]] if options.get(f"add_{role}_token") and f"{role}_token" in named else []
        for role in ("bos", "eos")
    )
    backend.post_processor = processors.TemplateProcessing(
        single=[*bos, "$A", *eos],
        pair=[f"{token}:{i}" for i, text in enumerate("AB") for token in (*bos, f"${text}", *eos)],
        special_tokens=[(token, backend.token_to_id(token)) for token in {*bos, *eos}],
    )


def _target(folder: Path, named: Mapping[str, str], specs: Mapping[str, Any], extra: list[Any]) -> Any:
    if not has_file(folder, "target_tokenizer.json"):
        return None
    backend = _read(folder, "target_tokenizer.json")
    backend.no_padding()
    backend.no_truncation()
    add_missing(backend, {}, named, specs, extra)
    return backend


def _languages(family: TokenizerFamily, merged: Mapping[str, Any]) -> LanguageConfig | None:
    languages = family.languages
    if languages is not None and languages.movable and merged.get("legacy_behaviour"):
        return replace(languages, place="suffix")
    return languages


def _read(folder: Path, name: str) -> Any:
    from tokenizers import Tokenizer

    path, content = folder / name, read_bytes(folder, name)
    try:
        check_merges(content, path)
        backend = Tokenizer.from_buffer(content)
        for part in ("normalizer", "decoder"):
            growth(getattr(backend, part))
        return backend
    except BundleError:
        raise
    except OverflowError as error:
        raise BundleError(f"{path}: the {part} is refused: {error}") from None
    except Exception as error:  # the library raises a bare Exception
        raise BundleError(f"{path} is not a tokenizer that this version of tokenizers reads: {error}") from error


def _sides(backend: Any, family: TokenizerFamily) -> tuple[str, str]:
    padding, truncation = backend.padding, backend.truncation
    return (
        family.padding_side if padding is None else padding["direction"],
        "right" if truncation is None else truncation["direction"],
    )


def _apply_flags(
    backend: Any, family: TokenizerFamily, config: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    # null is as if left out, but of strip_accents, where it means: as do_lower_case
    given = {flag: value for flag, value in config.items() if value is not None or flag == "strip_accents"}
    wanted = {flag: given.get(flag, default) for flag, default in family.flags.items()}
    flags = {flag: value for flag, value in overrides.items() if flag in FLAGS and flag not in family.settings}
    placed = apply_flags(backend, {**wanted, **flags})
    if family.metaspace and adapt_metaspace(backend, {**config, **overrides}):
        placed.add("add_prefix_space")
    for flag in flags.keys() - placed:
        if config.get(flag) != flags[flag]:
            raise UnsupportedError(f"{flag}={flags[flag]!r} is not supported: this tokenizer.json has no such setting")


def _chat_template(folder: Path, config: Mapping[str, Any]) -> Any:
    named = {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if has_file(folder, "chat_template.jinja"):
        named = {"default": folder / "chat_template.jinja", **named}
    if named:
        texts = {name: read_text(folder, path.relative_to(folder).as_posix()) for name, path in named.items()}
        return texts["default"] if list(texts) == ["default"] else texts
    template = config.get("chat_template")
    if isinstance(template, list):
        return {entry["name"]: entry["template"] for entry in template}
    return template
