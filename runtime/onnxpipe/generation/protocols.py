"""What the decoding loop asks of a model and of a streamer. The floors above fill these in; this one knows no ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from onnxpipe.bundle import Config

if TYPE_CHECKING:
    from onnxpipe.generation.config import GenerationConfig

Array = NDArray[Any]


class Decoder(Protocol):
    """One batch of rows being decoded: its cache, and what continues it. Rows of one prompt are adjacent.

    Logits and hidden states are in memory that the decoder uses again in the next call.
    """

    @property
    def rows(self) -> int:
        """How many rows it holds now."""

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, n, width): last hidden states of the last call's tokens, if started with `hidden=True`.

        After `prefill` the n are the prompt's positions, the last one being the prompt's last token.
        """

    def prefill(self) -> Array:
        """float32 (rows, vocab): the logits after the prompt. Called once, first."""

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Appends `tokens`, int64 (rows, n); float32 (rows, keep, vocab): the logits of the last `keep` of them."""

    def reorder(self, rows: Array) -> None:
        """int64 (new_rows,): row i goes on from what row rows[i] had. The number of rows of a prompt may change."""

    def crop(self, count: int) -> None:
        """Forgets the last `count` tokens of every row."""


class GenerationModel(Protocol):
    """What `generate` needs of a model."""

    @property
    def config(self) -> Config:
        """The model's config.json."""

    @property
    def generation_config(self) -> GenerationConfig:
        """Its generation_config.json, or what config.json says about generation."""

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and the decoder starts from a start token."""

    @property
    def main_input_name(self) -> str:
        """The name of the prompt among the arguments, e.g. "input_ids"."""

    @property
    def name_or_path(self) -> str:
        """The folder or Hub id, for messages."""

    @property
    def input_names(self) -> frozenset[str]:
        """The forward arguments that may be given to `generate`, e.g. attention_mask, decoder_input_ids."""

    @property
    def vocab_size(self) -> int:
        """How many scores a token has."""

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Decoder:
        """A batch of prompts to decode, `copies` rows each.

        Args:
            prompt: int64 (prompts, length): input_ids; of an encoder-decoder the decoder_input_ids.
            inputs: the other arguments: attention_mask; of an encoder-decoder also input_ids or encoder_outputs.
            copies: rows per prompt.
            max_length: the most tokens that a row will have in all.
            hidden: keep the last hidden states for `Decoder.hidden`.
        """


class Tokenizer(Protocol):
    """What stop strings, streamers and token healing ask of a tokenizer."""

    bos_token_id: int | None
    pad_token_id: int | None

    def __call__(self, text: Any, **options: Any) -> Any:
        """Token ids and masks of a text."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """The text of token ids."""

    def get_vocab(self) -> dict[str, int]:
        """Token to id."""

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Token of an id."""

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Id of a token."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that tokens make."""


class Streamer(Protocol):
    """What a `streamer` is: the prompt is put once, then every step's tokens, then it ends."""

    def put(self, value: Array) -> None:
        """int64 (1, length) the prompt, or (1,) or (n,) the next tokens."""

    def end(self) -> None:
        """No more will come."""
