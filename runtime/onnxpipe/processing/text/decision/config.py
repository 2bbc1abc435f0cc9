"""The settings of decisions, which a model's folder may have: `decision.json` and `decision_template.jinja`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, read_json, read_text
from onnxpipe.errors import BundleError, UnsupportedError

#: The types of questions.
_TYPES = ("noul", "choice", "score")
_CONFIG, _TEMPLATE = "decision.json", "decision_template.jinja"


@dataclass(frozen=True)
class DecisionConfig:
    """How a model is asked for decisions.

    Attributes:
        labels: for each type of question the tokens that stand for its options; by default Yes and No for "noul", and
            A, B, C, ... for the others.
        temperature: for each type a number that the scores of its options are divided by; 1 by default.
        chat_template: a template of `state` with `question` (a prompt for each question) or `questions` (one for all),
            which writes `<|mark|>` where an answer is read; None for a general prompt in the model's own template.
        noul_options: the order in which the template gets the options "true" and "false".
        sanitize_control_tokens: whether control tokens in a request are ordinary text.
        adapter: the folder of a LoRA, which is refused: it has to be part of the exported model.
    """

    labels: Mapping[str, list[str]] = field(default_factory=dict)
    temperature: Mapping[str, float] = field(default_factory=dict)
    chat_template: str | None = None
    noul_options: tuple[str, ...] | list[str] = ("true", "false")
    sanitize_control_tokens: bool = True
    adapter: str | None = None

    def __post_init__(self) -> None:
        for name, by_type in (("labels", self.labels), ("temperature", self.temperature)):
            if not isinstance(by_type, Mapping) or not by_type.keys() <= set(_TYPES):
                raise ValueError(f"{name} must be a dict by the types {', '.join(_TYPES)}, got {by_type!r:.80}")
        if not isinstance(self.chat_template, (str, type(None))):
            raise ValueError(f"chat_template must be a text, got {self.chat_template!r:.80}")
        if not isinstance(self.sanitize_control_tokens, bool):
            raise ValueError(f"sanitize_control_tokens must be True or False, got {self.sanitize_control_tokens!r:.80}")
        if sorted(map(str, self.noul_options)) != ["false", "true"]:
            raise ValueError(f"noul_options must order 'true' and 'false', got {self.noul_options!r}")
        for kind, labels in self.labels.items():
            if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
                raise ValueError(f"labels[{kind!r}] must be a list of texts, got {labels!r:.80}")
        for kind, number in self.temperature.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
                raise ValueError(f"temperature[{kind!r}] must be a number above 0, got {number!r}")
        if self.adapter is not None:
            raise UnsupportedError(
                f"the decision config names the adapter {self.adapter!r}: merge the LoRA into the model, then export it"
            )

    @classmethod
    def from_folder(cls, folder: Path) -> DecisionConfig:
        """Read the settings of a model's folder; the defaults where it has none. Unknown settings are left out.

        Raises:
            BundleError: a damaged file.
        """
        values: dict[str, Any] = read_json(folder, _CONFIG) if has_file(folder, _CONFIG) else {}
        known = {each.name for each in fields(cls)}
        if has_file(folder, _TEMPLATE):
            values["chat_template"] = read_text(folder, _TEMPLATE)
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except UnsupportedError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / _CONFIG}: {error}") from error
