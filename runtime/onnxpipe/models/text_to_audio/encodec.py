"""EnCodec's decoder: turns codes into audio (Défossez et al. 2022, arXiv:2210.13438)."""

from __future__ import annotations

import numpy as np

from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Opener

GRAPH = "encodec_decode"


class EncodecDecoder:
    """The graph `encodec_decode`: `audio_codes` (1, batch, codebooks, frames) to `audio_values` (batch, 1, samples).

    Args:
        session: the graph.
    """

    def __init__(self, session: Session) -> None:
        if "audio_codes" not in session.inputs or "audio_values" not in session.outputs:
            raise UnsupportedError(
                f"{session.path} is not a codec: it needs an input audio_codes and an output audio_values"
            )
        self.session = session

    @classmethod
    def load(cls, opener: Opener) -> EncodecDecoder:
        """Load the codec among a bundle's graphs."""
        session, _ = opener(GRAPH)
        return cls(session)

    def __call__(self, codes: Array) -> Array:
        """Decode codes to audio.

        Args:
            codes: int64 (batch, codebooks, frames), at least one frame.

        Returns:
            float32 (batch, channels, samples).
        """
        feeds = {"audio_codes": np.ascontiguousarray(codes[None], np.int64)}
        return self.session.run(feeds, ["audio_values"])["audio_values"]
