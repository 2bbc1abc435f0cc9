"""Say what lies where ONNX graphs are looked for: models in other forms, parts of models, what a download left."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

from onnxpipe.bundle.genai_folder import GENAI

#: Models in other forms than ONNX, by the files' names.
_FORMS = {
    r"(.*/)?openvino_[^/]*\.(xml|bin)": "OpenVINO's form",
    r".*\.gguf|(.*/)?ggml[^/]*\.bin": "llama.cpp's form (GGUF)",
    r".*\.(tflite|task|litertlm)": "TensorFlow Lite's form",
    r"(.*/)?saved_model\.pb|.*\.keras": "TensorFlow's form",
    r".*\.mlmodel|.*\.ml(package|modelc)/.*": "Core ML's form",
    r".*\.(engine|plan|trt)": "TensorRT's form",
    r".*\.ort": "ONNX Runtime's own form (.ort)",
    r".*\.pte": "ExecuTorch's form",
    r".*\.rknn": "RKNN's form",
    r".*\.mnn": "MNN's form",
    r".*\.nemo": "NeMo's form",
    r"(.*/)?mlc-chat-config\.json": "MLC's form",
    r"(.*/)?(shared_)?vocabulary\.(txt|json)": "CTranslate2's form",
}
#: Weights under names that transformers does not look for.
_WEIGHTS = re.compile(r".*\.(safetensors|pt|pth|ckpt|pkl|npz|h5)")
#: What is left of a download that did not end.
_UNFINISHED = re.compile(r".*\.(incomplete|part|crdownload|aria2)")
_ARCHIVE = re.compile(r".*\.(zip|tar|tgz|tar\.\w+|7z|rar)")


def foreign(names: Collection[str]) -> str:
    """Say what kind of folder it is that has no graph of ours, and what would load; "" if nothing is known of it.

    Args:
        names: its files, relative, with "/".
    """
    if any(posixpath.basename(name) == GENAI for name in names):
        return (
            "a folder of onnxruntime-genai: those of one graph load; of a model of images or audio take the repository "
            "of onnx-community"
        )
    if "adapter_config.json" in names:
        return (
            "an adapter of PEFT, not a whole model: merge it into its base model, which adapter_config.json names "
            "(merge_and_unload() in peft, then save_pretrained), and export the result"
        )
    form = next((form for pattern, form in _FORMS.items() if any(re.fullmatch(pattern, one) for one in names)), "")
    if form:
        return f"a model in {form}, which is not read here: take its ONNX files, or export the original model"
    unfinished = next((name for name in names if _UNFINISHED.fullmatch(name)), "")
    if unfinished:
        return f"the rest of a download that did not end ({unfinished}): download it again"
    weights = next((name for name in names if _WEIGHTS.fullmatch(name)), "")
    return weights and (
        f"a folder with weights ({weights}) under a name that transformers does not load: make an ONNX graph of them "
        "with the library that wrote them, or save the model with save_pretrained and export that"
    )


def foreign_file(name: str) -> str:
    """Say of a file that was passed as a model what to pass in its place."""
    if _ARCHIVE.fullmatch(name.lower()):
        return "an archive: unpack it, and pass the folder with config.json"
    form = next((form for pattern, form in _FORMS.items() if re.fullmatch(pattern, name)), "")
    return (
        f"a model in {form}, which is not read here"
        if form
        else ("a file: pass the folder that holds it, with config.json, or an .onnx file")
    )
