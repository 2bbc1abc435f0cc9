"""Build a backend from the vocabulary files of older checkpoints, which have no `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxpipe.bundle.files import has_file, read_json, read_text
from onnxpipe.errors import BundleError, ModelNotFoundError
from onnxpipe.processing.text.families import TokenizerFamily


def build(folder: Path, family: TokenizerFamily, tokens: Mapping[str, str]) -> Any:
    """Build the `tokenizers.Tokenizer` of a folder that has only `vocab.txt`, or `vocab.json` and `merges.txt`.

    Flags are not set yet and special tokens are not added yet (except the mask token of RoBERTa and its relatives,
    which includes the space before it).

    Args:
        folder: where the files are.
        family: the defaults of the tokenizer's class.
        tokens: special tokens by role.

    Raises:
        ModelNotFoundError: the files are missing, or the class needs more than they hold.
        BundleError: the files are damaged.
    """
    if family.vocabulary == "vocab.txt" and has_file(folder, "vocab.txt"):
        backend = _wordpiece(_lines(folder, "vocab.txt"), tokens)
    elif family.vocabulary == "vocab.json" and has_file(folder, "vocab.json") and has_file(folder, "merges.txt"):
        backend = _byte_level(folder)
    else:
        raise ModelNotFoundError(
            f"{folder} has no tokenizer.json, and its tokenizer cannot be built from other files. "
            f"Write one with: onnxpipe export {folder} -o DIR"
        )
    _set_post_processor(backend, family, tokens)
    return backend


def _wordpiece(words: list[str], tokens: Mapping[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=tokens.get("unk_token", "[UNK]")))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _byte_level(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = read_json(folder, "vocab.json")
    lines = _lines(folder, "merges.txt")
    pairs = (line.partition(" ") for line in lines if line.strip() and not line.startswith("#version"))
    merges = [(left, right) for left, _, right in pairs]
    try:
        backend = Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    except Exception as error:  # the library raises a bare Exception
        raise BundleError(f"vocab.json and merges.txt in {folder} do not belong together: {error}") from error
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _set_post_processor(backend: Any, family: TokenizerFamily, tokens: Mapping[str, str]) -> None:
    """Set the special tokens around a text; their ids must be known."""
    from tokenizers import AddedToken, processors

    if family.frame is None:
        return
    mask = tokens.get("mask_token")
    if family.frame == "roberta" and mask is not None:
        backend.add_special_tokens([AddedToken(mask, lstrip=True, special=True, normalized=False)])
    cls, sep = ((tokens[role], backend.token_to_id(tokens[role])) for role in ("cls_token", "sep_token"))
    if cls[1] is None or sep[1] is None:
        raise BundleError(f"the vocabulary has no {cls[0]} or no {sep[0]}")
    if family.frame == "roberta":
        backend.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
        return
    single = f"{cls[0]}:0 $A:0 {sep[0]}:0"
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} $B:1 {sep[0]}:1", special_tokens=[cls, sep]
    )


def _lines(folder: Path, name: str) -> list[str]:
    # not splitlines(): a vocabulary may hold characters that Python takes for line ends
    return read_text(folder, name).removesuffix("\n").split("\n")
