"""Set where a Llama tokenizer inserts a `▁` that the text does not have.

Older files insert one before every piece between special tokens (`legacy`), newer ones before the text only; the files
of one model may say both. The configuration counts, as in transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def adapt(backend: Any, config: Mapping[str, Any]) -> bool:
    """Set a Llama backend's handling of spaces by `config`; return False for byte-level backends, which have no `▁`.

    Args:
        backend: the `tokenizers.Tokenizer`.
        config: `tokenizer_config.json` and overrides: "legacy" (default False), "add_prefix_space" (True).
    """
    from tokenizers import decoders, pre_tokenizers

    if '"ByteLevel"' in str(backend.decoder.__getstate__() if backend.decoder else ""):
        return False
    adds = config.get("add_prefix_space")
    adds = True if adds is None else bool(adds)
    scheme = "never" if not adds else "always" if config.get("legacy") else "first"
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*parts, decoders.Strip(content=" ", left=1)] if adds else parts)
    return True
