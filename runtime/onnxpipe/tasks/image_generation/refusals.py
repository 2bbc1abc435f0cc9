"""Methods of diffusers' pipelines that are not here, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxpipe.errors import UnsupportedError

_MERGED = (
    "a graph's weights are fixed. Merge it before the export: with diffusers, pipe.load_lora_weights(...), "
    "pipe.fuse_lora(), pipe.unload_lora_weights(), pipe.save_pretrained(folder), and then onnxpipe export folder"
)
#: Methods of diffusers' pipelines that change what is in the graphs, and why there are none here.
NOT_HERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("load_lora_weights", "fuse_lora", "unfuse_lora", "unload_lora_weights", "set_adapters", "get_active_adapters",
         "get_list_adapters", "delete_adapters", "disable_lora", "enable_lora", "set_lora_device", "save_lora_weights"),
        _MERGED,
    ),
    **dict.fromkeys(("load_ip_adapter", "set_ip_adapter_scale", "unload_ip_adapter"), "the graphs have no IP-Adapter"),
    **dict.fromkeys(
        ("load_textual_inversion", "unload_textual_inversion"),
        "the text encoder's table of tokens is fixed in its graph. Load it with diffusers, save_pretrained(folder), "
        "and then onnxpipe export folder",
    ),
    **dict.fromkeys(
        ("enable_freeu", "disable_freeu", "fuse_qkv_projections", "unfuse_qkv_projections"),
        "it changes the layers of the model, which are fixed in its graph",
    ),
}  # fmt: skip


def refuse(caller: str, name: str, *args: Any, **kwargs: Any) -> Any:
    """Stand in for a method that is not here.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(f"{caller}.{name}() is not supported: {NOT_HERE[name]}")
