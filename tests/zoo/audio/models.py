"""Tiny audio models, as whole folders in the Hub's layout, the same bytes every time.

    from zoo.audio.models import MODELS
    MODELS["wav2vec2", "automatic-speech-recognition"](folder)

Each folder has config.json, model.safetensors, preprocessor_config.json and, for models with text, the tokenizer's
files. Kernels, strides and sampling rates are those of the real checkpoints, widths are small; needs torch
and transformers 5.23.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zoo.audio.sizes import CLASSES, CTC, FAMILIES, LABELS, ZERO_SHOT, Family
from zoo.text import tokenization
from zoo.text.synthetic_tokenizer import to_json

MISSING: Mapping[tuple[str, str], str] = {}
"""(family, task) -> why it cannot be exported."""

_MARKS = ("<pad>", "<s>", "</s>", "<unk>", "|")
_LETTERS = "ETAONIHSRDLUMWCFGYPBVK'XJQZ"
VOCABULARY: Mapping[str, int] = {token: place for place, token in enumerate((*_MARKS, *_LETTERS))}
"""facebook/wav2vec2-base-960h's."""

_RECORDINGS = 12
_SECONDS = 1.5


def _write(name: str, task: str, folder: Path, more: Mapping[str, Any] | None = None) -> None:
    """Write the whole folder of the family `name` for `task`, with `more` in its configuration."""
    import transformers

    from onnxpipe_export.tracing import quiet

    family = FAMILIES[name]
    if more:
        family = replace(family, sizes={**family.sizes, **more})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preprocessor_config.json").write_bytes(to_json(family.extractor))
    ids = _write_tokenizer(family, task, folder)
    config = transformers.AutoConfig.for_model(family.model_type, **_config(family, task, ids))
    model = getattr(transformers, family.stem + family.tasks[task])(config).eval()
    fill(model, f"{name}/{task}")
    if task != ZERO_SHOT:
        _settle(model, family.last[task], _inputs(model, folder), blank=config.pad_token_id if task == CTC else None)
    with quiet():
        model.save_pretrained(folder)


def write_larger(name: str, task: str, sizes: Mapping[str, Any], folder: Path) -> None:
    """Write the model of a family with other sizes in its config."""
    _write(name, task, folder, sizes)


def _config(family: Family, task: str, ids: Mapping[str, int]) -> dict[str, Any]:
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    heads: Mapping[str, Mapping[str, Any]] = {CTC: ids, CLASSES: labels}
    config = {**family.sizes, **heads.get(task, {}), **family.more.get(task, {})}
    if task == ZERO_SHOT:
        config["text_config"] = {**config["text_config"], **ids}
    return config


def _write_tokenizer(family: Family, task: str, folder: Path) -> dict[str, int]:
    """Write the tokenizer, if the model has one; returns the size of its vocabulary and its special ids."""
    if task == ZERO_SHOT:
        tokenization.save("roberta", folder)
        return {"vocab_size": 1000} | tokenization.special_ids(folder)
    if task != CTC:
        return {}
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    own = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "do_lower_case": False, "word_delimiter_token": "|"}
    languages = {"eng": VOCABULARY, "fra": {t: (p + 7) % 32 if p > 4 else p for t, p in VOCABULARY.items()}}
    target = {"target_lang": "eng"} if family.nested else {}
    (folder / "vocab.json").write_bytes(to_json(languages if family.nested else VOCABULARY))
    (folder / "tokenizer_config.json").write_bytes(to_json({**special, **own, **target}))
    (folder / "special_tokens_map.json").write_bytes(to_json(special))
    return {"vocab_size": len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def fill(model: Any, seed: str) -> None:
    """Overwrite every parameter and statistic: norms near one, tables N(0, 1/4), the rest N(0, 3 / fan-in).

    Norms of weights (`original0`) are positive, as training leaves them, and kernels of positions strong enough to
    matter.
    """
    import torch

    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    statistics = [(name, buffer) for name, buffer in model.named_buffers() if "running" in name]
    for name, value in [*model.named_parameters(), *statistics]:
        noise = np.random.default_rng(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(tuple(value.shape))
        if name.endswith("running_var"):
            filled = np.exp(0.3 * noise)
        elif name.endswith(("original0", "weight_g")):
            filled = np.abs(1.0 + 0.2 * noise)
        elif name.endswith(("logit_scale_a", "logit_scale_t")):
            filled = np.asarray(2.5)
        elif id(value) in tables or "bias_table" in name or name.endswith(("embed_positions.weight", "layer_weights")):
            filled = 0.5 * noise
        elif value.dim() > 1:
            filled = noise * (3.0 / float(np.prod(value.shape[1:]))) ** 0.5
        else:
            filled = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        with torch.no_grad():
            value.copy_(torch.from_numpy(np.asarray(filled, np.float32)))


def _inputs(model: Any, folder: Path) -> list[dict[str, Any]]:
    """Prepare synthetic recordings as the model takes them, one row each."""
    import torch

    from onnxpipe_export.cases import audio as audio_cases

    extractor = audio_cases.load_extractor(folder)
    rate = int(extractor.sampling_rate)
    recordings = [audio_cases.synthetic_audio(number, int(_SECONDS * rate), rate) for number in range(_RECORDINGS)]
    name = model.main_input_name
    return [
        {name: torch.from_numpy(audio_cases.extract_features(extractor, [one], [name])[name])} for one in recordings
    ]


def _settle(model: Any, path: str, inputs: Sequence[Mapping[str, Any]], blank: int | None) -> None:
    """Scale and centre the layer that decides so that each of its channels has mean 0 and deviation 3 on `inputs`.

    Both corrections are rounded, so that rounding errors of the forward pass do not reach the weights. With `blank`,
    about half of the frames give it, and none the other marks, as after training with CTC.
    """
    import torch

    layer = model.get_submodule(path)
    seen: list[Any] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        seen.append(output.detach().double().flatten(0, -2))

    hook = layer.register_forward_hook(keep)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for given in inputs:
                model(**given)
    finally:
        hook.remove()
        torch.set_num_threads(before)
    values = torch.cat(seen)
    scale = float(f"{3.0 / max(float(values.std(0).mean()), 1e-3):.1g}")
    mean = (values.mean(0) * scale).round(decimals=1)
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.mul_(scale).sub_(mean.float())
        if blank is not None:
            layer.bias[1:4] -= 20.0
            layer.bias[blank] += 5.0


MODELS: Mapping[tuple[str, str], Callable[[Path], None]] = {
    (name, task): partial(_write, name, task) for name, family in FAMILIES.items() for task in family.tasks
}
"""(family, task) -> what writes its folder."""
