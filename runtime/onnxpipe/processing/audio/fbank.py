"""Configure Kaldi's filter-bank features, which several families use: 25 ms frames every 10 ms at 16 kHz."""

from __future__ import annotations

from onnxpipe.processing.audio.mel import KALDI_FLOOR, MelBands, SpectrogramConfig, Window

#: Kaldi's samples are 16-bit integers.
SIXTEEN_BITS = 32768.0


def kaldi_config(
    mels: int, rate: int, *, window: Window = "povey", gain: float = SIXTEEN_BITS, dither: float = 0.0
) -> SpectrogramConfig:
    """Configure filter banks as Kaldi does; the mean of each frame is subtracted.

    Args:
        mels: the number of bands, from 20 Hz to half the rate.
        rate: samples per second; frames are 400 samples long and 160 apart at any rate, as in transformers.
        window: the shape of the window.
        gain: the factor that samples are multiplied by.
        dither: the deviation of the noise that is added.
    """
    bands = MelBands(mels, 20, rate // 2, rate, "kaldi", unit_area=False, even_in_mel=True)
    return SpectrogramConfig(
        bands, frame=400, hop=160, fft=512, window=window, periodic=False, center=False, gain=gain, remove_mean=True,
        preemphasis=0.97, floor=KALDI_FLOOR, log="ln", dither=dither, exact=True,
    )  # fmt: skip
