"""The base of causal and sequence-to-sequence models: `generate()` and its configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig, generate
from onnxpipe.models.base import Model


class GenerativeModel(Model):
    """A model that generates token by token.

    Attributes:
        generation_config: the folder's generation_config.json, else what config.json says of generation.
    """

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self.generation_config: GenerationConfig = GenerationConfig.from_folder(bundle.folder, bundle.config)

    def can_generate(self) -> bool:
        """Whether the model generates text: yes."""
        return True

    @property
    def threads(self) -> int:
        """Threads of an operator."""
        return self.session.threads

    @property
    def vocab_size(self) -> int:
        """Logits of a position: the number of tokens."""
        size = self.session.outputs["logits"].shape[-1]
        if not isinstance(size, int):
            size = self.config.get_text_config().get("vocab_size")
        if not isinstance(size, int):
            raise UnsupportedError(
                f"{self.name_or_path}: neither the graph nor config.json has the size of the vocabulary"
            )
        return size

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        prefix_allowed_tokens_fn: Callable[..., Any] | None = None,
        synced_gpus: bool | None = None,
        assistant_model: Any = None,
        streamer: Any = None,
        negative_prompt_ids: Any = None,
        negative_prompt_attention_mask: Any = None,
        use_model_defaults: bool | None = None,
        custom_generate: Any = None,
        *,
        seed: int | Sequence[int] | None = None,
        response_format: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate token ids; the arguments are transformers', see `onnxpipe.generation.generate`."""
        return generate(
            self,  # type: ignore[arg-type]  # the subclasses have the rest of the protocol
            inputs,
            generation_config,
            logits_processor,
            stopping_criteria,
            prefix_allowed_tokens_fn,
            synced_gpus,
            assistant_model,
            streamer,
            negative_prompt_ids,
            negative_prompt_attention_mask,
            use_model_defaults,
            custom_generate,
            seed=seed,
            response_format=response_format,
            **kwargs,
        )
