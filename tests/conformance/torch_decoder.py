"""A transformers model as onnxpipe's GenerationModel, through torch: searches are compared with no ONNX between."""

from __future__ import annotations

import numpy as np
import torch

from onnxpipe.bundle import Config
from onnxpipe.generation import GenerationConfig, generate


class TorchModel:
    """What `onnxpipe.generation.generate` needs, from a transformers model in eval mode."""

    def __init__(self, model):
        self.torch = model
        self.config = Config(model.config.to_dict())
        self.generation_config = GenerationConfig.from_dict(model.generation_config.to_dict())
        self.is_encoder_decoder = model.config.is_encoder_decoder
        self.main_input_name = "input_ids"
        self.name_or_path = "tiny"
        self.vocab_size = model.config.vocab_size
        self.threads = 2
        names = ["input_ids", "attention_mask"]
        self.input_names = frozenset(
            [*names, "decoder_input_ids", "encoder_outputs"] if self.is_encoder_decoder else names
        )
        self.calls = 0
        self.row_steps = 0

    def start(self, prompt, inputs, *, copies=1, max_length, hidden=False):
        assert max_length > prompt.shape[1]
        kind = _Seq2Seq if self.is_encoder_decoder else _Causal
        return kind(self, prompt, inputs, copies, hidden)

    def generate(self, *args, **kwargs):
        return generate(self, *args, **kwargs)


class _Rows:
    def __init__(self, owner, prompt, inputs, copies, hidden):
        assert prompt.dtype == np.int64
        self.owner = owner
        self.prompt = torch.from_numpy(np.repeat(prompt, copies, axis=0))
        self.rows = len(self.prompt)
        self.wants_hidden = hidden
        self.hidden = None
        self.cache = None
        self._begin(inputs, copies)

    def prefill(self):
        return self._forward(self.prompt)[:, -1].numpy()

    def step(self, tokens, keep=1):
        assert tokens.dtype == np.int64 and len(tokens) == self.rows
        return self._forward(torch.from_numpy(np.ascontiguousarray(tokens)))[:, -keep:].numpy()

    def _forward(self, tokens):
        self.owner.calls += 1
        self.owner.row_steps += self.rows
        with torch.no_grad():
            out = self.owner.torch(
                **self._feeds(tokens), past_key_values=self.cache, use_cache=True, output_hidden_states=True
            )
        self.cache = out.past_key_values
        states = out.decoder_hidden_states if self.owner.is_encoder_decoder else out.hidden_states
        self.hidden = states[-1].numpy() if self.wants_hidden else None
        return out.logits.float()


class _Causal(_Rows):
    def _begin(self, inputs, copies):
        mask = inputs.get("attention_mask")
        mask = np.ones(self.prompt.shape, np.int64) if mask is None else np.repeat(mask, copies, axis=0)
        self.mask = torch.from_numpy(np.asarray(mask, np.int64))
        self.first = True

    def _feeds(self, tokens):
        if self.cache is not None:
            self.mask = torch.cat((self.mask, torch.ones_like(tokens)), 1)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        return {"input_ids": tokens, "attention_mask": self.mask, "position_ids": positions}

    def reorder(self, rows):
        rows = torch.from_numpy(np.asarray(rows))
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        self.rows = len(rows)

    def crop(self, count):
        if count:
            self.cache.crop(-count)
            self.mask = self.mask[:, :-count]


class _Seq2Seq(_Rows):
    def _begin(self, inputs, copies):
        mask = inputs.get("attention_mask")
        with torch.no_grad():
            if inputs.get("encoder_outputs") is not None:
                states = torch.from_numpy(np.asarray(inputs["encoder_outputs"]))
            else:
                ids = torch.from_numpy(inputs["input_ids"])
                given = None if mask is None else torch.from_numpy(mask)
                states = self.owner.torch.get_encoder()(input_ids=ids, attention_mask=given).last_hidden_state
        if mask is None:
            mask = np.ones(states.shape[:2], np.int64)
        self.states = states.repeat_interleave(copies, 0)
        self.mask = torch.from_numpy(mask).repeat_interleave(copies, 0)

    def _feeds(self, tokens):
        return {"encoder_outputs": (self.states,), "attention_mask": self.mask, "decoder_input_ids": tokens}

    def reorder(self, rows):
        rows = torch.from_numpy(np.asarray(rows))
        self.cache.self_attention_cache.batch_select_indices(rows)
        self.cache.cross_attention_cache.batch_select_indices(rows)
        self.states, self.mask, self.rows = self.states[rows], self.mask[rows], len(rows)

    def crop(self, count):
        if count:
            self.cache.self_attention_cache.crop(-count)
