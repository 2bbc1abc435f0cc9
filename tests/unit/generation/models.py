"""A model that generates a given text: for tests of `generate` without any real one."""

from __future__ import annotations

import numpy as np

from onnxpipe.bundle import Config
from onnxpipe.generation import GenerationConfig

VOCAB = 16


class Script:
    """After a token t comes t + 1, and after the last token of the vocabulary the end token 1.

    The score of the token that comes is 10 and falls off around it, so that there is something to sample.
    """

    is_encoder_decoder = False
    main_input_name = "input_ids"
    name_or_path = "script"
    vocab_size = VOCAB
    threads = 1
    input_names = frozenset({"input_ids", "attention_mask"})

    def __init__(self, **config) -> None:
        self.config = Config({"vocab_size": VOCAB})
        self.generation_config = GenerationConfig(**{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **config})

    def start(self, prompt, inputs, *, copies=1, max_length, hidden=False):
        self.inputs = dict(inputs)
        return _Rows(np.repeat(prompt, copies, axis=0))


class _Rows:
    hidden = None

    def __init__(self, ids) -> None:
        self.ids = ids

    @property
    def rows(self):
        return len(self.ids)

    def prefill(self):
        return self._logits(self.ids[:, -1])

    def step(self, tokens, keep=1):
        self.ids = np.concatenate((self.ids, tokens), axis=1)
        return np.stack([self._logits(self.ids[:, self.ids.shape[1] - n]) for n in range(keep, 0, -1)], axis=1)

    def reorder(self, rows):
        self.ids = self.ids[rows]

    def crop(self, count):
        self.ids = self.ids[:, : self.ids.shape[1] - count]

    def _logits(self, last):
        following = np.where(last + 1 < VOCAB, last + 1, 1)
        distance = np.abs(np.arange(VOCAB) - following[:, None])
        return (10 - 2 * distance).astype(np.float32)
