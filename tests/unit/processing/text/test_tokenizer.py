"""The tokenizer on small vocabularies built with the `tokenizers` library; no transformers."""

from __future__ import annotations

import copy
import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from onnxpipe.errors import (
    BundleError,
    ModelNotFoundError,
    TextTooLongError,
    UnknownArgumentError,
    UnsupportedError,
)
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.inputs import text_list
from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat", "a", "b", "c", "d", "e"),
    *("##s", "##ting", ",", ".", "The", "é", "'", "n't", "is"),
]
CLS, SEP, PAD, UNK = 2, 3, 0, 1


def _write(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """A folder with a WordPiece tokenizer."""
    folder.mkdir(exist_ok=True)
    backend = Backend(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in WORDS[:5]])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    backend.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", "model_max_length": 8} if config is None else config
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "wordpiece")


@pytest.fixture
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(folder)


class _Strategy(Enum):
    FIRST = "only_first"
    LONGEST = "longest"


# -- the call -------------------------------------------------------------------------------------------------------
def test_a_text(tokenizer: Tokenizer) -> None:
    encoding = tokenizer("the cats")
    assert dict(encoding) == {
        "input_ids": [CLS, 5, 6, 15, SEP],
        "token_type_ids": [0] * 5,
        "attention_mask": [1] * 5,
    }
    assert list(encoding) == ["input_ids", "token_type_ids", "attention_mask"]
    assert encoding.input_ids == encoding["input_ids"]
    assert encoding.tokens() == ["[CLS]", "the", "cat", "##s", "[SEP]"]


def test_a_pair_and_batches(tokenizer: Tokenizer) -> None:
    assert tokenizer("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer([("a", "b")])["input_ids"] == [[CLS, 10, SEP, 11, SEP]]
    assert tokenizer(["a", "b"], ["c", "d"])["input_ids"] == [[CLS, 10, SEP, 12, SEP], [CLS, 11, SEP, 13, SEP]]
    assert tokenizer([["a", "b"], ["c"]], is_split_into_words=True)["input_ids"] == [[CLS, 10, 11, SEP], [CLS, 12, SEP]]


def test_an_empty_batch_has_no_rows(tokenizer: Tokenizer) -> None:
    encoding = tokenizer([], padding=True, return_tensors="np", return_overflowing_tokens=True)
    assert encoding["input_ids"].shape == (0,)
    assert encoding["input_ids"].dtype == np.int64


def test_padding(tokenizer: Tokenizer) -> None:
    batch = ["a", "a b c"]
    assert tokenizer(batch, padding=True)["input_ids"] == [[CLS, 10, SEP, PAD, PAD], [CLS, 10, 11, 12, SEP]]
    assert tokenizer(batch, padding=_Strategy.LONGEST, padding_side="left")["attention_mask"][0] == [0, 0, 1, 1, 1]
    assert {len(row) for row in tokenizer(batch, padding="max_length")["input_ids"]} == {8}
    assert {len(row) for row in tokenizer(batch, padding=True, pad_to_multiple_of=4)["input_ids"]} == {8}


def test_truncation(tokenizer: Tokenizer) -> None:
    text = "a b c d e a b c d e"
    assert len(tokenizer(text)["input_ids"]) == 12
    assert len(tokenizer(text, truncation=True)["input_ids"]) == 8
    assert tokenizer(text, max_length=4)["input_ids"] == [CLS, 10, 11, SEP]
    assert tokenizer("a b c", "d e", truncation=_Strategy.FIRST, max_length=6)["input_ids"] == [
        CLS, 10, SEP, 13, 14, SEP,
    ]  # fmt: skip
    tokenizer.truncation_side = "left"
    assert tokenizer(text, max_length=4)["input_ids"] == [CLS, 13, 14, SEP]


def test_without_a_limit_nothing_is_cut_or_padded(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(_write(tmp_path / "t", {"tokenizer_class": "BertTokenizer"}))
    assert tokenizer.model_max_length == int(1e30)
    assert len(tokenizer("a " * 50, truncation=True, padding="max_length")["input_ids"]) == 52


def test_windows(tokenizer: Tokenizer) -> None:
    encoding = tokenizer(
        ["a b c d", "e"], truncation=True, max_length=4, stride=1, return_overflowing_tokens=True, padding=True,
        return_tensors="np",
    )  # fmt: skip
    assert encoding["input_ids"].tolist() == [
        [CLS, 10, 11, SEP], [CLS, 11, 12, SEP], [CLS, 12, 13, SEP], [CLS, 14, SEP, PAD],
    ]  # fmt: skip
    assert encoding["overflow_to_sample_mapping"].tolist() == [0, 0, 0, 1]
    assert encoding.tokens(3) == ["[CLS]", "e", "[SEP]", "[PAD]"]


def test_arrays(tokenizer: Tokenizer) -> None:
    encoding = tokenizer("the cat", return_tensors="np", return_offsets_mapping=True)
    assert encoding["input_ids"].shape == (1, 4)
    assert encoding["input_ids"].dtype == np.int64
    assert encoding["offset_mapping"].shape == (1, 4, 2)
    assert tokenizer("", add_special_tokens=False, return_tensors="np")["input_ids"].shape == (1, 0)


def test_what_comes_back(tokenizer: Tokenizer) -> None:
    encoding = tokenizer(
        "a", return_token_type_ids=False, return_attention_mask=False, return_special_tokens_mask=True,
        return_offsets_mapping=True, return_length=True,
    )  # fmt: skip
    assert dict(encoding) == {
        "input_ids": [CLS, 10, SEP],
        "special_tokens_mask": [1, 0, 1],
        "offset_mapping": [(0, 0), (0, 1), (0, 0)],
        "length": [3],
    }
    tokenizer.model_input_names = ["input_ids"]
    assert list(tokenizer("a")) == ["input_ids"]


def test_wrong_calls(tokenizer: Tokenizer) -> None:
    for wrong, why in {5: "int", ("a", b"b"): "bytes"}.items():
        with pytest.raises(ValueError, match=rf"of type {why} \("):
            tokenizer(wrong)
    with pytest.raises(ValueError, match="You need to specify"):
        tokenizer()
    with pytest.raises(ValueError, match="does not match batch length"):
        tokenizer(["a"], ["b", "c"])
    with pytest.raises(TypeError, match="must be a list or tuple"):
        tokenizer(["a"], "b")
    with pytest.raises(ValueError, match="not a valid TruncationStrategy"):
        tokenizer("a", truncation="first")
    with pytest.raises(ValueError, match="not a multiple"):
        tokenizer("a", padding="max_length", truncation=True, max_length=5, pad_to_multiple_of=4)
    with pytest.raises(UnsupportedError, match="use return_tensors='np'"):
        tokenizer("a", return_tensors="pt")
    with pytest.raises(ValueError, match="Unable to create tensor"):
        tokenizer(["a", "a b"], return_tensors="np")
    with pytest.raises(TypeError, match="unexpected keyword"):
        tokenizer("a", foo=1)  # type: ignore[call-arg]
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="does not have a padding token"):
        tokenizer("a", padding=True)


@pytest.mark.parametrize(
    ("texts", "words", "why"),
    [
        ([None, "a"], False, r"text\[0\] is missing \(None\)"),
        (["a", float("nan")], False, r"text\[1\] is missing \(nan\)"),
        (["a", 3], False, r"text\[1\] is of type int \(3\)"),
        ([["a"]], False, r"text\[0\] has 1 texts"),
        ([("a", "b", "c")], False, r"text\[0\] has 3 texts"),
        ([("a", None)], False, r"text\[0\]\[1\] is missing"),
        ({"text": "a"}, False, r"text is of type dict"),
        ("a\ud800", False, r"text is not valid Unicode: its character 1 is half of a surrogate pair \(U\+D800\)"),
        (["é", "é\udfff"], False, r"text\[1\] is not valid Unicode: its character 1"),
        ("a b", True, r"text must be a list of words"),
        (["a", None], True, r"text\[1\] is missing"),
        ([["a"], ["b", 1]], True, r"text\[1\]\[1\] is of type int"),
        ([(["a"], ["b", None])], True, r"text\[0\]\[1\]\[1\] is missing"),
    ],
)
def test_which_text_is_wrong(tokenizer: Tokenizer, texts: Any, words: bool, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tokenizer(texts, is_split_into_words=words)


@pytest.mark.parametrize("second", [None, 5, ["b", None], "b\udcff"])
def test_which_second_text_is_wrong(tokenizer: Tokenizer, second: Any) -> None:
    if second is None:
        with pytest.raises(ValueError, match=r"text_pair\[0\] is missing"):
            tokenizer(["a"], [None])
    else:
        with pytest.raises(ValueError, match="text_pair"):
            tokenizer("a", second)


def test_texts_of_other_types_that_are_right(tokenizer: Tokenizer) -> None:
    assert tokenizer(np.str_("a"))["input_ids"] == [CLS, 10, SEP]
    assert tokenizer("a", "")["input_ids"] == tokenizer("a")["input_ids"]
    assert tokenizer([["a", "b"]], [["c"]], is_split_into_words=True)["input_ids"] == [[CLS, 10, 11, SEP, 12, SEP]]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("cup", r"documents is the text 'cup', where a list of texts belongs"),
        (["cup", None], r"documents\[1\] is missing \(None\)"),
        (np.array(["a", float("nan")], object), r"documents\[1\] is missing \(nan\)"),
        ({"a": 1}, "documents is of type dict"),
        (b"cup", "documents is of type bytes"),
        (None, r"documents is missing \(None\)"),
        (5, "documents is of type int"),
        (["\ud800"], r"documents\[0\] is not valid Unicode"),
    ],
)
def test_lists_of_texts(values: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        text_list(values, "documents")


def test_what_counts_as_a_list_of_texts() -> None:
    for values in (["a", "b"], ("a", "b"), np.array(["a", "b"]), iter("ab"), {"a": 0, "b": 1}.keys()):
        assert text_list(values, "documents") == ["a", "b"]


@pytest.mark.parametrize(
    "options",
    [
        {"stride": -1},
        {"stride": 1.5},
        {"stride": True},
        {"max_length": -5},
        {"max_length": 0},
        {"max_length": 2.5},
        {"max_length": "3"},
        {"max_length": 10**40},
        {"max_length": 8, "pad_to_multiple_of": 0},
        {"max_length": 8, "pad_to_multiple_of": -8},
    ],
)
def test_numbers_out_of_their_range(tokenizer: Tokenizer, options: dict[str, Any]) -> None:
    name = list(options)[-1]
    with pytest.raises(ValueError, match=rf"{name}={options[name]!r} is not possible: pass a whole number of at least"):
        tokenizer("a", padding="max_length", truncation=True, **options)


def test_a_length_without_room_for_the_special_tokens(tokenizer: Tokenizer) -> None:
    """The library would not cut at all."""
    with pytest.raises(ValueError, match="max_length=1 leaves no room for text: 2 special tokens"):
        tokenizer("a b c", truncation=True, max_length=1)
    with pytest.raises(ValueError, match="max_length=2 leaves no room for text: 3 special tokens"):
        tokenizer("a", "b", truncation=True, max_length=2)
    assert tokenizer("a b c", truncation=True, max_length=2)["input_ids"] == [CLS, SEP]
    assert tokenizer("a b c", truncation=True, max_length=1, add_special_tokens=False)["input_ids"] == [10]


@pytest.mark.parametrize(
    ("texts", "strategy", "length", "stride"),
    [
        (("a b c d e", None), True, 4, 2),
        (("a", None), True, 4, 3),
        (("a b c", "a b c d e"), "only_second", 8, 2),
        (("a b c d e", "a b c"), "only_first", 8, 2),
        (("a b c d e", "a b c d e"), "longest_first", 8, 2),
        (("a", "a b c d e"), "longest_first", 7, 3),
    ],
)
def test_a_stride_without_room(
    tokenizer: Tokenizer, capfd: pytest.CaptureFixture[str], texts: Any, strategy: Any, length: int, stride: int
) -> None:
    """The library panics there: it prints, and raises an error that no `except Exception` catches."""
    with pytest.raises(ValueError, match="stride"):
        tokenizer(*texts, truncation=strategy, max_length=length, stride=stride)
    assert capfd.readouterr().err == ""
    assert tokenizer("a")["input_ids"] == [CLS, 10, SEP]


def test_a_text_that_leaves_no_room_for_the_other_of_its_pair(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextTooLongError, match="may not cut is too long"):
        tokenizer("the cat sat on the mat", "a", truncation="only_second", max_length=6)
    with pytest.raises(TextTooLongError, match="pass a larger max_length"):
        tokenizer("a", "the cat sat on the mat", truncation="only_first", max_length=6)
    with pytest.raises(ValueError, match="cuts the second text of a pair, and there is none"):
        tokenizer("the cat sat", truncation="only_second", max_length=4)


def test_the_greatest_strides(tokenizer: Tokenizer) -> None:
    """One less than in the test above, or with nothing to cut, windows are made."""
    options: dict[str, Any] = {"return_overflowing_tokens": True}
    for texts, strategy, length, stride, count in [
        (("a b c d e", None), True, 4, 1, 4),
        (("a b c", "a b c d e"), "only_second", 8, 1, 4),
        (("a b c", "a b"), "only_second", 8, 2, 1),
        (("a b c d e", "a b c d e"), "longest_first", 8, 1, None),
        (("a", "a b c d e"), "longest_first", 7, 2, 3),
    ]:
        rows = tokenizer(*texts, truncation=strategy, max_length=length, stride=stride, **options)["input_ids"]
        assert count is None or len(rows) == count
        assert max(map(len, rows)) <= length


def test_long_texts_are_warned_of_once(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "onnxpipe"):
        for _ in range(2):
            tokenizer("a " * 20)
        tokenizer("a " * 20, truncation=True)
    assert len(caplog.records) == 1
    assert "22 > 8" in caplog.text


# -- threads --------------------------------------------------------------------------------------------------------
def test_threads_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    """Truncation is a state of the backend: calls that want different ones must not see each other's."""
    text = "a b c d e " * 4
    wanted = {n: tokenizer(text, truncation=True, max_length=n)["input_ids"] for n in range(3, 12)}
    wanted[0] = tokenizer(text)["input_ids"]

    def work(n: int) -> bool:
        options = {"truncation": True, "max_length": n} if n else {}
        batches = [tokenizer([text] * 4, padding=True, **options)["input_ids"] for _ in range(30)]
        return all(row == wanted[n] for rows in batches for row in rows)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, [*wanted, *wanted]))
    finally:
        sys.setswitchinterval(switch)


def test_the_same_state_is_shared(tokenizer: Tokenizer) -> None:
    """Two calls that want the same state are inside together; one that wants another waits for both."""
    lock, state, other = tokenizer._lock, (None, False), (None, True)
    meet, release, log = threading.Barrier(3, timeout=10), threading.Event(), []

    def call() -> None:
        meet.wait()
        release.wait(10)
        log.append("same")

    threads = [threading.Thread(target=lock.run, args=(state, call)) for _ in range(2)]
    for thread in threads:
        thread.start()
    meet.wait()  # both are inside
    threads.append(threading.Thread(target=lock.run, args=(other, lambda: log.append("other"))))
    threads[-1].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert log == ["same", "same", "other"]


def test_users_may_set_the_backend(tokenizer: Tokenizer) -> None:
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=20)
    assert tokenizer("a b c")["input_ids"] == [CLS, 10, 11, 12, SEP]
    assert tokenizer("a b c", max_length=4)["input_ids"] == [CLS, 10, 11, SEP]


def test_copies(tokenizer: Tokenizer) -> None:
    tokenizer.pad_token = "[SEP]"
    for twin in (copy.deepcopy(tokenizer), copy.copy(tokenizer)):
        assert twin("a cat", padding="max_length") == tokenizer("a cat", padding="max_length")
        assert twin.pad_token_id == SEP
        twin.pad_token = "[MASK]"
        assert tokenizer.pad_token_id == SEP
    encoding = tokenizer("a cat")
    assert copy.deepcopy(encoding).tokens() == encoding.tokens()


# -- back to text ---------------------------------------------------------------------------------------------------
def test_decode(tokenizer: Tokenizer) -> None:
    ids = tokenizer("the cats sat , .")["input_ids"]
    assert tokenizer.decode(ids) == "[CLS] the cats sat , . [SEP]"
    assert tokenizer.decode(np.array(ids), skip_special_tokens=True) == "the cats sat , ."
    assert tokenizer.decode(ids, True, clean_up_tokenization_spaces=True) == "the cats sat,."
    assert tokenizer.decode(6) == tokenizer.decode(np.int64(6)) == "cat"
    assert (
        tokenizer.decode([[5, 6], [7]])
        == tokenizer.batch_decode(np.array([[5, 6], [7, PAD]]), True)
        == ["the cat", "sat"]
    )
    assert tokenizer.decode([]) == ""
    assert tokenizer.batch_decode([np.array([5]), np.array([6, 7])]) == ["the", "cat sat"]
    tokenizer.clean_up_tokenization_spaces = True
    assert tokenizer.decode(ids, True) == "the cats sat,."
    assert tokenizer.convert_tokens_to_string(["cat", "##s", "is", "n't"]) == "cats is n't"


@pytest.mark.parametrize("ids", [[1.5], "56", ["5"], [None], [-100], [5, -1], [1 << 32], -1, np.array([5.0])])
def test_ids_that_no_token_has(tokenizer: Tokenizer, ids: Any) -> None:
    for convert in (tokenizer.decode, tokenizer.convert_ids_to_tokens):
        with pytest.raises(ValueError, match=r"token ids are whole numbers|no token has the id"):
            convert(ids)
    assert tokenizer.decode([5, 10**6, 6]) == "the cat"  # ids beyond the vocabulary have no text, as in transformers


def test_bpe_keeps_its_spaces(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(models.BPE({"a": 0, "Ġ": 1, ".": 2}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    tokenizer = Tokenizer(backend)
    with caplog.at_level(logging.WARNING, "onnxpipe"):
        assert tokenizer.decode(tokenizer("a .")["input_ids"], clean_up_tokenization_spaces=True) == "a ."
    assert "BPE" in caplog.text


# -- tokens and ids -------------------------------------------------------------------------------------------------
def test_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.special_tokens_map == {
        "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
    }  # fmt: skip
    assert tokenizer.bos_token is None
    assert tokenizer.bos_token_id is None
    assert tokenizer.all_special_ids == [1, 3, 0, 2, 4]
    tokenizer.pad_token_id = SEP
    assert tokenizer.pad_token == "[SEP]"
    tokenizer.bos_token = AddedToken("the")
    assert tokenizer.bos_token_id == 5
    tokenizer.pad_token = None
    assert tokenizer.pad_token_id is None
    with pytest.raises(ValueError, match="non-string"):
        tokenizer.eos_token = 5
    with pytest.raises(AttributeError, match="no attribute nope"):
        _ = tokenizer.nope


def test_tokens_to_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer.convert_tokens_to_ids("cat") == 6
    assert tokenizer.convert_tokens_to_ids(["cat", "dog"]) == [6, UNK]
    assert tokenizer.convert_ids_to_tokens(6) == "cat"
    assert tokenizer.convert_ids_to_tokens(np.array([CLS, 6]), skip_special_tokens=True) == ["cat"]
    assert tokenizer.convert_ids_to_tokens(10_000) is None
    assert tokenizer.get_vocab()["cat"] == 6
    assert tokenizer.vocab_size == len(tokenizer) == len(WORDS)
    assert tokenizer.num_special_tokens_to_add() == 2
    assert tokenizer.num_special_tokens_to_add(pair=True) == 3
    assert tokenizer.tokenize("the cats") == ["the", "cat", "##s"]
    assert tokenizer.encode("the", max_length=5, padding="max_length") == [CLS, 5, SEP, PAD, PAD]
    assert tokenizer.encode_plus("the") == tokenizer("the")
    assert tokenizer.batch_encode_plus(["the"]) == tokenizer(["the"])


def test_added_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.add_tokens(["dog"]) == 1
    assert tokenizer.tokenize("a dog") == ["a", "dog"]
    assert len(tokenizer) == tokenizer.vocab_size + 1
    assert tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["<x>"]}) == 2
    assert tokenizer.bos_token_id == len(WORDS) + 1
    assert tokenizer.additional_special_tokens == tokenizer.extra_special_tokens == ["<x>"]
    assert tokenizer.decode(tokenizer("<x> a")["input_ids"], skip_special_tokens=True) == "a"
    with pytest.raises(ValueError, match="not a valid special token"):
        tokenizer.add_special_tokens({"nope": "x"})


# -- the encoding ---------------------------------------------------------------------------------------------------
def test_maps(tokenizer: Tokenizer) -> None:
    encoding = tokenizer(["the cats", "sat"], ["on", "the mat"])
    assert encoding.sequence_ids(0) == [None, 0, 0, 0, None, 1, None]
    assert encoding.word_ids(0) == [None, 0, 1, 1, None, 0, None]
    assert encoding.token_to_word(0, 3) == 1
    assert encoding.token_to_word(0, -2) == 0
    assert encoding.token_to_sequence(0, 5) == 1
    assert encoding.token_to_chars(0, 3) == (7, 8)
    assert encoding.token_to_chars(0, 0) is None
    assert encoding.word_to_chars(0, 1) == (4, 8)
    assert encoding.word_to_tokens(0, 1) == (2, 4)
    assert encoding.char_to_token(1, 4, sequence_index=1) == 4
    assert encoding.char_to_word(0, 5) == 1
    assert encoding.char_to_word(0, 3) is None
    assert encoding.n_sequences == 2
    assert encoding[1].tokens == encoding.tokens(1)
    assert len(encoding.encodings or []) == 2
    assert encoding.is_fast


def test_a_bare_batch_encoding() -> None:
    encoding = BatchEncoding({"input_ids": [[1, 2], [3, 4]]})
    assert encoding[0:1] == {"input_ids": [[1, 2]]}
    assert encoding.n_sequences is None
    assert not encoding.is_fast
    with pytest.raises(KeyError):
        encoding[0]
    with pytest.raises(ValueError, match="known only for"):
        encoding.tokens()
    with pytest.raises(AttributeError):
        _ = encoding.nope
    assert encoding.to("cuda") is encoding.convert_to_tensors("np")
    assert encoding.input_ids.shape == (2, 2)
    assert BatchEncoding({"x": [1]}, tensor_type="np", prepend_batch_axis=True)["x"].shape == (1, 1)


def test_pad(tokenizer: Tokenizer) -> None:
    apart = [tokenizer("a"), tokenizer("a b c")]
    assert tokenizer.pad(apart) == tokenizer(["a", "a b c"], padding=True)
    arrays = tokenizer.pad([{"input_ids": np.array([5])}, {"input_ids": np.array([6, 7])}], padding_side="left")
    assert arrays["input_ids"].tolist() == [[PAD, 5], [6, 7]]
    assert arrays["attention_mask"].tolist() == [[0, 1], [1, 1]]
    assert tokenizer.pad({"input_ids": [5]}, padding="max_length", max_length=2)["input_ids"] == [5, PAD]
    with pytest.raises(ValueError, match="You should supply an encoding"):
        tokenizer.pad([{"labels": [1]}])


# -- the files ------------------------------------------------------------------------------------------------------
def test_overrides(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(
        folder, model_max_length=5, padding_side="left", pad_token="[MASK]", do_lower_case=False, use_fast=False
    )
    assert tokenizer("a", padding="max_length")["input_ids"] == [4, 4, CLS, 10, SEP]
    assert tokenizer.tokenize("The the") == ["The", "the"]
    assert Tokenizer.from_folder(folder).tokenize("The the") == ["the", "the"]
    with pytest.raises(UnknownArgumentError, match="did you mean 'padding_side'"):
        Tokenizer.from_folder(folder, pading_side="left")  # type: ignore[call-arg]
    for refused in ({"from_slow": True}, {"add_prefix_space": True}, {"tokenizer_file": "x"}):
        with pytest.raises(UnsupportedError):
            Tokenizer.from_folder(folder, **refused)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="trust_remote_code"):
        AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    with pytest.raises(ValueError, match="Padding side"):
        Tokenizer.from_folder(folder, padding_side="up")


@pytest.mark.parametrize(
    ("config", "legacy"),
    [
        ({"added_tokens_decoder": {"5": {"content": "the", "special": True}}, "bos_token": "the"}, {}),
        ({"bos_token": {"__type": "AddedToken", "content": "the", "lstrip": False}}, {}),
        ({}, {"special_tokens_map.json": {"bos_token": {"content": "the", "lstrip": True}}}),
        ({"extra_special_tokens": {"bos_token": "the"}}, {}),
    ],
)
def test_how_files_name_tokens(tmp_path: Path, config: dict[str, Any], legacy: dict[str, Any]) -> None:
    """The ways of transformers 3, 4 and 5."""
    folder = _write(tmp_path / "t", {"tokenizer_class": "BertTokenizerFast", **config})
    for name, value in legacy.items():
        (folder / name).write_text(json.dumps(value))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.bos_token == "the"
    assert tokenizer.bos_token_id == 5
    assert tokenizer.decode([5, 6], skip_special_tokens=True) == "cat"


def test_tokens_of_other_roles(tmp_path: Path) -> None:
    folder = _write(tmp_path / "t", {"image_token": "the", "extra_special_tokens": ["cat"], "pad_token": None})
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.image_token_id == 5
    assert tokenizer.extra_special_tokens_ids == [6]
    assert tokenizer.pad_token is None


def test_defaults_of_the_class(tmp_path: Path) -> None:
    folder = _write(tmp_path / "t", {})
    assert Tokenizer.from_folder(folder).model_input_names == ["input_ids", "attention_mask"]
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]
    assert tokenizer.cls_token == "[CLS]"


def test_padding_and_truncation_in_the_json(folder: Path) -> None:
    """Sides and the padding token are taken over; the lengths are not (as in transformers)."""
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.enable_padding(direction="left", pad_token="[MASK]", pad_id=4, length=30)
    backend.enable_truncation(4, direction="left")
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    tokenizer = Tokenizer.from_folder(folder)
    assert (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token) == ("left", "left", "[MASK]")
    assert len(tokenizer("a b c d e")["input_ids"]) == 7


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.add_special_tokens({"bos_token": "<s>", "additional_special_tokens": ["<x>"]})
    tokenizer.padding_side, tokenizer.model_max_length, tokenizer.chat_template = "left", 6, "{{ messages }}"
    written = tokenizer.save_pretrained(tmp_path / "new" / "folder")
    assert {Path(path).name for path in written} == {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    }  # fmt: skip
    again = Tokenizer.from_folder(tmp_path / "new" / "folder")
    assert again("<s> a <x>", padding="max_length") == tokenizer("<s> a <x>", padding="max_length")
    for name in ("special_tokens_map", "extra_special_tokens", "padding_side", "model_max_length", "chat_template"):
        assert getattr(again, name) == getattr(tokenizer, name)


def test_a_template_name_cannot_leave_the_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.chat_template = {"../../evil": "x"}
    with pytest.raises(BundleError, match="chat template"):
        tokenizer.save_pretrained(tmp_path / "t")
    assert not (tmp_path / "evil.jinja").exists()


def test_vocabulary_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    tokenizer = Tokenizer.from_folder(tmp_path, do_lower_case=False)
    assert tokenizer("The cats")["input_ids"] == [CLS, 19, 6, 15, SEP]
    assert tokenizer("[MASK]", "a")["token_type_ids"] == [0, 0, 0, 1, 1]


def test_damaged_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder"):
        Tokenizer.from_folder(tmp_path / "none")
    with pytest.raises(ModelNotFoundError, match="onnxpipe export"):
        Tokenizer.from_folder(tmp_path)
    (folder / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(BundleError, match="JSON object"):
        Tokenizer.from_folder(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"x": {"content": "a"}}}))
    with pytest.raises(BundleError, match="added_tokens_decoder"):
        Tokenizer.from_folder(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(folder)


# -- settings of a wrong kind -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_max_length", float("inf")),
        ("model_max_length", "abc"),
        ("model_max_length", -4),
        ("model_max_length", True),
        ("max_len", [512]),
        ("extra_special_tokens", [1]),
        ("extra_special_tokens", {"image_token": 3}),
        ("additional_special_tokens", "abc"),
        ("additional_special_tokens", [{"content": 3}]),
        ("chat_template", [{}]),
        ("chat_template", [{"name": "a"}]),
        ("chat_template", 3),
        ("chat_template", {"a": 3}),
        ("do_lower_case", "x"),
        ("strip_accents", 1),
        ("add_prefix_space", "yes"),
        ("padding_side", "up"),
        ("truncation_side", None),
        ("model_input_names", "input_ids"),
        ("model_input_names", [1]),
        ("pad_token", 5),
        ("mask_token", {"content": 1}),
        ("unk_token", {"content": "[UNK]", "lstrip": "x"}),
    ],
)
def test_settings_of_a_wrong_kind(tmp_path: Path, key: str, value: Any) -> None:
    folder = _write(tmp_path / "t", {"tokenizer_class": "BertTokenizer", key: value})
    with pytest.raises(BundleError, match=rf"tokenizer_config\.json: {key} must be"):
        Tokenizer.from_folder(folder)


def test_settings_that_the_caller_gets_wrong(folder: Path) -> None:
    for key, value in {"model_max_length": -1, "do_lower_case": "x", "chat_template": [{}]}.items():
        with pytest.raises(ValueError, match=f"{key}=") as caught:
            Tokenizer.from_folder(folder, **{key: value})  # type: ignore[arg-type]
        assert not isinstance(caught.value, BundleError)


def test_roles_of_a_wrong_kind(tmp_path: Path) -> None:
    folder = _write(tmp_path / "t")
    (folder / "special_tokens_map.json").write_text('{"cls_token": 3}')
    with pytest.raises(BundleError, match=r"special_tokens_map\.json: cls_token must be a token"):
        Tokenizer.from_folder(folder)


def test_settings_that_are_null_are_as_if_left_out(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("model_max_length", "do_lower_case", "chat_template", "extra_special_tokens", "sep_token"))
    tokenizer = Tokenizer.from_folder(_write(tmp_path / "t", {"tokenizer_class": "BertTokenizer", **nothing}))
    assert tokenizer.model_max_length == int(1e30)


@pytest.mark.parametrize("overrides", [{}, {"padding_side": "left"}])
@pytest.mark.parametrize(
    ("file", "value", "why"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}, "added_tokens_decoder must map ids to tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "a"}}}, "must map ids to tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"-1": {"content": "a"}}}, "must map ids to tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": 3}}}, "must map ids to tokens"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": 3}}, "must map ids to tokens"),
        ("tokenizer_config.json", {"model_max_length": 1}, "is 1, and 2 special tokens are added"),
    ],
)
def test_files_that_declare_tokens_wrongly(
    tmp_path: Path, overrides: dict[str, Any], file: str, value: Any, why: str
) -> None:
    folder = _write(tmp_path / "t")
    (folder / file).write_text(json.dumps({"tokenizer_class": "BertTokenizer", **value}))
    with pytest.raises(BundleError, match=why):
        Tokenizer.from_folder(folder, **overrides)


def test_whose_mistake_it_is(tmp_path: Path) -> None:
    folder = _write(tmp_path / "t")
    with pytest.raises(ValueError, match="is 1, and 2 special tokens") as caught:
        Tokenizer.from_folder(folder, model_max_length=1)
    assert not isinstance(caught.value, BundleError)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (folder / "added_tokens.json").write_text('{"x": "y"}')
    with pytest.raises(BundleError, match=r"added_tokens\.json must map tokens to ids"):
        Tokenizer.from_folder(folder, padding_side="left")
