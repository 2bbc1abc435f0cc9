"""Find the ready-made twin of a Hub repository without graphs: the same weights, converted to ONNX by the community.

transformers.js takes its default models from these repositories.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.hub import TIMEOUT, is_offline, listing
from onnxpipe.bundle.hub_options import HubOptions

#: The names of twins, by the original's owner and name.
_NAMES = ("onnx-community/{name}-ONNX", "onnx-community/{name}", "Xenova/{name}", "{owner}/{name}-ONNX")

#: Defaults of tasks -> the model that transformers.js takes for the same task by default, where that is another one.
#: Source: `SUPPORTED_TASKS` of transformers.js 4.3; its text-to-audio (Supertonic) is of a family that is not here.
_STAND_INS: Mapping[str, str] = {
    "Intel/dpt-large": "onnx-community/depth-anything-v2-small",
    "HuggingFaceTB/SmolLM3-3B": "onnx-community/Qwen3-0.6B-ONNX",
    "dbmdz/bert-large-cased-finetuned-conll03-english": "Xenova/bert-base-multilingual-cased-ner-hrl",
    "distilbert/distilbert-base-cased": "onnx-community/all-MiniLM-L6-v2-ONNX",
    "distilbert/distilroberta-base": "onnx-community/ettin-encoder-32m-ONNX",
    "facebook/bart-large-mnli": "Xenova/distilbert-base-uncased-mnli",
    "facebook/wav2vec2-base-960h": "Xenova/whisper-tiny.en",
    "google-t5/t5-base": "Xenova/t5-small",
    "impira/layoutlm-document-qa": "Xenova/donut-base-finetuned-docvqa",
    "laion/clap-htsat-fused": "Xenova/clap-htsat-unfused",
    "sshleifer/distilbart-cnn-12-6": "Xenova/distilbart-cnn-6-6",
    "ydshieh/vit-gpt2-coco-en": "Xenova/vit-gpt2-image-captioning",
}


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
    return next((twin for twin in names if twin != repo and has_graphs(twin, name, hub)), None)


def find_stand_in(repo: str, hub: HubOptions) -> str | None:
    """Find the ready-made model that stands in for a task's default which has no twin: another model for the same task.

    Args:
        repo: the default's Hub id.
        hub: how to reach the Hub, as for `find_twin`.

    Returns:
        Its id; None if there is none, or the Hub does not answer.
    """
    other = _STAND_INS.get(repo)
    has_graphs = _in_cache if is_offline(hub) else _on_hub
    return other if other is not None and has_graphs(other, None, hub) else None


def _on_hub(twin: str, original: str | None, hub: HubOptions) -> bool:
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub_errors

    try:
        info = HfApi(token=hub.token).model_info(twin, timeout=TIMEOUT)
    except (*hub_errors.HfHubHTTPError.__bases__, hub_errors.HfHubHTTPError, OSError):
        return False
    graphs = any(file.rfilename.endswith(".onnx") for file in info.siblings or ())
    return graphs and (original is None or _original(info.card_data) in (None, original.lower()))


def _original(card: Any) -> str | None:
    """The name of the original that a card names, without its owner, which may have changed; None if it names none."""
    named = getattr(card, "base_model", None)
    first = named[0] if isinstance(named, list) and named else named
    return first.rpartition("/")[2].lower() if isinstance(first, str) and first else None


def _in_cache(twin: str, original: str | None, hub: HubOptions) -> bool:
    from huggingface_hub import errors as hub_errors
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(twin, cache_dir=hub.cache_folder, local_files_only=True, allow_patterns=[])
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError):
        return False
    return any(name.endswith(".onnx") for name in listing(Path(folder)))
