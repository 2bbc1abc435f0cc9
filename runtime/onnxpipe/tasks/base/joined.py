"""Texts that are generated together with those of other calls, which come and go."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from onnxpipe.engine.scheduler import Work
from onnxpipe.engine.tickets import Joining, Ticket
from onnxpipe.generation.joined import Finished, JoinedDecoding, SlotDecoder
from onnxpipe.tasks.base.sequences import split_sequences

#: Parameters of searches that run alone, with the values that leave them out.
_ALONE: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,), "num_beam_groups": (1,), "penalty_alpha": (0,),
    "prompt_lookup_num_tokens": (), "assistant_model": (), "assistant_early_exit": (), "custom_generate": (),
    "use_mtp": (False,), "dola_layers": (), "guidance_scale": (1,), "negative_prompt_ids": (), "constraints": (),
    "force_words_ids": (), "return_dict_in_generate": (False,), "token_healing": (False,),
}  # fmt: skip


def can_join(parameters: Mapping[str, Any]) -> bool:
    """Whether a call with these parameters is greedy search or sampling."""
    return all(parameters.get(name) is None or parameters[name] in kept for name, kept in _ALONE.items())


def let_join(work: Work, pipe: Any, options: Any) -> Work:
    """Let the rows of a call join the texts that are being written, if model and parameters allow it.

    Args:
        work: the steps of the call.
        pipe: its view of a pipeline.
        options: its options.
    """
    queue, make = pipe.caller.queue, getattr(pipe.model, "slots", None)
    slots = queue.slots
    resolved = pipe.resolved(options)
    copies = resolved.get("num_return_sequences") or 1
    if copies > slots or make is None or not can_join(resolved) or make(0) is None:
        return work
    joining = Joining(slots, lambda: JoinedTexts(make(slots, queue.keep)), copies)
    return replace(work, group="joined", most_rows=None, joining=joining, begin=lambda row: pipe.begin(row, options))


class JoinedTexts:
    """A batch of texts for a queue; implements `onnxpipe.engine.queue.Running`.

    Args:
        decoder: keeps the caches of its rows.
    """

    def __init__(self, decoder: SlotDecoder) -> None:
        self._decoding = JoinedDecoding(decoder)

    @property
    def active(self) -> int:
        """How many texts are being written."""
        return self._decoding.active

    def join(self, ticket: Ticket, owner: Hashable) -> None:
        """Let a row join; see `Running.join`."""
        assert ticket.begin is not None
        self._decoding.join(ticket, ticket.begin(ticket.row), owner)

    def step(self) -> list[Ticket]:
        """Write one token of each text; see `Running.step`."""
        return [_settled(finished) for finished in self._decoding.step()]


def _settled(finished: Finished) -> Ticket:
    """Write what became of a row on its ticket."""
    ticket = finished.key
    assert isinstance(ticket, Ticket)
    ticket.cached = finished.cached
    if finished.result is None:
        ticket.error = finished.error
    else:
        (ticket.outputs,) = split_sequences(finished.result.sequences, 1, [0], 0)
    return ticket
