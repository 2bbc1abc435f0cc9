"""The interfaces of the decoding loop: model, decoder, tokenizer, streamer. Layers above implement them, with ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from onnxpipe.bundle import Config

if TYPE_CHECKING:
    from onnxpipe.generation.config import GenerationConfig

Array = NDArray[Any]


class Decoder(Protocol):
    """One batch of rows being decoded, with its cache. Rows of one prompt are adjacent.

    Logits and hidden states are in memory that the decoder uses again in the next call; logits may be overwritten.
    """

    @property
    def rows(self) -> int:
        """Number of rows it holds now."""

    @property
    def hidden(self) -> Array | None:
        """float32 (rows, n, width): last hidden states of the last call's tokens, if started with `hidden=True`.

        After `prefill` the n are the prompt's positions, the last one being the prompt's last token.
        """

    def prefill(self) -> Array:
        """Run the prompt; gives the logits after it, float32 (rows, vocab). Called once, first."""

    def step(self, tokens: Array, keep: int = 1) -> Array:
        """Append `tokens`, int64 (rows, n); gives the logits of the last `keep`, float32 (rows, keep, vocab)."""

    def reorder(self, rows: Array) -> None:
        """Let row i continue from row rows[i], int64 (new_rows,). The number of rows of a prompt may change."""

    def crop(self, count: int) -> None:
        """Forget the last `count` tokens of every row."""


class GenerationModel(Protocol):
    """A model that `generate` can use."""

    @property
    def config(self) -> Config:
        """The model's config.json."""

    @property
    def generation_config(self) -> GenerationConfig:
        """Its generation_config.json, or the fields of config.json that are about generation."""

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
        """The forward arguments that `generate` takes, e.g. attention_mask, decoder_input_ids."""

    @property
    def vocab_size(self) -> int:
        """Logits per position."""

    @property
    def threads(self) -> int:
        """Threads that may compute with its logits."""

    def start(
        self, prompt: Array, inputs: Mapping[str, Any], *, copies: int = 1, max_length: int, hidden: bool = False
    ) -> Decoder:
        """Begin to decode a batch of prompts, `copies` rows each.

        Args:
            prompt: int64 (prompts, length): input_ids; for an encoder-decoder the decoder_input_ids.
            inputs: the other arguments: attention_mask; for an encoder-decoder also input_ids or encoder_outputs.
            copies: rows per prompt.
            max_length: the most tokens that a row will have in all.
            hidden: keep the last hidden states for `Decoder.hidden`.
        """


class TextTokenizer(Protocol):
    """The tokenizer of stop strings, streamers and token healing."""

    bos_token_id: int | None
    pad_token_id: int | None

    def __call__(self, text: Any, **options: Any) -> Any:
        """Encode a text to token ids and masks."""

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Decode token ids to text."""

    def get_vocab(self) -> dict[str, int]:
        """Token to id."""

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Token of an id."""

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Id of a token."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens to a text."""


class Streamer(Protocol):
    """A streamer: `put` is called once with the prompt, then with every step's tokens, then `end`."""

    def put(self, value: Array) -> None:
        """Take the prompt, int64 (1, length), or the next tokens, (1,) or (n,)."""

    def end(self) -> None:
        """End the stream."""
