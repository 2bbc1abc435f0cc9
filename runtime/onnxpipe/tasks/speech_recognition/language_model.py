"""Load a language model for CTC with pyctcdecode and KenLM: beams of words rather than the best token of a frame."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import MIB, SMALL_LIMIT, has_file, inside, read_bytes, read_json
from onnxpipe.bundle.folder_names import in_utf8
from onnxpipe.errors import MissingDependencyError, ModelNotFoundError

logger = logging.getLogger("onnxpipe")

#: The files of pyctcdecode: the alphabet, and the folder of its n-grams.
_ALPHABET, _FOLDER = "alphabet.json", "language_model"
#: Kinds of text beside the n-grams, and the most bytes of each: attributes, and the list of words.
_TEXTS = {".json": SMALL_LIMIT, ".txt": 256 * MIB}
_CONFIGS = ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json")


def load_language_model(decoder: Any, model: Any) -> Any:
    """Load the decoder of a CTC model.

    Args:
        decoder: one with `decode_beams(logits, ...)`, taken as it is; a folder of one; or None.
        model: its folder has a language model if its files name a class of processors "with LM".

    Returns:
        pyctcdecode's `BeamSearchDecoderCTC`; None if there is none.

    Raises:
        ModelNotFoundError: no such folder, or no language model in it.
        MissingDependencyError: a folder was passed, and pyctcdecode or KenLM is not installed. For the model's own
            language model this is only a warning, as in transformers.
    """
    if decoder is not None and not isinstance(decoder, (str, os.PathLike)):
        return decoder
    if decoder is not None:
        return _load(Path(decoder))
    folder: Path = model.bundle.folder
    if not has_file(folder, _ALPHABET) or not any(_with_language_model(folder, name) for name in _CONFIGS):
        return None
    try:
        return _load(folder)
    except MissingDependencyError as error:
        logger.warning("Could not load the `decoder` for %s. Defaulting to raw CTC. %s", model.name_or_path, error)
        return None


def _with_language_model(folder: Path, name: str) -> bool:
    """Whether a file names a class of processors with a language model ("Wav2Vec2ProcessorWithLM")."""
    return has_file(folder, name) and str(read_json(folder, name).get("processor_class")).endswith("WithLM")


def _load(folder: Path) -> Any:
    if not has_file(folder, _ALPHABET):
        raise ModelNotFoundError(f"{folder} has no {_ALPHABET}: it is not a language model of pyctcdecode")
    _check_files(folder)
    try:
        from pyctcdecode import BeamSearchDecoderCTC

        if (folder / _FOLDER).is_dir() and importlib.util.find_spec("kenlm") is None:
            raise ImportError("kenlm is not installed")  # pyctcdecode goes on without it, and fails later
    except ImportError as error:
        raise MissingDependencyError(
            f'the language model in {folder} needs pyctcdecode and kenlm: pip install "onnxpipe[lm]" ({error})'
        ) from error
    with in_utf8(folder) as named:
        return BeamSearchDecoderCTC.load_from_dir(str(named))


def _check_files(folder: Path) -> None:
    """Refuse a language model whose files are links out of the folder, pipes, devices, or texts that are too large.

    pyctcdecode opens whatever has the name, and reads its texts whole.
    """
    read_bytes(folder, _ALPHABET)
    for path in sorted((folder / _FOLDER).rglob("*")):
        if path.is_symlink() or not path.is_dir():
            name = path.relative_to(folder).as_posix()
            inside(folder, name)
            if path.suffix in _TEXTS:
                read_bytes(folder, name, _TEXTS[path.suffix])
