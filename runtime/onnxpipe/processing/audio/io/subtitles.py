"""Format a transcript as subtitles: SubRip (.srt) and WebVTT (.vtt).

Each segment (of Whisper) becomes a subtitle. Words are grouped into readable subtitles: up to two lines of 42
characters, seven seconds at most, a new one after a pause or at the end of a sentence; these figures are those of
common guidelines for subtitles (BBC, Netflix).
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SubtitleFormat = Literal["srt", "vtt"]

_LINE = 42
_LINES = 2
_LONGEST_S = 7.0
_PAUSE_S = 0.8
_DISPLAY_S = 2.0
"""How long a subtitle is displayed if its end is not known."""
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…")
_CLOSING = "\"')]”’»」』）"


@dataclass(frozen=True)
class Cue:
    """One subtitle.

    Attributes:
        start, end: in seconds.
        text: one paragraph.
        blank: whether there is a blank in front of it in the transcript.
    """

    start: float
    end: float
    text: str
    blank: bool = True


#: Letters and punctuation of scripts without blanks between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff。、，！？]")


def is_unspaced(text: str) -> bool:
    """Whether a text begins in a script without blanks between words."""
    return _UNSPACED.match(text) is not None


def subtitles(
    answer: Mapping[str, Any], form: SubtitleFormat, *, words: bool = False, duration: float | None = None
) -> str:
    """Format an answer of automatic-speech-recognition with timestamps as a file of subtitles.

    Args:
        answer: `{"text", "chunks": [{"text", "timestamp": (start, end)}]}`.
        form: "srt" or "vtt".
        words: whether the chunks are words rather than segments.
        duration: where the recording ends, in seconds: the end of a last chunk without an end.

    Raises:
        ValueError: an answer without chunks.
    """
    if "chunks" not in answer:
        raise ValueError("subtitles need timestamps: pass return_timestamps=True (Whisper) or 'word'")
    cues = list(_cues(answer["chunks"], str(answer.get("text", "")), duration))
    if words:
        cues = list(_gathered(cues))
    if form == "srt":
        return "\n".join(f"{number}\n{_block(cue, ',')}" for number, cue in enumerate(cues, 1))
    blocks = (_block(Cue(cue.start, cue.end, html.escape(cue.text, quote=False)), ".") for cue in cues)
    return "\n".join(["WEBVTT\n", *blocks])


def _cues(chunks: Sequence[Mapping[str, Any]], transcript: str, duration: float | None) -> Iterator[Cue]:
    """Convert the chunks with text to cues: each has an end, and none starts before the cue in front of it."""
    floor = 0.0
    blanks = _blanks(chunks, transcript)
    starts = [chunk["timestamp"][0] for chunk in chunks]
    for number, (chunk, blank) in enumerate(zip(chunks, blanks, strict=True)):
        text = " ".join(str(chunk["text"]).split()).replace("-->", "->")  # an arrow would read as a time
        if not text:
            continue
        start, end = chunk["timestamp"]
        start = max(floor, 0.0 if start is None else float(start))
        if end is None:
            following = [each for each in starts[number + 1 :] if each is not None]
            known = following[0] if following else duration
            end = known if known is not None and known > start else start + _DISPLAY_S
        floor = start
        yield Cue(start, max(start, float(end)), text, blank)


def _blanks(chunks: Sequence[Mapping[str, Any]], transcript: str) -> Iterator[bool]:
    """Tell of each chunk whether there is a blank in front of it: as in the transcript, else as in the chunk itself."""
    spaced = any(str(chunk["text"])[:1].isspace() for chunk in chunks)
    place = 0
    for chunk in chunks:
        text = str(chunk["text"])
        found = transcript.find(text.strip(), place)
        if found >= 0 and not transcript[place:found].strip():
            yield found > place or text[:1].isspace()
            place = found + len(text.strip())
        else:
            yield text[:1].isspace() or not (spaced or is_unspaced(text))


def _gathered(words: Sequence[Cue]) -> Iterator[Cue]:
    """Group words into subtitles."""
    held: list[Cue] = []
    for word in words:
        if held and _is_full(held, word):
            yield _joined(held)
            held = []
        held.append(word)
    if held:
        yield _joined(held)


def _is_full(held: Sequence[Cue], word: Cue) -> bool:
    if not word.blank and not (is_unspaced(word.text) and word.text[0].isalnum()):
        return False  # the rest of a word, or punctuation
    return (
        len(textwrap.wrap(_text([*held, word]), _LINE)) > _LINES
        or word.end - held[0].start > _LONGEST_S
        or word.start - held[-1].end > _PAUSE_S
        or (_text(held).rstrip(_CLOSING).endswith(_SENTENCE_ENDS) and len(held) > 1)
    )


def _joined(held: Sequence[Cue]) -> Cue:
    return Cue(held[0].start, held[-1].end, _text(held))


def _text(cues: Sequence[Cue]) -> str:
    return "".join(f" {cue.text}" if cue.blank else cue.text for cue in cues).lstrip()


def _block(cue: Cue, mark: str) -> str:
    """Format a cue's times and lines; `mark` goes before the milliseconds."""
    lines = textwrap.wrap(cue.text, _LINE, break_on_hyphens=False)
    return "\n".join([f"{_time(cue.start, mark)} --> {_time(cue.end, mark)}", *lines, ""])


def _time(seconds: float, mark: str) -> str:
    """Format seconds as HH:MM:SS,mmm."""
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"
