"""The calls of the suite: task -> named cases. A case says what is called, never what comes back."""

from __future__ import annotations

from dataclasses import replace

from conformance.cases import (
    audio_classification,
    automatic_speech_recognition,
    depth_estimation,
    document_question_answering,
    feature_extraction,
    fill_mask,
    image_classification,
    image_feature_extraction,
    image_segmentation,
    image_to_image,
    image_to_text,
    keypoint_matching,
    mask_generation,
    object_detection,
    question_answering,
    summarization,
    table_question_answering,
    text2text_generation,
    text_classification,
    text_generation,
    text_to_audio,
    token_classification,
    translation,
    video_classification,
    visual_question_answering,
    zero_shot_audio_classification,
    zero_shot_classification,
    zero_shot_image_classification,
    zero_shot_object_detection,
)
from conformance.cases.common import Case
from zoo import FAMILIES, MISSING
from zoo.audio import families as audio
from zoo.text.generators import CAUSAL, SEQ2SEQ
from zoo.text.tables import FAMILIES as TABLE_FAMILIES
from zoo.text.tables import TAPAS
from zoo.vision import families as vision

CASES: dict[str, tuple[Case, ...]] = {
    "feature-extraction": feature_extraction.CASES,
    "text-classification": text_classification.CASES,
    "token-classification": token_classification.CASES,
    "question-answering": question_answering.CASES,
    "table-question-answering": table_question_answering.CASES,
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
    "image-to-text": image_to_text.CASES,
    "video-classification": video_classification.CASES,
    "visual-question-answering": visual_question_answering.CASES,
    "zero-shot-image-classification": zero_shot_image_classification.CASES,
    "zero-shot-object-detection": zero_shot_object_detection.CASES,
    "mask-generation": mask_generation.CASES,
    "document-question-answering": document_question_answering.CASES,
    "keypoint-matching": keypoint_matching.CASES,
    "automatic-speech-recognition": automatic_speech_recognition.CASES,
    "audio-classification": audio_classification.CASES,
    "zero-shot-audio-classification": zero_shot_audio_classification.CASES,
    "text-to-audio": text_to_audio.CASES,
}

_ENCODER_FULL = ("bert", "roberta", "deberta-v2")
"""WordPiece, byte-level BPE, Unigram: these run every case; the others run the cases marked `core`."""

_FULL = {
    "table-question-answering": tuple(TAPAS),
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
    "image-to-text": ("vit-gpt2",),
    "video-classification": ("videomae",),
    "visual-question-answering": ("vilt",),
    "zero-shot-image-classification": ("clip", "siglip"),
    "zero-shot-object-detection": ("owlvit", "grounding-dino"),
    "mask-generation": ("sam", "sam2"),
    "keypoint-matching": ("superglue",),
    "document-question-answering": ("layoutlm", "layoutlmv3"),
    "automatic-speech-recognition": ("wav2vec2", "wav2vec2-large", "whisper"),
    "audio-classification": ("wav2vec2", "audio-spectrogram-transformer"),
    "zero-shot-audio-classification": ("clap",),
    "text-to-audio": (),
}
"""Task -> the families that run every case, where they are not the encoders'."""

_OF_FAMILY = {
    ("summarization", "t5"): summarization.LENGTH_OF_TASK,
    ("summarization", "bart"): summarization.LENGTH_OF_TASK,
    ("translation", "t5"): translation.NAMED,
    ("translation", "marian"): translation.NAMED,
    ("translation", "m2m_100"): translation.NAMED[:-1],
    ("image-to-text", "vit-gpt2"): image_to_text.NO_PROMPT,
    ("table-question-answering", "tapex"): tuple(replace(case, core=True) for case in table_question_answering.TAPEX),
    **{
        ("document-question-answering", family): document_question_answering.WITHOUT_IMAGE
        for family in ("layoutlm", "layoutlm-roberta", "lilt")
    },
    ("document-question-answering", "layoutlmv3"): document_question_answering.WITH_IMAGE,
    **{
        ("image-to-text", family): tuple(replace(case, core=True) for case in image_to_text.PROMPT)
        for family in ("blip", "git")
    },
}
"""(task, family) -> cases that make sense for this family alone."""

_ENCODER_DECODERS = ("moonshine", "speech_to_text", "seamless_m4t", "seamless_m4t_v2")
"""What recognises speech and is neither a Whisper nor CTC."""


_TIED = {
    ("image-segmentation", "detr", "image, exif 8"),
    # Two of five thousand answers, whose scores are 5e-5 each and 1e-10 apart.
    ("document-question-answering", "layoutlm", "top_k 5000"),
    # A band's spectrogram is divided by its deviation, and that of (almost) nothing is rounding.
    ("automatic-speech-recognition", "parakeet_ctc", "recording, silence"),
    ("automatic-speech-recognition", "parakeet_ctc", "recording, quiet"),
    # Silence has no deviation to divide by: its features are zeros here, and there NaN, which give an empty text.
    ("automatic-speech-recognition", "speech_to_text", "recording, silence"),
    # Attention to 28 s of silence is the same everywhere: where a word ends is rounding.
    ("automatic-speech-recognition", "whisper-en", "timestamps of words"),
}
"""(task, family, case) where two answers of a tiny model are as good as equal, and rounding decides which is kept."""


OTHER_PIXELS = {("image-to-text", "donut")}
"""(task, family) where 4.57, which has the task, prepares images otherwise than 5.23, which ours follows: tested
against 5.23's `generate()` in test_image_to_text.py."""


_OVERLAPPING = frozenset({"chunks", "chunks in batches"})
"""Cases of recognition whose chunks overlap. transformers repeats the text of the overlap, save for Whisper and CTC;
ours merges it for all models that generate text."""


def families(task: str) -> tuple[str, ...]:
    """The zoo's families that `task` is tested on."""
    if task == "text-generation":
        return tuple(CAUSAL)
    if task == "table-question-answering":
        return TABLE_FAMILIES
    if task in vision.TASKS:
        return vision.families(task)
    if task in audio.TASKS:
        return audio.families(task)
    return tuple(SEQ2SEQ) if task in _FULL else FAMILIES


def table(task: str) -> list[tuple[str, Case]]:
    """Every (family, case) of `task` that the suite runs."""
    full = _FULL.get(task, _ENCODER_FULL)
    return [
        (family, case)
        for family in families(task)
        for case in (*CASES[task], *_own(task, family))
        if (family in full or case.core)
        and (task, family, case.name) not in _TIED
        and not (family in _ENCODER_DECODERS and case.name in _OVERLAPPING)
        and (family, case.head) not in MISSING
        and (task, family) not in OTHER_PIXELS
        and family not in _not_exported(task)
    ]


def _own(task: str, family: str) -> tuple[Case, ...]:
    """The cases that make sense for `family` alone."""
    if task == "text-to-audio":
        return text_to_audio.OF_FAMILY.get(family, ())
    if task != "automatic-speech-recognition":
        return _OF_FAMILY.get((task, family), ())
    kinds = automatic_speech_recognition
    if family.startswith("whisper"):
        return (*kinds.WHISPER, *(kinds.ENGLISH if family.endswith("-en") else kinds.MULTILINGUAL))
    return kinds.SEQ2SEQ if family in _ENCODER_DECODERS else kinds.CTC


def missing(task: str) -> dict[str, str]:
    """Family -> why it is not there: transformers has no class for `task`, or it cannot be exported."""
    heads = {case.head for case in CASES[task]}
    no_class = {family: reason for (family, head), reason in MISSING.items() if head in heads}
    return no_class | _not_exported(task)


def _not_exported(task: str) -> dict[str, str]:
    reasons = vision.missing() if task in vision.TASKS else audio.missing() if task in audio.TASKS else {}
    return {family: reason for (family, other), reason in reasons.items() if other == task}
