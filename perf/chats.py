"""Count how much of a chat model's greedy text is the original's: twenty chats, fp32, int8 and q4 beside transformers.

    python -m perf.chats MODEL BUNDLE [--dtypes fp32,int8,q4] [--new 48]

MODEL is the checkpoint (with a chat template), BUNDLE its export. For each precision: answers that are the original's
to the last token, the share of tokens that are the same at the same place (after the first other token an answer goes
its own way), and the share of tokens that are chosen as the original does where its own text is given so far.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = (
    "What is the capital of France?", "Write one sentence about the sea.", "How many legs has a spider?",
    "Translate 'good morning' to Spanish.", "Name three fruits.", "What is 7 times 8?",
    "Explain what a compiler does.", "Write a Python function that adds two numbers.", "Why is the sky blue?",
    "Give me a title for a story about a fox.", "What does a heart do?", "List the planets of the solar system.",
    "Say hello politely.", "What is photosynthesis?", "Who wrote Hamlet?", "Give an example of a metaphor.",
    "How do I boil an egg?", "What is the opposite of cold?", "Tell me a short joke.",
    "Summarise: The train was late because of snow, and everyone waited for an hour.",
)  # fmt: skip


def original_answers(folder: Path, rows: list[list[int]], new: int) -> list[list[int]]:
    """Generate transformers' greedy tokens after each row of token ids."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    for row in rows:
        ids = torch.tensor([row])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
        answers.append(whole[0, len(row) :].tolist())
    return answers


def own_answers(model: Any, rows: list[list[int]], new: int) -> list[list[int]]:
    """Generate onnxpipe's."""
    answers = []
    for row in rows:
        ids = np.array([row])
        whole = model.generate(input_ids=ids, attention_mask=np.ones_like(ids), max_new_tokens=new, do_sample=False)
        answers.append(whole[0, len(row) :].tolist())
    return answers


def next_tokens(model: Any, row: list[int], answer: list[int]) -> int:
    """Count the tokens of `answer` that the model chooses too where the text before them is given."""
    count = 0
    for place, token in enumerate(answer):
        ids = np.array([row + answer[:place]])
        chosen = model.generate(input_ids=ids, attention_mask=np.ones_like(ids), max_new_tokens=1, do_sample=False)
        count += int(chosen[0, -1]) == token
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dtypes", default="fp32,int8,q4")
    parser.add_argument("--new", type=int, default=48)
    args = parser.parse_args()

    from onnxpipe import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.bundle)
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    rows = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False) for chat in chats]
    wanted = original_answers(args.model, rows, args.new)
    total = sum(map(len, wanted))
    print(f"{len(rows)} chats, {total} tokens of the original", flush=True)
    for dtype in args.dtypes.split(","):
        model = AutoModelForCausalLM.from_pretrained(args.bundle, dtype=dtype, device="cpu")
        got = own_answers(model, rows, args.new)
        equal = sum(a == b for a, b in zip(got, wanted, strict=True))
        places = sum(x == y for a, b in zip(got, wanted, strict=True) for x, y in zip(a, b, strict=False))
        given = sum(next_tokens(model, row, answer) for row, answer in zip(rows, wanted, strict=True))
        print(
            f"{dtype:5} {equal} of {len(rows)} answers the same, {places / total:.1%} of tokens at their place, "
            f"{given / total:.1%} with the original's text before them",
            flush=True,
        )


if __name__ == "__main__":
    main()
