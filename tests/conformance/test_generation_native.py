"""The searches that transformers 5 loads from the Hub: against transformers 4.57's scorers, and a plain reference."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from conformance.table_model import CONSTRAINED_CASES, GROUP_CASES, VOCAB, Table
from onnxpipe.bundle import Config
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig, generate

RECORDED = json.loads((Path(__file__).parents[1] / "zoo" / "reference" / "generation-beams.json").read_text())


class TableModel:
    """A table as a model."""

    def __init__(self, seed: int) -> None:
        self.table = Table(seed)
        self.config = Config({"vocab_size": VOCAB})
        self.generation_config = GenerationConfig(pad_token_id=2, eos_token_id=1, bos_token_id=0)
        self.is_encoder_decoder = False
        self.main_input_name = "input_ids"
        self.name_or_path = "table"
        self.vocab_size = VOCAB
        self.threads = 1
        self.input_names = frozenset({"input_ids", "attention_mask"})

    def start(self, prompt, inputs, *, copies=1, max_length, hidden=False):
        return _TableRows(self.table, np.repeat(prompt, copies, axis=0), hidden)


class _TableRows:
    def __init__(self, table, ids, hidden) -> None:
        self.table, self.ids, self.wanted, self.hidden = table, ids, hidden, None

    @property
    def rows(self):
        return len(self.ids)

    def prefill(self):
        return self._after(self.ids.shape[1])[:, -1]

    def step(self, tokens, keep=1):
        self.ids = np.concatenate((self.ids, tokens), axis=1)
        return self._after(tokens.shape[1])[:, -keep:]

    def reorder(self, rows):
        self.ids = self.ids[rows]

    def crop(self, count):
        self.ids = self.ids[:, : self.ids.shape[1] - count]

    def _after(self, count):
        length = self.ids.shape[1]
        self.hidden = self.table.states(self.ids.tolist())[:, -count:] if self.wanted else None
        return np.stack([self.table.logits(self.ids[:, : length - n].tolist()) for n in reversed(range(count))], 1)


@pytest.mark.parametrize("kind", ["group", "constrained"])
@pytest.mark.parametrize("number", range(24))
def test_as_4_57(kind, number):
    case = dict((GROUP_CASES if kind == "group" else CONSTRAINED_CASES)[number])
    prompts, seed = np.array(case.pop("prompts")), case.pop("seed")
    found = generate(TableModel(seed), prompts, return_dict_in_generate=True, output_scores=True, **case)
    wanted = RECORDED[kind][number]
    assert found.sequences.tolist() == wanted["sequences"]
    np.testing.assert_allclose(found.sequences_scores, wanted["scores"], rtol=1e-4, atol=1e-4)
    assert generate(TableModel(seed), prompts, **case).tolist() == wanted["sequences"]


def test_forced_words_are_there():
    for seed in range(6):
        words = [[10, 11], [[12, 13], [14]]]
        row = generate(TableModel(seed), [[4, 5]], force_words_ids=words, num_beams=4, max_length=20)[0].tolist()
        pairs = list(itertools.pairwise(row))
        assert (10, 11) in pairs and ((12, 13) in pairs or 14 in row)


def _contrastive(table, prompt, k, alpha, length, eos):
    """Contrastive search of one prompt, as its paper has it."""
    row = list(prompt)
    while len(row) < length:
        logits = table.logits([row])[0].astype(np.float64)
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        best = np.argsort(-shares, kind="stable")[:k]
        states = table.states([row])[0]
        marks = []
        for token in best:
            own = table.states([[*row, int(token)]])[0, -1]
            cosines = states @ own / np.linalg.norm(states, axis=-1) / np.linalg.norm(own)
            marks.append((1 - alpha) * shares[token] - alpha * cosines.max())
        row.append(int(best[int(np.argmax(marks))]))
        if row[-1] in eos:
            break
    return row


@pytest.mark.parametrize("seed", range(8))
def test_contrastive_search(seed):
    model = TableModel(seed)
    k, alpha, eos = 2 + seed % 4, [0.3, 0.6, 0.9][seed % 3], [[1], [1, 5, 7]][seed % 2]
    prompts = [[4, 5, 6], [7, 8, 9 + seed]]
    got = generate(model, prompts, penalty_alpha=alpha, top_k=k, max_length=16, eos_token_id=eos)
    for row, prompt in zip(got.tolist(), prompts, strict=True):
        wanted = _contrastive(model.table, prompt, k, alpha, 16, eos)
        assert row == wanted + [2] * (got.shape[1] - len(wanted))


def test_what_cannot_be_combined():
    model = TableModel(0)
    for options, match in (
        ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 1.0}, "num_beam_groups"),
        ({"num_beams": 4, "num_beam_groups": 2}, "diversity_penalty"),
        ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": True}, "do_sample"),
        ({"force_words_ids": [[3]]}, "num_beams"),
        ({"force_words_ids": [[3]], "num_beams": 2, "do_sample": True}, "do_sample"),
        ({"force_words_ids": [], "num_beams": 2}, "force_words_ids"),
        ({"force_words_ids": [[-3]], "num_beams": 2}, "force_words_ids"),
        ({"force_words_ids": [[[3], [3, 4]]], "num_beams": 2}, "subset"),
    ):
        with pytest.raises(ValueError, match=match):
            generate(model, [[4, 5]], max_length=9, **options)
    refused = ({"dola_layers": "low"}, {"output_attentions": True}, {"assistant_early_exit": 2}, {"use_mtp": True})
    for options in refused:
        with pytest.raises(UnsupportedError, match=next(iter(options))):
            generate(model, [[4, 5]], max_length=9, **options)
