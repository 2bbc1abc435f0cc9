"""Read checkpoints whose backbone is a ResNet of timm (most DETRs) without timm.

The layers are those of transformers' own ResNet under other names, so its class takes the weights as they are. Sources:
timm.models.resnet (names conv1, bn1, layer1.0.conv1, layer1.0.downsample.0, ...; a bottleneck's stride is in its 3 x 3
convolution, as here) and transformers.models.resnet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIZES: Mapping[str, tuple[str, tuple[int, int, int, int]]] = {
    "resnet18": ("basic", (2, 2, 2, 2)),
    "resnet34": ("basic", (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (3, 4, 6, 3)),
    "resnet101": ("bottleneck", (3, 4, 23, 3)),
    "resnet152": ("bottleneck", (3, 8, 36, 3)),
}
"""Name in timm -> kind of layer and layers a stage. Its other ResNets (resnet50d, ...) have layers of other forms."""

_WIDTHS: Mapping[str, tuple[int, int, int, int]] = {"basic": (64, 128, 256, 512), "bottleneck": (256, 512, 1024, 2048)}
_STAGES = range(4)
_CONVOLUTIONS = range(3)


def own_backbone(config: Any) -> dict[str, str]:
    """Replace timm's ResNet in `config` by transformers', where it has one that is known.

    Args:
        config: a transformers config; its `backbone_config` is replaced.

    Returns:
        Patterns of names in the checkpoint -> the names that the new backbone has, for `from_pretrained`'s
        `key_mapping`. Empty where nothing was replaced.
    """
    backbone: Any = getattr(config, "backbone_config", None)
    if getattr(backbone, "model_type", None) != "timm_backbone" or backbone.output_stride not in (None, 32):
        return {}
    known = _SIZES.get(str(backbone.backbone).partition(".")[0])  # "resnet50.a1_in1k" names how it was trained
    stages = [index % 5 for index in backbone.out_indices]  # of stem and four stages; -1 is the last
    if known is None or 0 in stages:  # timm's stem ends before the pooling, transformers' after it
        return {}
    from transformers import ResNetConfig

    kind, depths = known
    config.backbone_config = ResNetConfig(
        num_channels=backbone.num_channels,
        layer_type=kind,
        depths=list(depths),
        hidden_sizes=list(_WIDTHS[kind]),
        out_indices=stages,
    )
    return dict(_renamed())


def _renamed() -> list[tuple[str, str]]:
    new = "encoder.stages.{}.layers."
    names = [
        (r"\.model\.conv1\.", ".model.embedder.embedder.convolution."),
        (r"\.model\.bn1\.", ".model.embedder.embedder.normalization."),
    ]
    for stage in _STAGES:
        old, prefix = rf"layer{stage + 1}\.(\d+)", new.format(stage) + r"\1"
        names += [
            (rf"{old}\.downsample\.0\.", f"{prefix}.shortcut.convolution."),
            (rf"{old}\.downsample\.1\.", f"{prefix}.shortcut.normalization."),
        ]
        for number in _CONVOLUTIONS:
            names += [
                (rf"{old}\.conv{number + 1}\.", f"{prefix}.layer.{number}.convolution."),
                (rf"{old}\.bn{number + 1}\.", f"{prefix}.layer.{number}.normalization."),
            ]
    return names
