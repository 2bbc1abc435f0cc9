"""The calls of the suite: task -> named cases. A case says what is called, never what comes back."""

from __future__ import annotations

from conformance.cases import (
    depth_estimation,
    feature_extraction,
    fill_mask,
    image_classification,
    image_feature_extraction,
    image_segmentation,
    image_to_image,
    keypoint_matching,
    mask_generation,
    object_detection,
    question_answering,
    summarization,
    text2text_generation,
    text_classification,
    text_generation,
    token_classification,
    translation,
    video_classification,
    zero_shot_classification,
    zero_shot_image_classification,
    zero_shot_object_detection,
)
from conformance.cases.common import Case
from zoo import FAMILIES, MISSING, vision
from zoo.generators import CAUSAL, SEQ2SEQ

CASES: dict[str, tuple[Case, ...]] = {
    "feature-extraction": feature_extraction.CASES,
    "text-classification": text_classification.CASES,
    "token-classification": token_classification.CASES,
    "question-answering": question_answering.CASES,
    "fill-mask": fill_mask.CASES,
    "zero-shot-classification": zero_shot_classification.CASES,
    "text-generation": text_generation.CASES,
    "text2text-generation": text2text_generation.CASES,
    "summarization": summarization.CASES,
    "translation": translation.CASES,
    "image-classification": image_classification.CASES,
    "image-feature-extraction": image_feature_extraction.CASES,
    "object-detection": object_detection.CASES,
    "image-segmentation": image_segmentation.CASES,
    "depth-estimation": depth_estimation.CASES,
    "image-to-image": image_to_image.CASES,
    "video-classification": video_classification.CASES,
    "zero-shot-image-classification": zero_shot_image_classification.CASES,
    "zero-shot-object-detection": zero_shot_object_detection.CASES,
    "mask-generation": mask_generation.CASES,
    "keypoint-matching": keypoint_matching.CASES,
}

_ENCODER_FULL = ("bert", "roberta", "deberta-v2")
"""WordPiece, byte-level BPE, Unigram: these run every case; the others run the cases marked `core`."""

_FULL = {
    "text-generation": ("llama", "qwen2", "gemma3"),
    "text2text-generation": ("t5", "bart", "marian"),
    "summarization": ("t5", "bart", "pegasus"),
    "translation": ("t5", "marian", "nllb", "m2m_100"),
    "image-classification": ("vit", "resnet"),
    "image-feature-extraction": ("vit", "convnext"),
    "object-detection": ("detr", "rt_detr"),
    "image-segmentation": ("segformer", "maskformer", "detr"),
    "depth-estimation": ("dpt", "zoedepth"),
    "image-to-image": ("swin2sr",),
    "video-classification": ("videomae",),
    "zero-shot-image-classification": ("clip", "siglip"),
    "zero-shot-object-detection": ("owlvit", "grounding-dino"),
    "mask-generation": ("sam", "sam2"),
    "keypoint-matching": ("superglue",),
}
"""Task -> the families that run every case, where they are not the encoders'."""

_OF_FAMILY = {
    ("summarization", "t5"): summarization.LENGTH_OF_TASK,
    ("summarization", "bart"): summarization.LENGTH_OF_TASK,
    ("translation", "t5"): translation.NAMED,
    ("translation", "marian"): translation.NAMED,
    ("translation", "m2m_100"): translation.NAMED[:-1],
}
"""(task, family) -> cases that make sense for this family alone."""


_TIED = {("image-segmentation", "detr", "picture, exif 8")}
"""(task, family, case) where two of a tiny model's queries are as good as equal, and rounding decides which is kept."""


def families(task: str) -> tuple[str, ...]:
    """The zoo's families that `task` is tested on."""
    if task == "text-generation":
        return tuple(CAUSAL)
    if task in vision.TASKS:
        return vision.families(task)
    return tuple(SEQ2SEQ) if task in _FULL else FAMILIES


def table(task: str) -> list[tuple[str, Case]]:
    """Every (family, case) of `task` that the suite runs."""
    full = _FULL.get(task, _ENCODER_FULL)
    return [
        (family, case)
        for family in families(task)
        for case in (*CASES[task], *_OF_FAMILY.get((task, family), ()))
        if (family in full or case.core)
        and (task, family, case.name) not in _TIED
        and (family, case.head) not in MISSING
        and family not in _not_exported(task)
    ]


def missing(task: str) -> dict[str, str]:
    """Family -> why it is not there: transformers has no class for `task`, or it cannot be exported."""
    heads = {case.head for case in CASES[task]}
    no_class = {family: reason for (family, head), reason in MISSING.items() if head in heads}
    return no_class | _not_exported(task)


def _not_exported(task: str) -> dict[str, str]:
    if task not in vision.TASKS:
        return {}
    return {family: reason for (family, other), reason in vision.missing().items() if other == task}
