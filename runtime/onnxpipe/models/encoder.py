"""Models of one graph: features, logits, boxes, masks, ... for a batch of texts, images or videos, in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import RowTooLongError, UnsupportedError
from onnxpipe.models.base import Model, Opener
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput

Array = NDArray[Any]

#: An input that may be left out -> the input whose batch it belongs to, and what fills it: nothing is masked.
_FILLED: Mapping[str, tuple[str, Callable[..., Array]]] = {
    "attention_mask": ("input_ids", np.ones),
    "token_type_ids": ("input_ids", np.zeros),
    "pixel_mask": ("pixel_values", np.ones),
}

#: Outputs with one value (or vector) a token in graphs that do not name their axes.
_PER_TOKEN = frozenset({"start_logits", "end_logits", "last_hidden_state", "token_embeddings"})


class EncoderModel(Model):
    """One ONNX graph with its config: call it with numpy arrays, get numpy arrays.

    Attributes:
        main_input_name: the input that a call's first argument is: "input_ids", "pixel_values", ...
        per_token: names of the outputs whose second axis is the sequence.
    """

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self.main_input_name = "input_ids" if "input_ids" in session.inputs else next(iter(session.inputs))
        self.per_token = _per_token(session)

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Self:
        """Load the model of a bundle's graph "model"."""
        session, precision = opener("model")
        return cls(bundle, session, precision, name_or_path)

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        return_dict: bool = True,
        **inputs: Any,
    ) -> Any:
        """Run the graph for a batch.

        Args:
            input_ids: token ids, int, shape (batch, sequence); for a vision model `pixel_values`, float32, shape
                (batch, channels, height, width), which may be passed by that name too.
            attention_mask: 1 for tokens, 0 for padding, same shape; all ones by default.
            token_type_ids: the segment of each token, same shape; zeros by default.
            return_dict: False gives a tuple.
            **inputs: further inputs of the graph, by name.

        Returns:
            `ModelOutput`, e.g. `last_hidden_state` (batch, sequence, hidden) or `logits`; padding is not cut off.

        Raises:
            ValueError: an input the graph does not have, or of a wrong shape.
        """
        arguments = {
            self.main_input_name: input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            **inputs,
        }
        feeds = {name: to_array(value) for name, value in arguments.items() if value is not None}
        outputs = ModelOutput(self.run(feeds))
        return outputs if return_dict else outputs.to_tuple()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph for a batch; masks of ones and token types of zeros are filled in where absent."""
        feeds = self._completed(feeds)
        try:
            return self.session.run(feeds)
        except RuntimeError as error:
            self._explain_length(feeds, error)
            raise

    @property
    def beside(self) -> int:
        """How many batches run faster side by side, by `narrow()`, than in turns; see `Session.beside`."""
        return self.session.beside

    def narrow(self) -> Self:
        """Return this model with one thread for each run."""
        twin = copy(self)
        twin.session = self.session.narrow()
        return twin

    def _completed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        known = self.session.inputs
        feeds = dict(inputs)
        types = feeds.get("token_type_ids")
        # A model of one segment; DeBERTa's (type_vocab_size 0) take the tokenizer's segments and ignore them.
        if types is not None and "token_type_ids" not in known:
            one_segment = not types.any() or self.config.get("type_vocab_size") == 0
            if one_segment:
                del feeds["token_type_ids"]
        mask = feeds.get("pixel_mask")
        if mask is not None and mask.all():  # it masks nothing; not every graph has it, and optimum's wants 64 x 64
            del feeds["pixel_mask"]
        for name, (of, fill) in _FILLED.items():
            if name in known and name not in feeds and of in feeds:
                batch = _batch_shape(of, feeds[of])
                own = known[name].shape  # TAPAS has token types of several kinds: a third axis, of a fixed size
                sizes = zip(own, (*batch, *own[len(batch) :]), strict=True)
                feeds[name] = fill([own if isinstance(own, int) else size for own, size in sizes], np.int64)
        if "input_ids" in feeds and "position_ids" in known and "position_ids" not in feeds:
            shape = feeds["input_ids"].shape
            feeds["position_ids"] = np.broadcast_to(np.arange(shape[1]), shape)
        return feeds

    def _explain_length(self, feeds: Mapping[str, Array], error: RuntimeError) -> None:
        limit = self.config.get("max_position_embeddings")
        length = feeds["input_ids"].shape[1] if "input_ids" in feeds else 0
        if isinstance(limit, int) and length > limit - 2:
            raise RowTooLongError(
                f"the input has {length} tokens and the model takes at most {limit}: pass truncation=True "
                "(or tokenizer options with it) to cut it"
            ) from error


def check_outputs(model: Model, needed: Mapping[str, int], purpose: str, task: str) -> None:
    """Refuse a model whose graph lacks the outputs that a purpose needs.

    transformers would make a head of random weights here and go on with a warning.

    Args:
        model: the model.
        needed: name of an output to its number of axes.
        purpose: who needs them, for the message: a task or an Auto class.
        task: the task that they belong to.

    Raises:
        UnsupportedError: the model is for other tasks, or its graph was exported without these outputs.
    """
    for name, rank in needed.items():
        spec = model.session.outputs.get(name)
        if spec is None or len(spec.shape) != rank:
            model.bundle.check_task(task, model.name_or_path)
            outputs = ", ".join(f"{n} of {len(s.shape)} axes" for n, s in model.session.outputs.items())
            raise UnsupportedError(
                f"{purpose} needs an output {name!r} of {rank} axes; {model.name_or_path} gives {outputs}. "
                f"Export the model for this task: onnxpipe export MODEL --task {task} -o DIR"
            )


def _batch_shape(name: str, array: Array) -> tuple[int, ...]:
    """The shape of a mask over an input: (batch, sequence), or (batch, height, width)."""
    return array.shape if name == "input_ids" else (array.shape[0], *array.shape[-2:])


def _per_token(session: Session) -> frozenset[str]:
    """Outputs whose second axis carries the name of the input's second axis; else by rank and name."""
    ids = session.inputs.get("input_ids")
    if ids is None or "pixel_values" in session.inputs:
        return frozenset()
    axis = ids.shape[1] if len(ids.shape) > 1 else None
    names = set()
    for name, spec in session.outputs.items():
        if len(spec.shape) < 2:
            continue
        named = isinstance(axis, str) and isinstance(spec.shape[1], str)
        if (named and spec.shape[1] == axis) or name in _PER_TOKEN or len(spec.shape) == 3:
            names.add(name)
    return frozenset(names)
