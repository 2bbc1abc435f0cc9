"""The tokenizers of the zoo's generators, one recipe a family, in the files and shapes of real checkpoints.

Sources: the tokenizer files of gpt2, gpt-neo-125m, pythia-70m, opt-125m (vocab.json and merges.txt alone), bloom-560m,
TinyLlama-1.1B-Chat, Mistral-7B-Instruct-v0.1, Qwen2-0.5B-Instruct, Qwen3-0.6B, gemma-2-2b-it, gemma-3-1b-it, phi-2,
Phi-3-mini, SmolLM3-3B, granite-3.0-2b; t5-small, mt5-small (spiece.model alone), bart-base, mbart-large-cc25,
pegasus-xsum, opus-mt-en-fr (two spm files and vocab.json), m2m100_418M (spm and vocab.json), nllb-200-distilled-600M,
blenderbot-400M-distill. Character maps (`Precompiled`) are only in the families that have SentencePiece files here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from zoo import corpus
from zoo.text import byte_level_tokenizers, sentencepiece_tokenizers
from zoo.text.chat_templates import TEMPLATES
from zoo.text.synthetic_tokenizer import SIZE, SyntheticTokenizer, to_json

MAX_LENGTH = 128

_RECIPES: dict[str, Callable[[str], SyntheticTokenizer]] = {
    "gpt2": byte_level_tokenizers.gpt2,
    "gpt_neo": byte_level_tokenizers.gpt2,
    "gpt_neox": byte_level_tokenizers.gpt_neox,
    "opt": byte_level_tokenizers.opt,
    "bloom": byte_level_tokenizers.bloom,
    "llama": sentencepiece_tokenizers.llama,
    "mistral": sentencepiece_tokenizers.llama,
    "qwen2": byte_level_tokenizers.qwen,
    "qwen3": byte_level_tokenizers.qwen,
    "gemma2": sentencepiece_tokenizers.gemma,
    "gemma3": sentencepiece_tokenizers.gemma,
    "phi": byte_level_tokenizers.phi,
    "phi3": sentencepiece_tokenizers.llama,
    "smollm3": byte_level_tokenizers.smollm3,
    "granite": byte_level_tokenizers.granite,
    "t5": sentencepiece_tokenizers.t5,
    "mt5": sentencepiece_tokenizers.mt5,
    "bart": byte_level_tokenizers.bart,
    "mbart": sentencepiece_tokenizers.mbart,
    "pegasus": sentencepiece_tokenizers.pegasus,
    "marian": sentencepiece_tokenizers.marian,
    "m2m_100": sentencepiece_tokenizers.m2m_100,
    "nllb": sentencepiece_tokenizers.nllb,
    "blenderbot": byte_level_tokenizers.bart,
}


def save(family: str, folder: Path) -> None:
    """Write the tokenizer files of `family` into `folder`, its chat template among them."""
    synthetic = _RECIPES[family](family)
    if synthetic.backend is not None:
        synthetic.backend.save(str(folder / "tokenizer.json"))
    for name, content in synthetic.files.items():
        (folder / name).write_bytes(content)
    config = {"model_max_length": MAX_LENGTH, **synthetic.config}
    if family in TEMPLATES:
        place, template = TEMPLATES[family]
        if place == "file":
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        else:
            config["chat_template"] = template
    (folder / "tokenizer_config.json").write_bytes(to_json(config))


def vocabulary(family: str, folder: Path) -> dict[str, int]:
    """Every token of the saved tokenizer and its id, transformers' additions to slow files included."""
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
    if family == "mt5":
        pieces = corpus.unigram(["<pad>", "</s>", "<unk>", *sentencepiece_tokenizers.BYTES], [], SIZE, lower=False)
        return {piece: i for i, (piece, _) in enumerate(pieces)}
    table: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    if family == "m2m_100":
        from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

        marks = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
        marks += [f"madeupword{i}" for i in range(8)]
        table |= {mark: i for i, mark in enumerate(marks, len(table))}
    return table
