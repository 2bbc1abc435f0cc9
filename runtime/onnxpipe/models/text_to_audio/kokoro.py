"""Kokoro (a StyleTTS 2, Li et al. 2023, arXiv:2306.07691): one graph, and a file per voice, as on the Hub, or one file
of all voices, as kokoro-onnx ships them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.arrays import read_npz
from onnxpipe.bundle.files import read_bytes
from onnxpipe.bundle.known_folders import VOICES_FILE
from onnxpipe.engine import Session
from onnxpipe.errors import BundleError, MissingDependencyError, UnknownArgumentError, UnsupportedError
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.text_to_audio.protocol import check_names, tokenize_text
from onnxpipe.processing.arrays import to_array

_PARAMS = ("voice", "speed")
_TEXT_OPTIONS = ("is_phonemes", "language")

#: The voice if the user names none; the first one of the folder if it does not have this one.
_DEFAULT = "af_heart"

#: A voice has a style for each number of phonemes up to 510: 522 kB of float32. No voice is larger than this, and no
#: file of all voices larger than the other.
_MOST_BYTES = 1 << 24
_MOST_BYTES_OF_ALL = 1 << 28


class Kokoro(Model):
    """The graph `model`: input_ids (older graphs call them tokens) int64 (1, phonemes), style float32 (1, size), speed
    float32 or int32 (1,) to a waveform (1, samples).

    Attributes:
        voices: the voices' names.
    """

    gives_spectrogram = False

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        self._tokens = "tokens" if "tokens" in session.inputs else "input_ids"
        if not {self._tokens, "style", "speed"} <= session.inputs.keys():
            raise UnsupportedError(
                f"{name_or_path}: the graph's inputs are {', '.join(session.inputs)}, not input_ids, style and speed"
            )
        self._styles: dict[str, Array] = {}
        if not self.voices:
            raise BundleError(f"{bundle.folder / 'voices'} has no voice (<name>.bin): download the model again")

    #: The graph draws its noise itself.
    takes_seed: ClassVar[bool] = False

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Kokoro:
        """Load the model of a bundle."""
        session, precision = opener("model")
        return cls(bundle, session, precision, name_or_path)

    @cached_property
    def voices(self) -> tuple[str, ...]:
        """The voices' names, sorted."""
        folder = self.bundle.folder
        together = sorted(path.name for path in folder.iterdir() if VOICES_FILE.fullmatch(path.name))
        if together:
            self._styles |= _read_voices(folder, together[-1])
        return tuple(sorted({*self._styles, *(path.stem for path in (folder / "voices").glob("*.bin"))}))

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return int(self.config.get("sampling_rate", 24000))

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """See `TextToAudioModel.encode_text`. Further keywords are `is_phonemes` (the text is phonemes already) and
        `language` (eSpeak NG's name of it; by default the voice's)."""
        from onnxpipe.processing.text.speech.phonemes import language_of, pronounce

        for name in forward_params.keys() & set(_TEXT_OPTIONS):
            raise UnknownArgumentError(
                f"{name} belongs into preprocess_params, not forward_params: preprocess_params={{{name!r}: "
                f"{forward_params[name]!r}}}"
            )
        own = {name: value for name, value in keywords.items() if name in _TEXT_OPTIONS}
        if not own.get("is_phonemes"):
            voice = forward_params.get("voice")
            language = own.get("language") or language_of(voice if isinstance(voice, str) else self._default)
            try:
                text = pronounce(text, language)
            except MissingDependencyError as error:
                raise MissingDependencyError(
                    f"{error}. Phonemes are passed as the text, with preprocess_params={{'is_phonemes': True}}"
                ) from None
        return tokenize_text(tokenizer, text, {k: v for k, v in keywords.items() if k not in _TEXT_OPTIONS})

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """See `TextToAudioModel.synthesize`: float32 (1, samples). Parameters: `voice`, `speed`. The graph draws its
        noise itself, so a seed changes nothing."""
        check_names("text-to-audio with Kokoro: forward_params", forward_params, _PARAMS)
        return self(inputs["input_ids"], **forward_params)

    def __call__(self, input_ids: Any, voice: Any = None, speed: float = 1.0) -> Array:
        """Turn phonemes into speech.

        Args:
            input_ids: int (1, phonemes), with the padding token before and after.
            voice: a name of `voices`; or styles, float32: (n, 1, size), one per number of phonemes, or one (size,).
            speed: above 1 is faster.

        Returns:
            float32 (1, samples).

        Raises:
            UnsupportedError: no such voice.
            ValueError: more phonemes than the voice has styles for, or a speed that is not above 0.
        """
        ids = np.atleast_2d(np.asarray(to_array(input_ids), np.int64))
        if ids.shape[0] != 1:
            raise UnsupportedError(f"input_ids are (1, phonemes), got {ids.shape}")
        if not speed > 0:
            raise UnsupportedError(f"speed must be above 0, got {speed}")
        count = max(ids.shape[1] - 2, 0)
        if not count:
            raise UnsupportedError("the text has no phoneme that the model knows: there is nothing to say")
        styles = self._style(self._default if voice is None else voice)
        if count > len(styles) and len(styles) > 1:
            raise UnsupportedError(
                f"the text has {count} phonemes, and the model takes at most {len(styles)}: split it into sentences"
            )
        style = styles[min(count, len(styles) - 1)]
        kind = self.session.inputs["speed"].dtype
        if np.issubdtype(kind, np.integer) and speed != int(speed):
            raise UnsupportedError(f"speed={speed}: this graph takes whole numbers alone")
        feeds = {self._tokens: ids, "style": style[None], "speed": np.array([speed], kind)}
        return next(iter(self.session.run(feeds).values())).reshape(1, -1)

    @property
    def _default(self) -> str:
        return _DEFAULT if _DEFAULT in self.voices else self.voices[0]

    def _style(self, voice: Any) -> Array:
        """float32 (n, size)."""
        size = self.session.inputs["style"].shape[-1]
        if not isinstance(voice, str):
            styles = np.asarray(to_array(voice), np.float32)
            if not styles.size or (isinstance(size, int) and styles.shape[-1] != size):
                raise UnsupportedError(
                    f"voice must be a name, or float32 of shape (n, 1, {size}) or ({size},), got {styles.shape}"
                )
            return styles.reshape(-1, styles.shape[-1])
        if voice not in self.voices:
            near = difflib.get_close_matches(voice, self.voices, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.voices)}"
            raise UnsupportedError(f"voice={voice!r}: {self.name_or_path} has no such voice; {hint}")
        if voice not in self._styles:
            self._styles[voice] = _read_voice(self.bundle, voice, size if isinstance(size, int) else 256)
        return self._styles[voice]


def _read_voices(folder: Path, name: str) -> dict[str, Array]:
    """Read the file of all voices, an archive of numpy's: float32 (n, size) for each name."""
    try:
        arrays = dict(read_npz(read_bytes(folder, name, _MOST_BYTES_OF_ALL), _MOST_BYTES_OF_ALL))
    except ValueError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder / name} is not an archive of voices: {error}") from None
    wrong = [
        voice for voice, styles in arrays.items() if styles.dtype.kind != "f" or styles.ndim < 2 or not styles.size
    ]
    if wrong:
        raise BundleError(f"{folder / name}: the voice {wrong[0]!r} is not an array of styles (n, 1, size)")
    return {
        voice: np.ascontiguousarray(styles.reshape(-1, styles.shape[-1]), np.float32)
        for voice, styles in arrays.items()
    }


def _read_voice(bundle: Bundle, voice: str, size: int) -> Array:
    content = read_bytes(bundle.folder, f"voices/{voice}.bin", _MOST_BYTES)
    if not content or len(content) % (4 * size):
        path = bundle.folder / "voices" / f"{voice}.bin"
        raise BundleError(f"{path} has {len(content)} bytes, not whole rows of {size} float32: download it again")
    return np.frombuffer(content, "<f4").reshape(-1, size)
