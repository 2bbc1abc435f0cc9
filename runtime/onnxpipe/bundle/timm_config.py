"""Configs of models of timm, which say in `pretrained_cfg` how images are prepared, as configs of transformers.

Source: transformers' `TimmWrapperConfig`, which reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Where such a config says how images are prepared.
PRETRAINED = "pretrained_cfg"
#: What transformers calls the family of all of them.
TIMM = "timm_wrapper"


def is_timm_config(values: Mapping[str, Any]) -> bool:
    """Whether an object of a config.json is that of a model of timm, as timm or transformers writes it."""
    return PRETRAINED in values and values.get("model_type") in (None, TIMM)


def needs_timm(values: Mapping[str, Any]) -> str:
    """Say what else the export of a config's model needs; "" if it is not one of timm."""
    if not is_timm_config(values):
        return ""
    return (
        f"It is a model of timm ({values.get('architecture', 'without a name')}), whose layers are code of that "
        "package: its export needs timm and torchvision too (pip install timm). Without them take a ready-made ONNX "
        "folder of it, if the Hub has one (onnx-community): it loads with the config.json beside it"
    )


def with_timm(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add family, class and labels to a config of timm; any other stays as it is.

    Labels are `label_names`. Where there are none transformers takes those of ImageNet from the package timm; here
    they are LABEL_0, LABEL_1 and so on.
    """
    if not is_timm_config(values):
        return values
    classes = values.get("num_classes", values.get("num_labels"))
    kind = "TimmWrapperModel" if classes == 0 else "TimmWrapperForImageClassification"
    added: dict[str, Any] = {"model_type": TIMM, "architectures": values.get("architectures") or [kind]}
    names = values.get("label_names")
    if isinstance(names, list) and "id2label" not in values:
        added["id2label"] = dict(enumerate(names))
    elif classes is not None:
        added["num_labels"] = classes
    return {**values, **added}
