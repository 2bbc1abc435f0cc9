"""Records what transformers 4.57's own beam scorers find for the searches that transformers 5 takes from the Hub.

Run with 4.57's python, from the folder tests: `python -m conformance.generation_reference_4_57`. Writes
zoo/reference/generation-beams.json. The loops around the scorers are those of transformers before 4.57, in which they
were part of the library (`_group_beam_search`, `_constrained_beam_search`).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers.generation.beam_constraints import DisjunctiveConstraint, PhrasalConstraint
from transformers.generation.beam_search import BeamSearchScorer, ConstrainedBeamSearchScorer

from conformance.table_model import CONSTRAINED_CASES, GROUP_CASES, VOCAB, Table

PAD = 2
WHERE = Path(__file__).parents[1] / "zoo" / "reference" / "generation-beams.json"


def group_search(case) -> dict:
    """Diverse beam search."""
    table, eos = Table(case["seed"]), torch.tensor(case["eos_token_id"])
    beams, groups = case["num_beams"], case["num_beam_groups"]
    size, prompts = beams // groups, len(case["prompts"])
    ids = torch.tensor(case["prompts"]).repeat_interleave(beams, 0)
    start = ids.shape[1]
    scorer = BeamSearchScorer(
        prompts, beams, "cpu", case["length_penalty"], case["early_stopping"], case["num_return_sequences"], groups,
        case["max_length"],
    )  # fmt: skip
    scores = torch.full((prompts, beams), -1e9)
    scores[:, ::size] = 0
    scores = scores.view(-1)
    while True:
        current = torch.zeros(prompts * beams, dtype=torch.long)
        logits = torch.from_numpy(table.logits(ids.tolist()))
        for group in range(groups):
            first = group * size
            rows = [prompt * beams + place for prompt in range(prompts) for place in range(first, first + size)]
            part = ids[rows]
            logs = logits[rows].log_softmax(-1)
            if group:
                for prompt in range(prompts):
                    before = current[prompt * beams : prompt * beams + group * size]
                    logs[prompt * size : (prompt + 1) * size] -= case["diversity_penalty"] * torch.bincount(
                        before, minlength=VOCAB
                    )
            total = (logs + scores[rows][:, None]).view(prompts, -1)
            best, places = torch.topk(total, max(2, 1 + len(eos)) * size)
            out = scorer.process(
                part, best, places % VOCAB, places // VOCAB, PAD, eos, None, group_index=group, decoder_prompt_len=start
            )
            scores[rows] = out["next_beam_scores"]
            chosen = out["next_beam_indices"]
            ids[rows] = part[chosen]
            current[rows] = out["next_beam_tokens"]
        ids = torch.cat((ids, current[:, None]), 1)
        if scorer.is_done or ids.shape[1] >= case["max_length"]:
            break
    return _final(scorer, ids, scores, case, eos, start)


def constrained_search(case) -> dict:
    """Constrained beam search."""
    table, eos = Table(case["seed"]), torch.tensor(case["eos_token_id"])
    beams, prompts = case["num_beams"], len(case["prompts"])
    ids = torch.tensor(case["prompts"]).repeat_interleave(beams, 0)
    start = ids.shape[1]
    constraints = [
        DisjunctiveConstraint(words) if isinstance(words[0], list) else PhrasalConstraint(words)
        for words in case["force_words_ids"]
    ]
    scorer = ConstrainedBeamSearchScorer(
        prompts, beams, constraints, "cpu", case["length_penalty"], case["early_stopping"],
        case["num_return_sequences"], case["max_length"],
    )  # fmt: skip
    scores = torch.zeros((prompts, beams))
    scores[:, 1:] = -1e9
    scores = scores.view(-1)
    while True:
        total = torch.from_numpy(table.logits(ids.tolist())).log_softmax(-1) + scores[:, None]
        best, places = torch.topk(total.view(prompts, -1), max(2, 1 + len(eos)) * beams)
        out = scorer.process(
            ids, best, places % VOCAB, places // VOCAB, total.clone(), PAD, eos, None, decoder_prompt_len=start
        )
        scores = out["next_beam_scores"]
        ids = torch.cat((ids[out["next_beam_indices"]], out["next_beam_tokens"][:, None]), 1)
        if scorer.is_done or ids.shape[1] >= case["max_length"]:
            break
    return _final(scorer, ids, scores, case, eos, start)


def _final(scorer, ids, scores, case, eos, start) -> dict:
    none = torch.zeros(0)
    out = scorer.finalize(ids, scores, none, none, case["max_length"], PAD, eos, None, start)
    return {"sequences": out["sequences"].tolist(), "scores": out["sequence_scores"].tolist()}


if __name__ == "__main__":
    found = {
        "group": [group_search(case) for case in GROUP_CASES],
        "constrained": [constrained_search(case) for case in CONSTRAINED_CASES],
    }
    WHERE.write_text(json.dumps(found) + "\n", encoding="utf-8")
