"""The questions of a decision: what they may be, and the answer that probabilities make."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxpipe.processing.text.decision.config import DecisionConfig

#: The types of questions, each with an example for errors.
EXAMPLES: Mapping[str, str] = {
    "noul": '{"type": "noul", "instructions": "Is it spam?", "criteria": {"true": "An advertisement"}}',
    "choice": '{"type": "choice", "instructions": "What is the tone?", "criteria": {"calm": "Polite", "angry": null}}',
    "score": '{"type": "score", "instructions": "How urgent is it?", "criteria": ["Can wait", "This week", "Today"]}',
}
_KEYS = frozenset({"type", "instructions", "criteria"})


@dataclass(frozen=True)
class Question:
    """A question with its options, in the order of the prompt.

    Attributes:
        name: its key in the request and in the answer.
        type: "noul" (yes or no, as a probability), "choice" or "score" (a level).
        instructions: what is asked: a text, or data; None for nothing.
        options: "true" and "false", the names of choices, or the numbers of levels.
        labels: the token that stands for each option.
        descriptions: what the request says of each option; None for nothing.
    """

    name: str
    type: str
    instructions: Any
    options: list[str]
    labels: list[str]
    descriptions: list[Any]

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        """Make the answer from the probabilities of the options.

        The confidence is 0 where the probabilities tell nothing, and 1 where one option has all of it; of levels, those
        near the likeliest take less of it.
        """
        by_option, count = dict(zip(self.options, probabilities)), len(probabilities)
        if self.type == "noul":
            return {"type": "noul", "noul": by_option["true"]}
        best = max(by_option, key=lambda option: by_option[option])
        if self.type == "choice":
            confidence = 1.0 if count == 1 else max(0.0, (by_option[best] - 1 / count) / (1 - 1 / count))
            return {"type": "choice", "choice": best, "confidence": confidence, "probabilities": by_option}
        distance = sum(each * abs(level - int(best)) for level, each in enumerate(probabilities))
        even = sum(abs(level - (count - 1) / 2) for level in range(count)) / count
        return {
            "type": "score",
            "score": sum(level * each for level, each in enumerate(probabilities)),
            "legend": dict(zip(self.options, self.descriptions)),
            "confidence": 1.0 if count == 1 else max(0.0, 1 - distance / even),
            "probabilities": by_option,
        }


def parse_questions(questions: Any, config: DecisionConfig) -> list[Question]:
    """Check the questions of a request.

    Raises:
        ValueError: there is none, or some are wrong; the message has a line for each of those.
    """
    if not isinstance(questions, Mapping) or not questions:
        raise ValueError(f"`questions` maps names to questions, and needs at least one; got {questions!r:.200}")
    parsed, problems = [], []
    for name, question in questions.items():
        if not isinstance(name, str) and str(name) in questions:
            problems.append(f"question {name!r}: another has the name {str(name)!r}, and answers are by name, as text")
        try:
            parsed.append(_parse(str(name), question, config))
        except ValueError as error:
            problems.append(f"question {name!r}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return parsed


def _parse(name: str, question: Any, config: DecisionConfig) -> Question:
    kind = question.get("type") if isinstance(question, Mapping) else None
    if not isinstance(kind, str) or kind not in EXAMPLES:
        got = question if kind is None else kind
        raise ValueError(f"its type must be one of {', '.join(EXAMPLES)}, got {got!r:.80}")
    problem = _problem(kind, question)
    if problem:
        raise ValueError(f"{problem}; a question of the type {kind} looks like {EXAMPLES[kind]}")
    criteria: Any = question.get("criteria")
    if kind == "noul":
        options = {option: (criteria or {}).get(option) for option in config.noul_options}
    else:
        options = dict(criteria) if kind == "choice" else {str(level): text for level, text in enumerate(criteria)}
    labels = config.labels.get(kind) or (["Yes", "No"] if kind == "noul" else list(string.ascii_uppercase))
    if len(labels) < len(options):
        raise ValueError(f"it has {len(options)} options, and this model reads at most {len(labels)} of a {kind}")
    return Question(
        name, kind, question.get("instructions"), [*options], [*labels[: len(options)]], [*options.values()]
    )


def _problem(kind: str, question: Mapping[str, Any]) -> str | None:
    """Tell what is wrong with a question; None if nothing is."""
    unknown = sorted(map(str, question.keys() - _KEYS))
    if unknown:
        return f"the key {unknown[0]!r} is none of {', '.join(sorted(_KEYS))}"
    if not _is_content(question.get("instructions")):
        return f"its instructions are {question['instructions']!r:.80}, not a text, dict or list"
    criteria = question.get("criteria")
    if kind == "noul" and criteria is None:
        return None
    if kind == "score":
        if not isinstance(criteria, list) or not criteria:
            return "its criteria must be a list of levels, lowest first"
        return None if all(each is not None and _is_content(each) for each in criteria) else "a level must be a text"
    if not isinstance(criteria, Mapping) or not (criteria or kind == "noul"):
        return "its criteria must be a dict of options and what they mean"
    if not all(isinstance(option, str) and _is_content(text) for option, text in criteria.items()):
        return "an option must be a text, and what it means a text or null"
    if kind == "noul" and not criteria.keys() <= {"true", "false"}:
        return "its criteria have other keys than 'true' and 'false'"
    return None


def _is_content(value: Any) -> bool:
    return value is None or isinstance(value, (str, dict, list))
