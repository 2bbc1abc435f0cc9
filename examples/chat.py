"""Talk with a language model: the answer appears as it is generated, and the conversation is remembered.

python examples/chat.py --model HuggingFaceTB/SmolLM2-135M-Instruct --dtype int8
"""

from __future__ import annotations

import argparse

from onnxpipe import pipeline


def main() -> None:
    """Read lines and answer each, until the input ends (Ctrl-D)."""
    parser = argparse.ArgumentParser(description="Talk with a language model.")
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    options = parser.parse_args()

    generate = pipeline("text-generation", model=options.model, dtype=options.dtype)
    messages: list[dict[str, str]] = []
    while True:
        try:
            messages.append({"role": "user", "content": input("> ")})
        except EOFError:
            return
        answer = ""
        for piece in generate.stream(messages, max_new_tokens=options.max_new_tokens):
            print(piece, end="", flush=True)
            answer += piece
        print()
        messages.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main()
