"""The types of calls that tasks share: what an input is, which options a call takes, what an answer holds.

For type checkers and editors; nothing is converted or checked here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

from numpy.typing import NDArray


# -- inputs -----------------------------------------------------------------------------------------------------------
class ArrayLike(Protocol):
    """A numpy array or a tensor."""

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]: ...


class PILImage(Protocol):
    """An image of PIL, which is not imported for it."""

    def getbands(self) -> tuple[str, ...]: ...


class AudioDecoder(Protocol):
    """torchcodec's decoder of a recording, which datasets give."""

    def get_all_samples(self) -> Any: ...


class Dataset(Protocol):
    """Rows by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


#: Inputs whose answers come one by one.
Stream: TypeAlias = Generator[Any, Any, Any] | Dataset
#: A path, a URL, base64, the bytes of a file, a PIL image or an array.
ImageInput: TypeAlias = str | os.PathLike[str] | bytes | PILImage | ArrayLike
#: A path, a URL, the bytes of a file, an array at the model's rate, or a dict of an array and its rate.
AudioSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | ArrayLike | AudioDecoder | dict[str, Any]
)
#: A path, a URL, the bytes of a file, or an array of frames.
VideoInput: TypeAlias = str | os.PathLike[str] | bytes | ArrayLike


# -- answers ----------------------------------------------------------------------------------------------------------
class LabelScore(TypedDict):
    """A label and its score."""

    label: str
    score: float


class Box(TypedDict):
    """A box in pixels of the image."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class DetectedObject(TypedDict):
    """An object that was found in an image."""

    score: float
    label: str
    box: Box


# -- options ----------------------------------------------------------------------------------------------------------
class CallOptions(TypedDict, total=False):
    """The options of every call.

    Attributes:
        num_workers: threads that encode inputs ahead of the model; 0 for none.
        batch_size: rows of a batch; None groups rows of similar length.
        on_error: "raise", or "return" to get an `ItemError` in the place of a bad input's answer.
    """

    num_workers: int | None
    batch_size: int | None
    on_error: Literal["raise", "return"]


class ImageCallOptions(CallOptions, total=False):
    """The options of every call of an image task: see `ImageOptions`."""

    timeout: float | None


class GenerateArguments(TypedDict, total=False):
    """The fields of a `GenerationConfig` and the arguments of `generate()`, with transformers' names and meanings."""

    # length
    max_length: int | None
    max_new_tokens: int | None
    min_length: int | None
    min_new_tokens: int | None
    early_stopping: bool | str | None
    max_time: float | None
    stop_strings: str | list[str] | None
    # strategy
    do_sample: bool | None
    num_beams: int | None
    num_beam_groups: int | None
    diversity_penalty: float | None
    penalty_alpha: float | None
    dola_layers: str | list[int] | None
    constraints: Sequence[Any] | None
    force_words_ids: Sequence[Any] | None
    use_mtp: bool | None
    low_memory: bool | None
    # cache
    use_cache: bool | None
    cache_implementation: str | None
    cache_config: Any
    max_cache_len: int | None
    prefill_chunk_size: int | None
    # scores
    temperature: float | tuple[float, ...] | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    top_h: float | None
    typical_p: float | None
    epsilon_cutoff: float | None
    eta_cutoff: float | None
    repetition_penalty: float | None
    encoder_repetition_penalty: float | None
    length_penalty: float | None
    no_repeat_ngram_size: int | None
    encoder_no_repeat_ngram_size: int | None
    bad_words_ids: list[list[int]] | None
    renormalize_logits: bool | None
    forced_bos_token_id: int | None
    forced_eos_token_id: int | list[int] | None
    remove_invalid_values: bool | None
    exponential_decay_length_penalty: tuple[int, float] | None
    suppress_tokens: list[int] | None
    begin_suppress_tokens: list[int] | None
    sequence_bias: Any
    token_healing: bool | None
    guidance_scale: float | None
    watermarking_config: Any
    # what comes back
    num_return_sequences: int | None
    output_attentions: bool | None
    output_hidden_states: bool | None
    output_scores: bool | None
    output_logits: bool | None
    return_dict_in_generate: bool | None
    # special tokens
    pad_token_id: int | None
    bos_token_id: int | None
    eos_token_id: int | list[int] | None
    decoder_start_token_id: int | list[int] | None
    # assisted generation
    is_assistant: bool | None
    num_assistant_tokens: int | None
    num_assistant_tokens_schedule: str | None
    assistant_confidence_threshold: float | None
    prompt_lookup_num_tokens: int | None
    max_matching_ngram_size: int | None
    assistant_early_exit: int | None
    assistant_lookbehind: int | None
    target_lookbehind: int | None
    assistant_ensemble_weight: float | None
    speculation_type: str | None
    # PyTorch only
    compile_config: Any
    disable_compile: bool | None
    continuous_batching_config: Any
    # arguments that are not fields
    generation_config: Any
    logits_processor: Sequence[Callable[..., Any]] | None
    stopping_criteria: Sequence[Callable[..., Any]] | None
    prefix_allowed_tokens_fn: Callable[[int, Any], Sequence[int]] | None
    synced_gpus: bool | None
    assistant_model: Any
    streamer: Any
    negative_prompt_ids: Any
    negative_prompt_attention_mask: Any
    use_model_defaults: bool | None
    custom_generate: Callable[..., Any] | None
    tokenizer: Any
    assistant_tokenizer: Any


class GenerationCallOptions(CallOptions, GenerateArguments, total=False):
    """The options of every call of a generating task: see `GenerationOptions`."""

    seed: int | None
    response_format: Mapping[str, Any] | None
