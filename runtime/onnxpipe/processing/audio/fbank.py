"""Kaldi's filter banks, which several families hear: 25 ms frames each 10 ms, of 16 kHz, the mean of each off."""

from __future__ import annotations

from onnxpipe.processing.audio.mel import KALDI_FLOOR, MelBands, SpectrogramConfig, Window

#: Kaldi's samples are 16-bit numbers.
SIXTEEN_BITS = 32768.0


def kaldi_config(
    mels: int, rate: int, *, window: Window = "povey", gain: float = SIXTEEN_BITS, dither: float = 0.0
) -> SpectrogramConfig:
    """The config of filter banks as Kaldi has them.

    Args:
        mels: how many bands, from 20 Hz to half the rate.
        rate: samples a second; frames are 400 samples and 160 apart whatever it is, as in transformers.
        window: the shape.
        gain: what samples are multiplied with.
        dither: deviation of the noise that is added.
    """
    bands = MelBands(mels, 20, rate // 2, rate, "kaldi", unit_area=False, even_in_mel=True)
    return SpectrogramConfig(
        bands, frame=400, hop=160, fft=512, window=window, periodic=False, center=False, gain=gain, remove_mean=True,
        preemphasis=0.97, floor=KALDI_FLOOR, log="ln", dither=dither, exact=True,
    )  # fmt: skip
