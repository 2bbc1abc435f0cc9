"""What a scheduler_config.json holds: fields with diffusers' names and defaults, by attribute and by key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Self

from onnxpipe.errors import UnknownArgumentError, UnknownChoiceError, UnsupportedError

_KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
_MOST_TIMESTEPS = 100_000
#: Keys under which diffusers tells which class wrote a config, and which fields it left at their defaults.
CLASS_NAME, DEFAULTED = "_class_name", "_use_default_values"


def choice(*names: str, aliases: Mapping[str, str] | None = None) -> Any:
    """Declare a field that holds one of some names; the first is the default.

    Args:
        *names: these.
        aliases: names of other schedulers' choices to the one of this that stands in for them.
    """
    return field(default=names[0], metadata={"choices": names, "aliases": aliases or {}})


@dataclass(frozen=True, kw_only=True, eq=False)
class SchedulerConfig(Mapping[str, Any]):
    """The fields of every scheduler, and those that came with the file and belong to another one.

    Attributes:
        num_train_timesteps: number of steps of the training.
        given: the fields that were set, and not left at their defaults.
        carried: what the file holds besides the fields; another scheduler may want it.
        class_name: the scheduler's.
    """

    num_train_timesteps: int = 1000
    given: frozenset[str] = field(default=frozenset(), repr=False)
    carried: Mapping[str, Any] = field(default_factory=dict, repr=False)
    class_name: str = ""

    def __post_init__(self) -> None:
        for one in self._declared().values():
            _check(one, getattr(self, one.name), self.class_name)
        if not 1 <= self.num_train_timesteps <= _MOST_TIMESTEPS:
            raise UnsupportedError(f"num_train_timesteps={self.num_train_timesteps} is not from 1 to {_MOST_TIMESTEPS}")

    @classmethod
    def of(cls, values: Mapping[str, Any], class_name: str) -> Self:
        """Make the config from fields that code set.

        Raises:
            UnknownArgumentError: a name that is no field.
            UnknownChoiceError, UnsupportedError: a value that is not possible.
        """
        known = cls._declared()
        taken = {}
        for name, value in values.items():
            if name not in known:
                raise UnknownArgumentError.among(class_name, name, known)
            aliases = known[name].metadata.get("aliases", {})
            taken[name] = aliases.get(value, value) if isinstance(value, str) else value
        return cls(**taken, given=frozenset(values), class_name=class_name)

    @classmethod
    def adopt(cls, values: Mapping[str, Any], class_name: str, changes: Mapping[str, Any]) -> Self:
        """Make the config from another scheduler's config or a file, with some changes.

        Fields that the other scheduler left at its own defaults take the defaults of this one.
        """
        defaulted = values.get(DEFAULTED) or ()
        present = {name: value for name, value in values.items() if name not in defaulted and name != DEFAULTED}
        known = cls._declared()
        own = {name: value for name, value in present.items() if name in known}
        others = {name: value for name, value in present.items() if name not in known and name != CLASS_NAME}
        return replace(cls.of({**own, **changes}, class_name), carried=others)

    @classmethod
    def _declared(cls) -> dict[str, Field[Any]]:
        base = {"given", "carried", "class_name"}
        return {one.name: one for one in fields(cls) if one.name not in base}

    def own(self, name: str, default: Any) -> Any:
        """Give a field's value, or the default where this scheduler has no such field."""
        return getattr(self, name) if name in self._declared() else default

    def __getitem__(self, name: str) -> Any:
        if name in self._declared():
            return getattr(self, name)
        own = {CLASS_NAME: self.class_name, DEFAULTED: sorted(set(self._declared()) - self.given)}
        return own[name] if name in own else self.carried[name]

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys([*self._declared(), CLASS_NAME, DEFAULTED, *self.carried])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getattr__(self, name: str) -> Any:  # only for names that are not fields
        if not name.startswith("__") and name in (carried := self.__dict__.get("carried", {})):
            return carried[name]
        raise AttributeError(f"the config of {self.__dict__.get('class_name') or 'a scheduler'} has no field {name!r}")

    def to_json_string(self) -> str:
        """Write the config as a scheduler_config.json."""
        values = {name: self[name] for name in sorted(self) if name != DEFAULTED}
        return json.dumps(values, indent=2) + "\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class BetaConfig(SchedulerConfig):
    """The fields of schedulers that know the noise of each step of the training.

    Attributes:
        beta_start, beta_end, beta_schedule, trained_betas: the variance that each training step adds; see `betas`.
        prediction_type: what the model predicts.
        timestep_spacing, steps_offset: which of the training's steps are taken; see `timesteps`.
    """

    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = choice("linear", "scaled_linear", "squaredcos_cap_v2")
    trained_betas: Any = None
    prediction_type: str = choice("epsilon", "sample", "v_prediction")
    timestep_spacing: str = choice("linspace", "leading", "trailing")
    steps_offset: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SpacedSigmas(SchedulerConfig):
    """The fields that replace the sigmas of the chosen timesteps; see `sigmas`."""

    use_karras_sigmas: bool | None = False
    use_exponential_sigmas: bool | None = False
    use_beta_sigmas: bool | None = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sigma_min", "sigma_max", "shift", "flow_shift"):
            if (value := self.own(name, None)) is not None and not 0 < value < math.inf:
                raise UnsupportedError(f"{self.class_name}: {name} must be positive, but is {value}")
        if sum(map(bool, (self.use_karras_sigmas, self.use_exponential_sigmas, self.use_beta_sigmas))) > 1:
            raise UnsupportedError(
                "only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas can be true"
            )

    @property
    def replaces_sigmas(self) -> bool:
        """Whether the sigmas are not those of the training's steps."""
        return bool(self.use_karras_sigmas or self.use_exponential_sigmas or self.use_beta_sigmas)


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds(SchedulerConfig):
    """The fields of dynamic thresholding; see `predictions.thresholded`."""

    thresholding: bool = False
    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0


def _check(one: Field[Any], value: Any, where: str) -> None:
    """Check one field's value against its declared type and choices."""
    kind = str(one.type).removesuffix(" | None")
    if kind not in _KINDS or (value is None and str(one.type).endswith("None")):
        return
    choices = one.metadata.get("choices")
    if choices is not None and value not in choices:
        raise UnknownChoiceError(f"{where}: {one.name}={value!r} is none of {', '.join(map(repr, choices))}")
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise UnsupportedError(f"{where}: {one.name} must be of type {one.type}, but is {value!r}")
