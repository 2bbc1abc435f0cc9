"""Calls of automatic-speech-recognition, as transformers documents AutomaticSpeechRecognitionPipeline."""

from __future__ import annotations

from typing import Any

from conformance.cases.audio import RECORDINGS, SPEECH, at_construction, errors, inputs
from conformance.cases.common import Audio, Case, Generator, Settings, case_of

TASK = "automatic-speech-recognition"
_case = case_of(TASK)
LONG = Audio("long")
SHORT: dict[str, Any] = {"max_new_tokens": 8}
"""Few tokens, so that a family that never ends does not take long."""


def _dict(recording: str = "speech", **extra: Any) -> Audio:
    return Audio(recording, "raw", extra)


CASES = (
    *inputs(TASK, **SHORT),
    *(
        _case(f"array of two axes, {form}", Audio("stereo", form), message=False, **SHORT)
        for form in ("one channel", "channels", "channels last")
    ),
    _case("array of three axes", Audio("speech", "three axes"), message=False, **SHORT),
    _case("more entries", _dict(partial=True, name="one"), **SHORT),
    _case("more entries, list", [_dict(name="one"), _dict("second", name="two")], **SHORT),
    _case("an entry called text", _dict(text="mine"), **SHORT),
    _case("generate_kwargs", SPEECH, generate_kwargs={"max_new_tokens": 5, "num_beams": 2}, core=True),
    at_construction(TASK, "generate_kwargs", {"generate_kwargs": {"max_new_tokens": 4}}, SPEECH),
    at_construction(TASK, "max_new_tokens", {"max_new_tokens": 4}, SPEECH),
    _case("chunks", LONG, chunk_length_s=2.0, core=True, ignore_warning=True, **SHORT),
    _case("chunks, one stride", LONG, chunk_length_s=2.0, stride_length_s=0.4, **SHORT),
    _case("chunks, two strides", LONG, chunk_length_s=2, stride_length_s=(0.5, 0.2), **SHORT),
    _case("chunks without stride", LONG, chunk_length_s=1.5, stride_length_s=0, core=True, **SHORT),
    _case("chunks, a left stride alone", LONG, chunk_length_s=1.7, stride_length_s=[0.5, 0], **SHORT),
    _case("chunks of a short recording", Audio("brief"), chunk_length_s=2.0, **SHORT),
    _case("chunks of a path", Audio("long", "path"), chunk_length_s=2.0, **SHORT),
    _case("chunks of a list", [LONG, SPEECH], chunk_length_s=2.0, **SHORT),
    _case("chunks of a generator", Generator([SPEECH, LONG]), chunk_length_s=2.0, **SHORT),
    _case("chunks of a dict", _dict("long", name="one"), chunk_length_s=2.5, **SHORT),
    Case(
        "chunks in batches",
        TASK,
        ([LONG, SPEECH],),
        {"chunk_length_s": 2.0, "batch_size": 4, **SHORT},
        core=True,
        reference={"chunk_length_s": 2.0, **SHORT},
        why="transformers pads the last chunk for its neighbours",
    ),
    at_construction(TASK, "chunks", {"chunk_length_s": 2.0, "stride_length_s": 0.3}, LONG, **SHORT),
    _case("chunks no longer than strides", LONG, chunk_length_s=1, stride_length_s=0.6, message=False, **SHORT),
    *errors(TASK, lists=False, **SHORT),
)

_MANY = {"partial": True}

CTC = (
    *(_case(f"timestamps of {what}s", SPEECH, return_timestamps=what, core=True) for what in ("char", "word")),
    _case("timestamps, list", RECORDINGS, return_timestamps="word"),
    _case("timestamps of chunks", LONG, return_timestamps="word", chunk_length_s=2.0, core=True),
    _case("timestamps of letters in chunks", LONG, return_timestamps="char", chunk_length_s=1.3, stride_length_s=0.2),
    at_construction(TASK, "timestamps", {"return_timestamps": "word"}, SPEECH),
    _case("timestamps and more entries", _dict(**_MANY), return_timestamps="char"),
    _case("timestamps of silence", Audio("silence"), return_timestamps="word"),
    _case("timestamps of segments", SPEECH, return_timestamps=True, message=False, core=True),
    _case("timestamps of nothing known", SPEECH, return_timestamps="sentence", message=False),
    Case(
        "no timestamps",
        TASK,
        (SPEECH,),
        {"return_timestamps": False},
        reference={},
        why="transformers refuses False where it takes None",
    ),
    _case("language", SPEECH, return_language=True, message=False),
    _case("own stride", _dict("speech", stride=(4000, 3000)), core=True),
    _case("own stride with timestamps", _dict("speech", stride=(4000, 3000)), return_timestamps="char"),
    _case("own stride at another rate", _dict("telephone", stride=(2000, 1600)), return_timestamps="word"),
    _case("own stride of nothing", _dict("speech", stride=(0, 0))),
    _case("own stride too large", _dict("speech", stride=(20_000, 20_000)), message=False),
    _case("decoder_kwargs", SPEECH, decoder_kwargs={}),
)
"""For models whose frames are tokens."""

SEQ2SEQ = (
    _case("defaults", SPEECH),
    _case("greedy", SPEECH, num_beams=1, max_new_tokens=16, core=True),
    _case("greedy, list", RECORDINGS, num_beams=1, max_new_tokens=16),
    *(_case(f"{beams} beams", SPEECH, num_beams=beams, max_new_tokens=12) for beams in (2, 3)),
    _case("beams at construction", SPEECH, max_new_tokens=12),
    at_construction(TASK, "beams", {"num_beams": 3, "max_new_tokens": 8}, SPEECH),
    _case("generation config", SPEECH, generation_config=Settings({"max_new_tokens": 6, "num_beams": 1})),
    _case("timestamps", SPEECH, return_timestamps=True, message=False),
    _case("timestamps of words", SPEECH, return_timestamps="word", message=False, core=True),
    _case("own stride", _dict("speech", stride=(4000, 3000))),
    _case("language", SPEECH, return_language=True, message=False),
)
"""For encoder-decoders that know no times."""

WHISPER = (
    _case("defaults", SPEECH),
    _case("greedy", SPEECH, num_beams=1, max_new_tokens=24, core=True),
    *(_case(f"{beams} beams", SPEECH, num_beams=beams, max_new_tokens=12) for beams in (2, 3)),
    _case("timestamps", SPEECH, return_timestamps=True, num_beams=1, core=True),
    _case("timestamps, list", RECORDINGS, return_timestamps=True, num_beams=1, max_new_tokens=24),
    _case("timestamps, beams", SPEECH, return_timestamps=True, max_new_tokens=16),
    _case("timestamps of words", SPEECH, return_timestamps="word", num_beams=1, max_new_tokens=16, core=True),
    _case("timestamps of words, beams", SPEECH, return_timestamps="word", num_beams=3, max_new_tokens=12),
    _case("timestamps of words, list", RECORDINGS, return_timestamps="word", num_beams=1, max_new_tokens=12),
    _case("timestamps of letters", SPEECH, return_timestamps="char", message=False, core=True),
    at_construction(TASK, "timestamps", {"return_timestamps": True, "num_beams": 1, "max_new_tokens": 12}, SPEECH),
    _case("timestamps of chunks", LONG, return_timestamps=True, chunk_length_s=2.5, num_beams=1, max_new_tokens=12),
    _case("timestamps of words in chunks", LONG, return_timestamps="word", chunk_length_s=2.5, num_beams=1, **SHORT),
    _case("generation config", SPEECH, generation_config=Settings({"max_new_tokens": 6, "num_beams": 1})),
    _case("own stride", _dict("speech", stride=(4000, 3000)), **SHORT),
    _case("no_repeat_ngram_size", SPEECH, num_beams=1, max_new_tokens=20, no_repeat_ngram_size=2),
    _case("too many tokens", SPEECH, max_new_tokens=5000, message=False),
    _case("unknown argument", SPEECH, num_beamz=2, message=False),
)
"""For Whisper in any language or in English alone."""

_FRENCH = {"language": "french", "task": "transcribe", "num_beams": 1, "max_new_tokens": 12}

MULTILINGUAL = (
    _case("language and task", SPEECH, generate_kwargs=_FRENCH, core=True),
    *(_case(f"language {name}", SPEECH, generate_kwargs={**_FRENCH, "language": name}) for name in ("fr", "<|fr|>")),
    _case("translate", SPEECH, generate_kwargs={**_FRENCH, "task": "translate"}),
    _case("language, list", RECORDINGS, generate_kwargs=_FRENCH, return_timestamps=True),
    _case("unknown language", SPEECH, generate_kwargs={**_FRENCH, "language": "klingon"}, message=False, core=True),
    _case("unknown task", SPEECH, generate_kwargs={**_FRENCH, "task": "sing"}, message=False),
    _case("language of the answer", SPEECH, return_language=True, num_beams=1, **SHORT, core=True),
    _case("language of given language", SPEECH, return_language=True, generate_kwargs=_FRENCH),
    _case("language and timestamps", SPEECH, return_language=True, return_timestamps=True, num_beams=1, **SHORT),
    _case("language, list", RECORDINGS, return_language=True, num_beams=1, **SHORT),
)
"""For Whisper in any language."""

ENGLISH = (
    _case("a language for an English model", SPEECH, generate_kwargs={"language": "french"}, message=False, core=True),
    _case("a task for an English model", SPEECH, generate_kwargs={"task": "translate"}, message=False),
)
"""For Whisper in English alone."""
