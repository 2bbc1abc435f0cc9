"""What a call may cost at most, and graphs that answer with no numbers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.builders import ProcessorContext, build_criteria, build_processors
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.generation.stopping import MaxTimeCriteria
from onnxpipe.generation.token_buffer import TokenBuffer
from unit.fakes import FakeCausal

PROMPT = np.array([[5, 6]])


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 10**8},
        {"num_beams": 10**8, "num_return_sequences": 10**8},
        {"num_return_sequences": 10**9, "do_sample": True},
        {"num_beams": 10, "max_new_tokens": 10**9},
    ],
)
def test_rows_are_bounded(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="num_beams and num_return_sequences"):
        FakeCausal().generate(PROMPT, **{"max_new_tokens": 5, **options})
    with pytest.raises(ValueError, match="num_beams and num_return_sequences"):
        FakeCausal(**options).generate(PROMPT, **({} if "max_new_tokens" in options else {"max_new_tokens": 5}))


def test_memory_grows_with_the_tokens() -> None:
    rows = TokenBuffer(PROMPT, 10**9)
    assert rows._ids.nbytes < 1 << 20
    for token in range(3000):
        rows.append(np.array([token]))
    assert rows.ids[0, 2:].tolist() == list(range(3000))
    assert FakeCausal().generate(PROMPT, max_new_tokens=10**9).shape[1] > 2


class Broken(FakeCausal):
    """Gives NaN for one token from the third step on."""

    def scores(self, rows: list[list[int]]) -> Any:
        found = super().scores(rows)
        if self.steps > 2:
            found[-1, 7] = np.nan
        return found


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True}])
def test_no_token_is_chosen_from_nan(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'logits' is not a number"):
        Broken().generate(PROMPT, max_new_tokens=9, **options)
    answer = Broken().generate(PROMPT, max_new_tokens=9, remove_invalid_values=True, **options)
    assert answer.shape[0] == 1


def test_seconds_are_those_of_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    criterion = MaxTimeCriteria(1000.0)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not criterion(PROMPT, None).any()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1001)
    assert criterion(PROMPT, None).all()


@pytest.mark.parametrize("options", [{"forced_bos_token_id": -5}, {"forced_eos_token_id": [2, 10**9]}])
def test_forced_tokens_are_of_the_vocabulary(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"forced_.os_token_id=.*pass a token of the vocabulary, from 0 to"):
        FakeCausal().generate(PROMPT, max_new_tokens=3, **options)


@pytest.mark.parametrize(
    "options", [{"length_penalty": 1e9, "num_beams": 2}, {"exponential_decay_length_penalty": (1.5, -2)}]
)
def test_powers_of_a_length_are_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"_penalty=.*pass a"):
        FakeCausal().generate(PROMPT, max_new_tokens=3, **options)
    assert FakeCausal().generate(PROMPT, max_new_tokens=9, exponential_decay_length_penalty=(1, 1e300)).size


@pytest.mark.parametrize("beams", [1, 2])
def test_no_end_token_is_none(beams: int) -> None:
    expected = FakeCausal().generate(PROMPT, max_new_tokens=5, eos_token_id=[10**6], pad_token_id=0, num_beams=beams)
    found = FakeCausal().generate(PROMPT, max_new_tokens=5, eos_token_id=[], num_beams=beams)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "name", ["eos_token_id", "pad_token_id", "suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id"]
)
@pytest.mark.parametrize("value", ["2", 1.5, True, ["2"], [2, 2.5], [[2]], {"2": 2}])
def test_tokens_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}=.*pass the id of a token, a whole number, or a list of those"):
        FakeCausal().generate(PROMPT, max_new_tokens=3, **{name: value})


def test_a_forbidden_sequence_has_tokens() -> None:
    with pytest.raises(ValueError, match="list of positive integers"):
        FakeCausal().generate(PROMPT, max_new_tokens=3, bad_words_ids=[[]])


def test_what_is_built_for_a_call_refuses_its_arguments() -> None:
    with pytest.raises(UnsupportedError, match="tokenizer"):
        build_criteria(GenerationConfig(stop_strings="a"), FakeCausal(), None, None, None)
    context = ProcessorContext(FakeCausal(), 2, PROMPT, None, None, (None, None), None)
    with pytest.raises(UnsupportedError, match="strictly positive"):
        build_processors(GenerationConfig(repetition_penalty=0.0), context, None)
