"""Write subtitles for a video or a recording: speech recognition with times, saved as SubRip (.srt).

python examples/video_subtitles.py video.mp4 video.srt --model openai/whisper-tiny.en
"""

from __future__ import annotations

import argparse
from pathlib import Path

from onnxpipe import pipeline
from onnxpipe.processing.audio.io.subtitles import subtitles


def main() -> None:
    """Transcribe the file and write its subtitles."""
    parser = argparse.ArgumentParser(description="Write subtitles for a video.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", default="openai/whisper-tiny.en")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()

    transcribe = pipeline("automatic-speech-recognition", model=options.model, dtype=options.dtype)
    answer = transcribe(options.source, return_timestamps=True)  # long videos are read window after window
    options.target.write_text(subtitles(answer, "srt"), encoding="utf-8")
    print(f"{len(answer['chunks'])} subtitles in {options.target}")


if __name__ == "__main__":
    main()
