"""Open files with FFmpeg's libraries (PyAV) so that they can reach nothing but their own bytes.

A file may name other files (playlists, concatenations), which FFmpeg would go and open. So FFmpeg never opens anything
itself here: it gets bytes, may use no protocol, and knows only formats that contain their own images and audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

#: The formats of videos, and those of audio, by FFmpeg's names.
VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,asf,gif,h264,hevc,m4v,ivf,nut,mxf"
)
AUDIO_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,"
    "mxf,nut,ogg,opus,rm,tta,w64,wav,wv"
)


def open_container(stream: IO[bytes], formats: str) -> Any:
    """Open a file as PyAV's `InputContainer`, a context manager.

    Args:
        stream: the file's bytes.
        formats: `VIDEO_FORMATS` or `AUDIO_FORMATS`.

    Raises:
        av.error.FFmpegError, ValueError: it is of none of the formats, or broken.
    """
    import av

    options = {"format_whitelist": formats, "protocol_whitelist": "none"}
    return av.open(stream, mode="r", container_options=options, metadata_errors="replace")  # titles in any encoding


def default_track(tracks: Sequence[Any]) -> Any:
    """Choose the track that FFmpeg chooses: one that is flagged as the default, of those the one with most channels.

    Args:
        tracks: the audio streams of a container.

    Returns:
        One with a known codec; None where there is none.
    """
    known = [track for track in tracks if track.codec_context is not None]
    return max(known, key=lambda track: (_is_default(track), track.codec_context.channels), default=None)


def _is_default(track: Any) -> bool:
    from av.stream import Disposition

    return bool(track.disposition & Disposition.default)
