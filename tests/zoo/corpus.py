"""The text that the zoo's vocabularies are built from, and the vocabularies themselves.

Everything here is plain counting with ties broken by the string, so the same source gives the same vocabulary in every
version of Python and of `tokenizers`; no trainer of the library is used.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

SENTENCES = (
    "My name is Sarah Johansson and I live in London, near the old bridge over the Thames.",
    "Enzo works at the UN in Geneva and his sister Marie lives in Paris.",
    "We love this movie: it is wonderful, funny and very well made!",
    "I hated the film; the story was boring and the acting was terrible.",
    "The quick brown fox jumps over the lazy dog.",
    "This course will teach you all about transformers and other models.",
    "Paris is the capital of France, and Berlin is the capital of Germany.",
    "The Amazon rainforest covers most of the Amazon basin of South America.",
    "The bridge was built in 1894 by Sir John Wolfe Barry and it is 244 metres long.",
    "Who built the bridge? When was the bridge built? How long is it? Where is it?",
    "What is the capital of France? Where does Sarah live? Which city is the largest?",
    "This example is about politics. This text is about sports. The topic is science.",
    "The government passed a new law about taxes, education and public health.",
    "The team won the match after scoring three goals in the second half.",
    "Scientists discovered a new planet that orbits a distant star every ten days.",
    "The price of oil rose by 3.5% on Monday, and the market fell by 120 points.",
    "Please call me at ten o'clock; I don't think we'll be late, it's not far.",
    "She said that the weather in New York City was cold, wet and windy in January.",
    "He doesn't like the taste of coffee, but he drinks two cups of it every day.",
    "Barack Obama was born in Honolulu, Hawaii, and was president of the United States.",
    "Angela Merkel, the former chancellor of Germany, visited Tokyo and Kyoto in May.",
    "The company Apple was founded by Steve Jobs, Steve Wozniak and Ronald Wayne.",
    "A model reads text, turns it into numbers and gives back an answer.",
    "I live in Berlin with my family, and I work for a small company in Hamburg.",
    "The food was good but the service was slow and the room was too noisy.",
    "An excellent book: clear, short and full of good examples.",
    "Do not buy this phone, the screen broke after one week and nobody answered my letter.",
    "The café in Montréal serves naïve jokes, crème brûlée and déjà vu.",
    "Je m'appelle Jean-Baptiste et je vis à Montréal, mais je suis né à Lyon.",
    "Die Universität München liegt in Bayern; über hundert Länder schicken Studenten.",
    "El niño vive en España y su hermana María estudia en Bogotá.",
    "东京 是 日本 的 首都 。 北京 是 中国 的 首都 。",
    "The city of Rome is older than the city of Milan, and it has three million people.",
    "Happiness is not something ready made; it comes from your own actions.",
    "The world of people and things is wide, my dear friend, and the road is long.",
    "It was the best of times, it was the worst of times, it was the age of wisdom.",
)
"""Names, questions, opinions, accents, two scripts: what the cases of the conformance suite talk about."""

_WORD = re.compile(r"\w+|[^\w\s]")
ALWAYS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"()-/%&@#$_+=*"
_SPLIT = ("johansson", "rainforest", "chancellor", "honolulu", "transformers", "wozniak", "hamburg", "scoring", "basin")
"""Words kept out of the vocabularies of whole words, so that every family cuts some of them into pieces."""


@cache
def words(lower: bool) -> Counter[str]:
    """How often each word or punctuation mark occurs."""
    text = " ".join(SENTENCES)
    return Counter(_WORD.findall(text.lower() if lower else text))


def _most(counts: Counter[str], n: int) -> list[str]:
    return [piece for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]]


def wordpiece(head: list[str], tail: list[str], size: int, *, lower: bool) -> list[str]:
    """A WordPiece vocabulary: `head`, characters, whole words, pieces (`##` inside a word), `tail`."""
    counts = words(lower)
    characters = sorted(set("".join(counts)) | set(ALWAYS.lower() if lower else ALWAYS))
    pieces: Counter[str] = Counter()
    for word, count in counts.items():
        for length in range(2, 6):
            pieces[word[:length]] += count
            if len(word) > length:
                pieces["##" + word[-length:]] += count
                pieces["##" + word[length : 2 * length]] += count
    whole = [word for word in _most(counts, 400) if word.lower() not in _SPLIT]
    body = [*characters, *("##" + c for c in characters if c.isalnum()), *whole, *_most(pieces, 1000)]
    unique = [piece for piece in dict.fromkeys(body) if piece not in {*head, *tail}]
    return [*head, *unique[: size - len(head) - len(tail)], *tail]


def unigram(head: list[str], tail: list[str], size: int, *, lower: bool) -> list[tuple[str, float]]:
    """A Unigram vocabulary of (piece, log probability); `▁` marks the start of a word. `head` and `tail` score 0."""
    pieces: Counter[str] = Counter()
    for word, count in words(lower).items():
        marked = "▁" + word
        for start in range(len(marked)):
            for end in range(start + 2, min(start + 5, len(marked)) + 1):
                pieces[marked[start:end]] += count
    for word, count in words(lower).items():
        if word.lower() not in _SPLIT:
            pieces["▁" + word] += 8 * count
    characters = sorted(set("".join(words(lower))) | set(ALWAYS.lower() if lower else ALWAYS) | {"▁"})
    total = sum(pieces.values())
    room = size - len(head) - len(tail) - len(characters)
    kept = [piece for piece in _most(pieces, 4000) if piece not in {*head, *tail, *characters}][:room]
    rows = [(piece, round(math.log(pieces[piece] / total), 6)) for piece in kept]
    rows += [(character, round(math.log(0.5 / total), 6)) for character in characters]
    return [*((piece, 0.0) for piece in head), *rows, *((piece, 0.0) for piece in tail)]


@cache
def merges(n: int) -> tuple[tuple[str, str], ...]:
    """The first `n` byte-level BPE merges, most frequent pair first (Sennrich et al. 2016, algorithm 1)."""
    from tokenizers import pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    seen = (word for text in SENTENCES for word, _ in cut.pre_tokenize_str(" " + text))
    counts: Counter[str] = Counter(word for word in seen if word.strip("Ġ").lower() not in _SPLIT)
    return learn(counts, n)


def learn(counts: Mapping[str, int], n: int) -> tuple[tuple[str, str], ...]:
    """The first `n` merges of these words, most frequent pair first, ties by the pair."""
    spellings = {word: list(word) for word in counts}
    found: list[tuple[str, str]] = []
    while len(found) < n:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in spellings.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        for symbols in spellings.values():
            _join(symbols, best)
    return tuple(found)


def _join(symbols: list[str], pair: tuple[str, str]) -> None:
    i = 0
    while i < len(symbols) - 1:
        if (symbols[i], symbols[i + 1]) == pair:
            symbols[i : i + 2] = ["".join(pair)]
        i += 1


def byte_level(head: list[str], tail: list[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE vocabulary and its merges."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt = list(merges(size - len(head) - len(tail) - len(alphabet)))
    tokens = dict.fromkeys([*head, *alphabet, *("".join(pair) for pair in learnt), *tail])
    return {token: i for i, token in enumerate(tokens)}, learnt
