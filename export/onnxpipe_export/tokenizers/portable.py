"""Write tokenizer_config.json so that transformers 4 and 5, optimum and transformers.js all read the same tokenizer.

- transformers 4 knows no class `TokenizersBackend`, takes `extra_special_tokens` for named tokens, not for a list, and
  gives `token_type_ids` unless `model_input_names` says otherwise;
- transformers.js reads tokenizer.json and tokenizer_config.json alone: special tokens and the chat template have to be
  in the latter; it cleans up spaces unless that is declined; and its text generation adds special tokens to a prompt
  only if `add_bos_token` or `add_eos_token` says so. transformers 5 ignores these two beside a tokenizer.json, and to
  transformers 4 they say what tokenizer.json does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnxpipe_export.tracing import quiet
from onnxpipe_export.write import write_json

_CONFIG = "tokenizer_config.json"
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_OF_VERSION_5, _OF_BOTH = "TokenizersBackend", "PreTrainedTokenizerFast"
_PROBE = "a"


def write_config(tokenizer: Any, folder: Path) -> None:
    """Rewrite tokenizer_config.json in `folder`, whatever version of transformers wrote it.

    Args:
        tokenizer: the original's, which knows what the file leaves to the class.
        folder: the bundle.
    """
    path = folder / _CONFIG
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= _special_tokens(tokenizer, config) | _class(tokenizer, config) | _ends(tokenizer)
    listed = config.get("extra_special_tokens")
    if isinstance(listed, list):
        del config["extra_special_tokens"]
        config["additional_special_tokens"] = config.get("additional_special_tokens") or listed
    config.setdefault("clean_up_tokenization_spaces", bool(getattr(tokenizer, "clean_up_tokenization_spaces", False)))
    config.setdefault("model_input_names", list(tokenizer.model_input_names))
    template = getattr(tokenizer, "chat_template", None)
    if template and not config.get("chat_template"):
        named = isinstance(template, dict)
        config["chat_template"] = [{"name": k, "template": v} for k, v in template.items()] if named else template
    write_json(path, config)


def _special_tokens(tokenizer: Any, config: dict[str, Any]) -> dict[str, str]:
    """Name the special tokens by role that the file leaves out."""
    missing = [role for role in _ROLES if config.get(role) is None]
    return {role: str(own) for role in missing if (own := getattr(tokenizer, role, None)) is not None}


def _class(tokenizer: Any, config: dict[str, Any]) -> dict[str, str]:
    named = config.get("tokenizer_class")
    if named not in (None, _OF_VERSION_5):
        return {}
    own = type(tokenizer).__name__
    return {"tokenizer_class": _OF_BOTH if own == _OF_VERSION_5 else own}


def _ends(tokenizer: Any) -> dict[str, bool]:
    """Tell whether a text gets the token of its beginning and of its end; nothing of a tokenizer that has neither."""
    ids = [getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos")]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if ids == [None, None] or backend is None:
        return {}
    with quiet():
        plain = backend.encode(_PROBE, add_special_tokens=False).ids
        whole = backend.encode(_PROBE).ids
    added = len(whole) > len(plain)
    return {"add_bos_token": added and whole[0] == ids[0], "add_eos_token": added and whole[-1] == ids[1]}
