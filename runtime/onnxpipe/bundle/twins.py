"""Find the ready-made twin of a Hub repository without graphs: the same weights, converted to ONNX by the community.

transformers.js takes its default models from these repositories.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxpipe.bundle.hub import TIMEOUT, is_offline, listing
from onnxpipe.bundle.hub_options import HubOptions

#: The names of twins, by the original's owner and name.
_NAMES = ("onnx-community/{name}-ONNX", "onnx-community/{name}", "Xenova/{name}", "{owner}/{name}-ONNX")


def find_twin(repo: str, hub: HubOptions) -> str | None:
    """Find the twin of a repository: the first that has graphs and, if its card names an original, names this one.

    Without a connection those in the cache are looked through.

    Args:
        repo: a Hub id, "owner/name" or "name".
        hub: how to reach the Hub; the revision is the original's, so it has no effect here.

    Returns:
        Its id; None if there is none, or the Hub does not answer.
    """
    owner, _, name = repo.rpartition("/")
    names = [pattern.format(owner=owner, name=name) for pattern in _NAMES if owner or "{owner}" not in pattern]
    has_graphs = _in_cache if is_offline(hub) else _on_hub
    return next((twin for twin in names if twin != repo and has_graphs(twin, repo, hub)), None)


def _on_hub(twin: str, repo: str, hub: HubOptions) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub_errors

    try:
        info = HfApi(token=hub.token).model_info(twin, timeout=TIMEOUT)
    except (*hub_errors.HfHubHTTPError.__bases__, hub_errors.HfHubHTTPError, OSError):
        return False
    graphs = any(file.rfilename.endswith(".onnx") for file in info.siblings or ())
    return graphs and _original(info.card_data) in (None, repo.rpartition("/")[2].lower())


def _original(card: Any) -> str | None:
    """The name of the original that a card names, without its owner, which may have changed; None if it names none."""
    named = getattr(card, "base_model", None)
    first = named[0] if isinstance(named, list) and named else named
    return first.rpartition("/")[2].lower() if isinstance(first, str) and first else None


def _in_cache(twin: str, repo: str, hub: HubOptions) -> bool:
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(twin, cache_dir=hub.cache_folder, local_files_only=True, allow_patterns=[])
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError):
        return False
    return any(name.endswith(".onnx") for name in listing(Path(folder)))
