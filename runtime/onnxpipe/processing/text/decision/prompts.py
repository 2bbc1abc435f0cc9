"""The prompts of a decision: questions about a state, as tokens, and where the answers are read."""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.json_text import parse_json
from onnxpipe.processing.text.chat.messages import variables_of
from onnxpipe.processing.text.decision.config import DecisionConfig
from onnxpipe.processing.text.decision.questions import Question, parse_questions
from onnxpipe.processing.text.tokenizer import Tokenizer

Array = NDArray[Any]

#: What a template writes where an answer is read, and where text is to be split; neither is a token of the prompt.
MARK, SPLIT = "<|mark|>", "<|split|>"


@dataclass(frozen=True)
class Prompt:
    """A prompt.

    Attributes:
        ids: int64 (tokens,).
        marks: for each question the number of tokens before the place where its answer is read.
        questions: the questions that it asks.
        images: the model's inputs that come from images.
    """

    ids: Array
    marks: tuple[int, ...]
    questions: tuple[Question, ...]
    images: Mapping[str, Any] = field(default_factory=dict)


class Assets(Protocol):
    """The images of a request."""

    def check_used(self) -> None:
        """Raise ValueError for an image that the request names nowhere."""


class DecisionPrompts:
    """Makes the prompts of requests.

    Args:
        tokenizer: the model's; it is not changed.
        config: the settings.
    """

    def __init__(self, tokenizer: Tokenizer, config: DecisionConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config

    def of(self, request: Any) -> list[Prompt]:
        """Make the prompts of a request: `{"state": ..., "questions": {name: question}}`, or its JSON.

        Raises:
            ValueError: it is no such thing, or a question is wrong.
            UnsupportedError: it has images for a model that takes none, or the template has no place for an answer.
        """
        if isinstance(request, str):
            request = _parsed(request)
        if not isinstance(request, Mapping) or not {"state", "questions"} <= request.keys():
            raise ValueError(
                'a request is {"state": ..., "questions": {name: question, ...}}, as a dict or its JSON; '
                f"got {request!r:.200}"
            )
        unknown = sorted(map(str, request.keys() - {"state", "questions", "assets"}))
        if unknown:
            raise ValueError(f"a request has state, questions and assets, and this one {unknown[0]!r} too")
        assets = self.assets_of(request)
        state, asked = request["state"], request["questions"]
        if not self._config.sanitize_control_tokens:
            state, asked = (json.loads(_without_marks(each)) for each in (state, asked))
        questions = parse_questions(asked, self._config)
        if self._config.chat_template is None:
            prompts = [self._general(state, question, assets) for question in questions]
        else:
            together = "questions" in variables_of(self._config.chat_template)
            groups = [questions] if together else [[question] for question in questions]
            prompts = [self._own(self._config.chat_template, state, group, assets) for group in groups]
        if assets is not None:
            assets.check_used()
        return prompts

    def assets_of(self, request: Mapping[str, Any]) -> Assets | None:
        """Return the images of a request; None for none.

        Raises:
            UnsupportedError: there are some, and the model takes none.
        """
        if request.get("assets"):
            raise UnsupportedError("this model takes no images: leave `assets` out")
        return None

    def label_ids(self, labels: Sequence[str]) -> list[int]:
        """Return the tokens of labels.

        Raises:
            ValueError: a label that is not one token, or two that are the same.
        """
        encoded = self._tokenizer(list(labels), add_special_tokens=False)["input_ids"]
        ids = [row[0] for row in encoded if len(row) == 1 and row[0] != self._tokenizer.unk_token_id]
        if len(set(ids)) != len(labels):
            raise ValueError(
                f"the labels {list(labels)} are not distinct single tokens for this model: name others, with "
                "decision_config=DecisionConfig(labels={...})"
            )
        return ids

    def _general(self, state: Any, question: Question, assets: Assets | None) -> Prompt:
        """Ask one question in the words of `general_prompt`; its answer is the next token."""
        ids, images = self.encoded(self._tokenizer, general_prompt(state, question), {}, assets)
        return Prompt(ids, (len(ids),), (question,), images)

    def _own(self, template: str, state: Any, questions: Sequence[Question], assets: Assets | None) -> Prompt:
        """Ask with the model's own template, whose marks say where the answers are read."""
        values = {
            "state": state, "question": asdict(questions[0]), "questions": [asdict(each) for each in questions],
        }  # fmt: skip
        used = {name: value for name, value in values.items() if name in variables_of(template)}
        whole, images = self.encoded(self._marking, "", {"chat_template": template, **used}, assets)
        mark, split = (self._marking.convert_tokens_to_ids(token) for token in (MARK, SPLIT))
        kept = (whole != mark) & (whole != split)
        marks = tuple(np.cumsum(kept)[whole == mark].tolist()) or (int(kept.sum()),)
        if len(marks) < len(questions) or 0 in marks:
            raise UnsupportedError(
                f"the decision template marks {len(marks)} places for {len(questions)} questions: a language model "
                "reads the answer to each before one mark"
            )
        return Prompt(whole[kept], marks, tuple(questions), images)

    def encoded(
        self, tokenizer: Tokenizer, content: str, variables: Mapping[str, Any], assets: Assets | None
    ) -> tuple[Array, Mapping[str, Any]]:
        """Encode a message of the user, or a template's variables: its ids, and the model's inputs for images.

        Args:
            tokenizer: the model's, or its copy that knows the marks.
            content: the message.
            variables: keywords of `apply_chat_template`: `chat_template` and what it reads.
            assets: the images of the request; None for none.
        """
        template = tokenizer.get_chat_template(variables.get("chat_template"))
        encoding = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], **self.keywords(template), **variables
        )
        return np.asarray(encoding["input_ids"], np.int64), {}

    def keywords(self, template: str) -> dict[str, Any]:
        """Return the keywords of `apply_chat_template` that all prompts have: no reasoning before the answer."""
        thinking = {"enable_thinking": False} if "enable_thinking" in variables_of(template) else {}
        sanitized = self._config.sanitize_control_tokens
        return {"add_generation_prompt": True, "sanitize_control_tokens": sanitized, **thinking}

    @cached_property
    def _marking(self) -> Tokenizer:
        """A copy of the tokenizer that knows the marks."""
        from tokenizers import AddedToken

        twin = copy.deepcopy(self._tokenizer)
        twin.add_tokens([AddedToken(token, special=True, normalized=False) for token in (MARK, SPLIT)])
        return twin


def general_prompt(state: Any, question: Question) -> str:
    """Write a question about a state for any chat model: the options with their labels, of which it answers with one.

    Source: the prompt of transformers 5.23 for models that have none of their own.
    """
    lines = [_text(question.instructions)]
    for option, label, description in zip(question.options, question.labels, question.descriptions):
        meaning = _text(description)
        if question.type == "noul":
            meaning = meaning or ("" if question.labels == ["Yes", "No"] else option)
            lines.append(f"{label}: {meaning}" if meaning else "")
        elif question.type == "choice":
            lines.append(f"{label}. {option}: {meaning}" if meaning else f"{label}. {option}")
        else:
            lines.append(f"{label}. {meaning}")
    asked = "\n".join(line for line in lines if line)
    labels = question.labels
    if question.type == "noul":
        order = f"Answer {labels[0]} or {labels[1]} only."
    else:
        letters = labels == [*string.ascii_uppercase[: len(labels)]]
        kind, thing = "letter" if letters else "label", "option" if question.type == "choice" else "level"
        order = f"Answer with the {kind} of the {thing} that fits best ({labels[0]} to {labels[-1]}) only."
    return f"{_text(state)}\n\n{asked}\n{order}"


def _text(value: Any) -> str:
    """Write a value: a text as it is, nothing for None, data as JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"a request that is a text must be JSON: {error}: {text:.80}") from None


def _without_marks(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace(MARK, "").replace(SPLIT, "")
