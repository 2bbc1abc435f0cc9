"""HiFi-GAN: turns a log-mel spectrogram into audio (Kong et al. 2020, arXiv:2010.05646)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from onnxpipe.bundle import Bundle, HubKeywords, HubOptions
from onnxpipe.engine import Session
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.loading import Source, Target, load_model
from onnxpipe.processing.arrays import to_array

#: The vocoder of SpeechT5's spectrograms if the user names none.
DEFAULT_VOCODER = "microsoft/speecht5_hifigan"


class SpeechT5HifiGan(Model):
    """The vocoder: the graph `model`, `spectrogram` (batch, frames, mels) to `waveform` (batch, samples).

    Attributes:
        sampling_rate: samples per second.
    """

    main_input_name = "spectrogram"

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        if "spectrogram" not in session.inputs or "waveform" not in session.outputs:
            raise UnsupportedError(
                f"{name_or_path} is not a vocoder: its graph has no input 'spectrogram' or no output 'waveform'"
            )

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> SpeechT5HifiGan:
        """Load the vocoder of a bundle."""
        session, precision = opener("model")
        return cls(bundle, session, precision, name_or_path)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        dtype: Any = "auto",
        torch_dtype: Any = None,
        device: Any = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        provider_options: Sequence[dict[str, Any]] | None = None,
        threads: int | None = None,
        run_timeout: float | None = None,
        **hub: Unpack[HubKeywords],
    ) -> SpeechT5HifiGan:
        """Load a vocoder from a folder or the Hub; the arguments are those of `AutoModel.from_pretrained`.

        Raises:
            ModelNotFoundError, NotExportedError, BundleError, PrecisionError, DeviceError.
            UnsupportedError: the model is not a vocoder.
        """
        source = Source(
            os.fspath(pretrained_model_name_or_path), HubOptions.only(hub, "SpeechT5HifiGan.from_pretrained")
        )
        chosen = torch_dtype if torch_dtype is not None and dtype == "auto" else dtype
        target = Target(chosen, device, providers, provider_options, threads, run_timeout)
        model = load_model(source, target, "vocoder", cls.load)
        assert isinstance(model, cls)
        return model

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return int(self.config.sampling_rate)

    def __call__(self, spectrogram: Any) -> Array:
        """Turn a log-mel spectrogram into audio.

        Args:
            spectrogram: float32 (frames, mels) or (batch, frames, mels); a tensor of torch is taken too.

        Returns:
            float32 (samples,) or (batch, samples).

        Raises:
            ValueError: of another shape, or without frames.
        """
        mels = np.asarray(to_array(spectrogram), np.float32)
        if mels.ndim not in (2, 3) or 0 in mels.shape:
            raise ValueError(f"a spectrogram is (frames, mels) or (batch, frames, mels), got {mels.shape}")
        rank = len(self.session.inputs["spectrogram"].shape)
        if rank == 2:  # graphs of other exporters take one spectrogram at a time
            waveforms = [
                self.session.run({"spectrogram": one})["waveform"] for one in mels.reshape(-1, *mels.shape[-2:])
            ]
            waveform = np.stack(waveforms)
        else:
            waveform = self.session.run({"spectrogram": mels.reshape(-1, *mels.shape[-2:])})["waveform"]
        return waveform if mels.ndim == 3 else waveform[0]
