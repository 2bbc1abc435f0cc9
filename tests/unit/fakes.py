"""Language models of no layers: what comes next is drawn from a hash of what came before. For tests of what is above.

Rows are distinguished by their tokens alone, so that padding, batches and copies cannot change what is generated.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, processors

from onnxpipe.bundle import Config
from onnxpipe.generation import GenerationConfig, generate
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.tokenizer import Tokenizer

LETTERS = 'abcdefghijklmnopqrstuvwxyz .,:{}[]"0123456789<|>/\nABCHNU'
PAD, BOS, EOS = 0, 1, 2
FIRST = 3
VOCAB = FIRST + len(LETTERS)
TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0] }}:{{ m['content'] }}|{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def tokenizer(*, template: str | None = None, pad: bool = True, bos: bool = False, **settings: Any) -> Tokenizer:
    """A token a letter; what it decodes is what it encoded."""
    specials = ["<pad>", "<s>", "</s>"]
    vocab = {token: i for i, token in enumerate([*specials, *LETTERS])}
    backend = Backend(models.BPE(vocab, []))
    backend.add_special_tokens(specials)
    backend.decoder = decoders.Fuse()
    if bos:
        backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", BOS)])
    named = {"bos_token": "<s>", "eos_token": "</s>", **({"pad_token": "<pad>"} if pad else {})}
    return Tokenizer(backend, TokenizerSettings(named, chat_template=template, **settings))


class _Decoder:
    """The decoder of `onnxpipe.generation.protocols`."""

    def __init__(self, model: _Model, rows: list[list[int]], copies: int) -> None:
        self.model = model
        self.tokens = [list(row) for row in rows for _ in range(copies)]
        self.hidden = None

    @property
    def rows(self) -> int:
        return len(self.tokens)

    def prefill(self) -> Any:
        return self.model.scores(self.tokens)

    def step(self, tokens: Any, keep: int = 1) -> Any:
        columns = []
        for column in np.asarray(tokens).T:
            for row, token in zip(self.tokens, column, strict=True):
                row.append(int(token))
            columns.append(self.model.scores(self.tokens))
        return np.stack(columns[-keep:], axis=1)

    def reorder(self, rows: Any) -> None:
        self.tokens = [list(self.tokens[int(i)]) for i in rows]

    def crop(self, count: int) -> None:
        self.tokens = [row[: len(row) - count] for row in self.tokens]


class _Model:
    main_input_name = "input_ids"
    is_encoder_decoder = False
    name_or_path = "fake"
    device = "cpu"
    dtype = "float32"
    vocab_size = VOCAB
    threads = 1
    input_names = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})

    def __init__(self, config: Mapping[str, Any] | None = None, **generation: Any) -> None:
        self.config = Config({"vocab_size": VOCAB, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS,
                              "architectures": ["FakeForCausalLM"], **(config or {})})  # fmt: skip
        self.generation_config = GenerationConfig(**{"eos_token_id": EOS, "bos_token_id": BOS, **generation})
        self.calls: list[dict[str, Any]] = []
        self.pause = 0.0  # seconds a step
        self.fail_after: int | None = None  # steps
        self.steps = 0

    def can_generate(self) -> bool:
        return True

    def generate(self, inputs: Any = None, **kwargs: Any) -> Any:
        self.calls.append(kwargs)
        return generate(self, inputs, **kwargs)

    def scores(self, rows: list[list[int]]) -> Any:
        self.steps += 1
        if self.pause:
            time.sleep(self.pause)
        if self.fail_after is not None and self.steps > self.fail_after:
            raise RuntimeError("the model broke")
        found = np.stack([np.random.default_rng(row).normal(0, 3, VOCAB) for row in rows])
        found[:, [PAD, BOS]] = -50
        return found.astype(np.float32)


class _Prompt:
    """A prompt that is run in pieces of 8 tokens."""

    cached = 0

    def __init__(self, model: _Model, tokens: Any) -> None:
        self.model, self.tokens, self.left = model, [int(each) for each in tokens], len(tokens)

    def advance(self) -> Any:
        self.left -= 8
        return self.model.scores([self.tokens]) if self.left <= 0 else None


class _Slots:
    """The decoder of `onnxpipe.generation.joined`."""

    def __init__(self, model: _Model) -> None:
        self.model = model
        self.tokens: list[list[int]] = []

    def begin(self, tokens: Any, max_length: int, owner: Any = None) -> _Prompt:
        return _Prompt(self.model, tokens)

    def admit(self, run: _Prompt, copies: int = 1) -> None:
        self.tokens += [list(run.tokens) for _ in range(copies)]

    def step(self, tokens: Any) -> Any:
        for row, token in zip(self.tokens, np.asarray(tokens)[:, 0], strict=True):
            row.append(int(token))
        return self.model.scores(self.tokens)

    def leave(self, row: int, tokens: Any, owner: Any = None) -> None:
        assert self.tokens[row] == list(tokens)[: len(self.tokens[row])]
        last = self.tokens.pop()
        if row < len(self.tokens):
            self.tokens[row] = last


class FakeCausal(_Model):
    """A decoder-only model."""

    def slots(self, count: int, keep: bool | None = None) -> _Slots:
        return _Slots(self)

    def prompt_of(self, prompt: Any, inputs: Mapping[str, Any]) -> Any:
        mask = inputs.get("attention_mask")
        return prompt[0] if mask is None else prompt[0][mask[0] > 0]

    def start(
        self, prompt: Any, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> _Decoder:
        mask = inputs.get("attention_mask")
        mask = np.ones_like(prompt) if mask is None else mask
        return _Decoder(self, [row[kept > 0].tolist() for row, kept in zip(prompt, mask, strict=True)], copies)


class FakeSeq2Seq(_Model):
    """An encoder-decoder; its decoder starts with PAD."""

    is_encoder_decoder = True
    input_names = frozenset({"input_ids", "attention_mask", "encoder_outputs", "decoder_input_ids"})

    def __init__(self, config: Mapping[str, Any] | None = None, **generation: Any) -> None:
        super().__init__(config, **{"decoder_start_token_id": PAD, **generation})

    def start(
        self, prompt: Any, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> _Decoder:
        rows = []
        for ids, kept, start in zip(inputs["input_ids"], inputs["attention_mask"], prompt, strict=True):
            rows.append([*ids[kept > 0].tolist(), VOCAB, *start.tolist()])
        return _Decoder(self, rows, copies)
