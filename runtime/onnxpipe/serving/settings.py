"""What a server allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MB = 1_000_000

#: The most that a request may ask for, by the names of parameters.
_BOUNDS: Mapping[str, float] = MappingProxyType(
    {
        "num_beams": 16, "num_beam_groups": 16, "num_return_sequences": 16, "num_images_per_prompt": 4,
        "top_k": 1000, "num_inference_steps": 150, "height": 2048, "width": 2048, "points_per_crop": 64,
        "points_per_batch": 256, "crops_n_layers": 2, "num_frames": 64, "max_time": 600,
        "prompt_lookup_num_tokens": 64, "no_repeat_ngram_size": 64, "encoder_no_repeat_ngram_size": 64,
        "max_answer_len": 512, "max_seq_len": 8192, "doc_stride": 8192, "max_question_len": 512,
    }
)  # fmt: skip


@dataclass(frozen=True)
class ServeSettings:
    """What a server allows.

    Attributes:
        keys: a request needs one of them; none are needed if there are none.
        hosts: names that the Host header may have; None for any.
        cors: origins whose pages may use the server; "*" for all.
        allow_urls: images and recordings may be http(s) URLs, which are fetched.
        max_body: bytes of a request.
        max_json: bytes of a request of a task whose inputs are texts.
        max_inputs: inputs of a request.
        max_new_tokens: the most tokens that a request may have generated, one by one.
        max_tokens: tokens of an input of texts, with those that it may have generated.
        max_labels: labels, sentences or documents of a request.
        max_pixels: of an image.
        max_seconds: of a recording.
        max_calls: requests at a time, those that wait included.
        max_queue: batches' worth of rows that may wait for a model.
        slots: texts that a model writes at a time.
        prefix_cache: prompts continue from what was run before; None: unless activations are rounded to 8 bits.
        cache_memory: bytes that the texts which a model writes at a time may take; None for a quarter of what the
            process may use. It bounds the tokens of each.
        threads: requests that are encoded, or wait for the model, at a time.
        timeout_s: seconds after which an answer is not waited for any more; None for no limit.
        drain_s: seconds that requests have to end when the server stops.
        bounds: the largest value of parameters, by name.
    """

    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    cors: tuple[str, ...] = ()
    allow_urls: bool = False
    max_body: int = 20 * MB
    max_json: int = 2 * MB
    max_inputs: int = 32
    max_new_tokens: int = 4096
    max_tokens: int = 32_768
    max_labels: int = 256
    max_pixels: int = 50_000_000
    max_seconds: float = 3600.0
    max_calls: int = 512
    max_queue: int = 64
    slots: int = 8
    prefix_cache: bool | None = None
    cache_memory: int | None = None
    threads: int = 64
    timeout_s: float | None = None
    drain_s: float = 30.0
    bounds: Mapping[str, float] = field(default_factory=lambda: _BOUNDS)

    def most(self, name: str) -> float | None:
        """Return the largest value of a parameter; None if it has none."""
        if name in ("max_new_tokens", "max_length", "min_length", "min_new_tokens"):
            return self.max_new_tokens
        return self.bounds.get(name)
