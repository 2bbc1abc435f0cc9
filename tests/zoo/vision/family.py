"""The description of a family of the zoo's vision models: configuration, heads, and the processor's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
ANIMALS = ("cat", "dog", "bird")
THINGS = ("person", "car", "tree", "sky")

VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "layer_type": "basic"}
SWIN = {"image_size": 64, "embed_dim": 8, "depths": [2, 1, 2], "num_heads": [1, 2, 4], "window_size": 4}


@dataclass(frozen=True)
class Settled:
    """Layers whose outputs get a mean and a deviation, so that decisions are clear.

    Attributes:
        paths: of the layers in the model.
        mean, deviation: of each channel.
    """

    paths: tuple[str, ...]
    mean: float = 0.0
    deviation: float = 3.0


@dataclass(frozen=True)
class Head:
    """A model of a family.

    Attributes:
        task: what it is exported for.
        class_name: transformers' class.
        settled: the last layers.
        config: what its configuration has besides the family's.
        processor: the same of the processor's file.
        ranked: (head, head) of a detector of two stages: the last layer's scores and those by which the first stage
            chooses, which get the same weights, and a decoder that adds little to them. So what is chosen last is
            scored least, as in trained models; else a rounding error could exchange an object that matters.
        seed: to be changed where the weights of the first give a near tie.
    """

    task: str
    class_name: str
    settled: tuple[Settled, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    ranked: tuple[str, str] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        name: its model_type.
        config: makes the configuration, given what a head adds.
        heads: its models.
        processor: content of preprocessor_config.json.
        size: the side of the images that the processor returns.
        frames: of a video; 0 for images.
    """

    name: str
    config: Callable[..., Any]
    heads: tuple[Head, ...]
    processor: dict[str, Any]
    size: int = 32
    frames: int = 0


def config_of(class_name: str, **sizes: Any) -> Callable[..., Any]:
    """Makes a configuration of these sizes and what a head adds."""

    def make(**more: Any) -> Any:
        import transformers

        return getattr(transformers, class_name)(**{**sizes, **more})

    return make


def with_backbone(
    class_name: str, backbone: str, stages: tuple[str, ...], inner: Mapping[str, Any], **sizes: Any
) -> Callable[..., Any]:
    """The same with a backbone's configuration inside, which gives these of its stages."""

    def make(**more: Any) -> Any:
        inner_config = config_of(backbone, out_features=list(stages), **inner)()
        return config_of(class_name, backbone_config=inner_config, **sizes)(**more)

    return make


def labels(*names: str) -> dict[str, Any]:
    """Both directions of the labels, for a configuration."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def square(side: int) -> dict[str, int]:
    """A size as processors write it."""
    return {"height": side, "width": side}


def processor(kind: str, size: Any, norm: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The file of a processor that resizes, rescales and normalises. `resample` 2 is bilinear, 3 bicubic."""
    normalised = {} if norm is None else {"do_normalize": True, **norm}
    common = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "resample": 2, "size": size}
    return {"image_processor_type": kind, **common, **normalised, **more}


def classifier(class_name: str, path: str = "classifier", **config: Any) -> Head:
    """A head of three labels."""
    return Head("image-classification", class_name, (Settled((path,)),), {**labels(*ANIMALS), **config})


def features(class_name: str, **config: Any) -> Head:
    """No head."""
    return Head("image-feature-extraction", class_name, (), config)


def segmenter(class_name: str, path: str, **config: Any) -> Head:
    """A head of four labels a pixel."""
    return Head("image-segmentation", class_name, (Settled((path,)),), {**labels(*THINGS), **config})


def detector(class_name: str, *paths: str, **config: Any) -> Head:
    """A head of boxes with four labels."""
    return Head("object-detection", class_name, (Settled(paths),), {**labels(*THINGS), **config})
