"""Reading frames of videos, which are written here with PyAV."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from onnxpipe.errors import ImageError, ImageNotFoundError, MissingDependencyError  # noqa: E402
from onnxpipe.processing.file_kinds import is_video_name  # noqa: E402
from onnxpipe.processing.video import read as video  # noqa: E402
from onnxpipe.processing.video.inputs import flatten_videos  # noqa: E402
from onnxpipe.processing.video.metadata import VideoMetadata, metadata_of  # noqa: E402
from onnxpipe.processing.video.read import read_frames, read_video  # noqa: E402

STEP = 10


def make_video(frames: int = 20, kind: str = "mp4", codec: str = "mpeg4", size: tuple[int, int] = (64, 48)) -> bytes:
    """A video whose frame i is a grey of 10 i."""
    file = BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            grey = np.full((size[1], size[0], 3), i * STEP, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def make_audio() -> bytes:
    """A file with an audio stream only."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return file.getvalue()


VIDEO = make_video()


def _numbers(frames: np.ndarray) -> list[int]:
    """Which frames these are."""
    return [round(float(frame.mean()) / STEP) for frame in frames]


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mpegts", "mpeg2video"), ("webm", "libvpx")],
)
def test_formats(kind: str, codec: str) -> None:
    frames = read_frames(make_video(kind=kind, codec=codec), 4, 3)
    assert frames.shape == (4, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert _numbers(frames) == [0, 3, 7, 11]


@pytest.mark.parametrize(("count", "rate"), [(1, 1), (1, 5), (2, 1), (8, 1), (8, 2), (3, 6), (20, 1)])
def test_frames_are_evenly_spaced_from_the_start(count: int, rate: int) -> None:
    expected = np.linspace(0, count * rate - 1, count, dtype=np.int64).tolist()
    assert _numbers(read_frames(VIDEO, count, rate)) == expected


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "http_video.mp4"
    path.write_bytes(VIDEO)
    monkeypatch.setattr(video, "fetch", lambda url, timeout, max_bytes: VIDEO)
    for source in (path, str(path), VIDEO, bytearray(VIDEO), memoryview(VIDEO), "https://example.com/video.mp4"):
        assert _numbers(read_frames(source, 3)) == [0, 1, 2]
    path.unlink()  # nothing keeps it open
    for wrong in (3, None, [VIDEO], np.zeros(3)):
        with pytest.raises(TypeError, match="a path, a URL or bytes"):
            read_frames(wrong, 3)


def test_the_error_of_too_short_videos_has_both_numbers() -> None:
    with pytest.raises(ImageError, match="has 20 frames; 21 frames, 1 apart, need 21"):
        read_frames(VIDEO, 21)
    with pytest.raises(ImageError, match="has 20 frames; 8 frames, 4 apart, need 32"):
        read_frames(VIDEO, 8, 4)
    assert _numbers(read_frames(VIDEO, 8, 4, allow_fewer=True)) == [0, 4, 8, 13, 17]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "broken, or not a video"),
        (b"hello " * 1000, "broken, or not a video"),
        (VIDEO[: len(VIDEO) // 3], "broken, or not a video"),
        (make_audio(), "no video stream"),
        ("/nowhere/video.mp4", "there is no such file: /nowhere/video.mp4"),
        ("\0", "could not be opened"),
        (Path(), "is a folder, not a file"),
    ],
    ids=["nothing", "text", "cut off", "audio", "no file", "no name", "folder"],  # bytes would differ between processes
)
def test_what_is_not_a_video(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_frames(source, 2)


@pytest.mark.parametrize("source", ["/nowhere/video.mp4", Path("nothere.mp4"), Path()], ids=["str", "path", "folder"])
def test_a_path_without_a_file_is_also_a_file_not_found_error(source: Any) -> None:
    with pytest.raises(FileNotFoundError) as error:
        read_frames(source, 2)
    assert isinstance(error.value, ImageNotFoundError)


@pytest.mark.parametrize(("count", "rate"), [(0, 1), (4, 0), (-1, 1)])
def test_numbers_below_one(count: int, rate: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        read_frames(VIDEO, count, rate)


def make_turned(turn: Callable[[Any], None]) -> tuple[bytes, np.ndarray]:
    """A video with a display matrix, and its frame as it is stored: a white corner, and a grey side."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:16, :16] = 255
    stored[:, 48:] = 128
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        turn(stream)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue(), stored


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, -90])
def test_frames_are_turned_upright(degrees: int) -> None:
    data, stored = make_turned(lambda stream: stream.set_display_rotation(degrees))
    with av.open(BytesIO(data)) as container:
        told = next(container.decode(video=0)).rotation  # counter-clockwise, of what has to be turned
    frames = read_frames(data, 2)
    expected = np.rot90(stored, told // 90)
    assert frames.shape[1:] == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 8
    assert frames.flags.c_contiguous


@pytest.mark.parametrize(
    ("a", "b", "c", "d", "mend"),
    [
        (-1, 0, 0, 1, lambda image: image[:, ::-1]),
        (1, 0, 0, -1, lambda image: image[::-1]),
        (0, 1, 1, 0, lambda image: image.swapaxes(0, 1)),
        (0, -1, -1, 0, lambda image: image[::-1, ::-1].swapaxes(0, 1)),
        (0, 1, -1, 0, lambda image: np.rot90(image, -1)),
        (0, -1, 1, 0, lambda image: np.rot90(image)),
    ],
    ids=["mirrored", "upside down", "transposed", "transposed the other way", "clockwise", "counter-clockwise"],
)
def test_every_display_matrix(a: int, b: int, c: int, d: int, mend: Any) -> None:
    matrix = np.array([a * 65_536, b * 65_536, 0, c * 65_536, d * 65_536, 0, 0, 0, 1 << 30], np.int32)
    frame = SimpleNamespace(side_data={"DISPLAYMATRIX": matrix.tobytes()})
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (video._upright(stored, frame) == mend(stored)).all()


def make_with_still(kind: str, still: str, first: bool, flag: int) -> bytes:
    """A video beside a still of one frame."""
    file = BytesIO()
    with av.open(file, "w", format=kind) as container:
        streams: dict[str, Any] = {}
        for name in (still, "mpeg4") if first else ("mpeg4", still):
            streams[name] = container.add_stream(name, rate=25)
            streams[name].width, streams[name].height = 64, 48
            streams[name].pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}.get(name, "yuv420p")
        if flag:
            streams[still].disposition = flag
        for i in range(20):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i * STEP, np.uint8), format="rgb24")
            if i == 0:
                container.mux(streams[still].encode(grey))
            container.mux(streams["mpeg4"].encode(grey))
        for stream in streams.values():
            container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize("first", [True, False], ids=["still first", "video first"])
@pytest.mark.parametrize("flag", ["", "attached_pic", "default"])
@pytest.mark.parametrize(("kind", "still"), [("mov", "png"), ("matroska", "mjpeg"), ("matroska", "mpeg2video"),
                                             ("mp4", "mjpeg"), ("avi", "mjpeg")])  # fmt: skip
def test_a_still_beside_the_film_is_not_the_video(kind: str, still: str, flag: str, first: bool) -> None:
    data = make_with_still(kind, still, first, getattr(av.stream.Disposition, flag) if flag else 0)
    with av.open(BytesIO(data)) as container:
        assert len(container.streams.video) == 2 or (kind, flag) == ("mov", "attached_pic")  # which is not written
    assert _numbers(read_frames(data, 8, 2)) == np.linspace(0, 15, 8, dtype=int).tolist()


def test_a_still_alone_is_one_frame() -> None:
    assert len(read_frames(make_video(1), 1)) == 1


def test_large_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_FRAME_PIXELS", 64 * 48 - 1)
    with pytest.raises(ImageError, match="frames of 64x48 pixels"):
        read_frames(VIDEO, 2)


def test_the_frames_of_a_call_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, rate in ((10**9, 1), (2, 10**30)):
        with pytest.raises(ValueError, match="must be at most"):
            read_frames(VIDEO, count, rate)
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 * 3)
    assert len(read_frames(VIDEO, 3)) == 3
    with pytest.raises(ImageError, match="4 frames of the video, 64x48 pixels each, have more than the 9216 pixels"):
        read_frames(VIDEO, 4)


def test_the_arrays_of_a_video_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxpipe.processing.video import processors

    frames = list(read_frames(VIDEO, 4))
    processor = processors.VideoMAEImageProcessor(size=48, crop_size=48)
    monkeypatch.setattr(processors, "MAX_RESULT", 48 * 48 * 3)
    assert processor(frames[:3]).pixel_values.shape == (1, 3, 3, 48, 48)
    with pytest.raises(ImageError, match="a video of 4 frames of 48x48 pixels has more than the 6912 pixels allowed"):
        processor(frames)


def test_without_pyav_the_error_has_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "onnxpipe\[video\]"'):
        read_frames(VIDEO, 2)


# -- videos of chats --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mpegts", "mpeg2video"), ("webm", "libvpx")],
)
def test_frames_are_chosen_by_what_is_known_of_the_video(kind: str, codec: str) -> None:
    """Frames are counted, whatever the file says, and numbers may come twice."""
    asked: list[VideoMetadata] = []

    def choose(facts: VideoMetadata) -> Any:
        asked.append(facts)
        return np.array([0, 5, 5, facts.total_num_frames - 1])

    frames, facts = read_video(make_video(kind=kind, codec=codec), choose)
    assert _numbers(frames) == [0, 5, 5, 19]
    assert (asked[0].total_num_frames, asked[0].frames_indices) == (20, None)
    assert (facts.total_num_frames, facts.width, facts.height, facts.video_backend) == (20, 64, 48, "pyav")
    assert facts.fps == pytest.approx(25)
    assert facts.duration == pytest.approx(0.8)
    assert facts.frames_indices == [0, 5, 5, 19]
    assert facts.timestamps == pytest.approx([0, 0.2, 0.2, 0.76])
    assert facts.sampled_fps == pytest.approx(5)


def test_videos_that_cannot_be_read_as_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="only 20 can be decoded"):
        read_video(VIDEO, lambda facts: np.array([25]))
    with pytest.raises(ImageError, match="broken, or not a video"):
        read_video(b"hello", lambda facts: np.array([0]))
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 * 3)
    with pytest.raises(ImageError, match="smaller num_frames="):
        read_video(VIDEO, lambda facts: np.arange(4))
    monkeypatch.setattr(video, "MAX_FRAMES", 3)
    with pytest.raises(ImageError, match="more than 3"):
        read_video(VIDEO, lambda facts: np.arange(4))


def test_forms_of_videos() -> None:
    frame = np.zeros((4, 5, 3), np.uint8)
    clip = np.zeros((2, 4, 5, 3), np.uint8)
    for one in (clip, [frame, frame], "a.mp4", Path("a.mp4"), b"", frame):
        assert len(flatten_videos(one)) == 1
    for two in (np.stack([clip, clip]), [clip, clip], [[frame], [frame, frame]], ["a.mp4", "b.mp4"], [["a"], ["b"]],
                [["a.mp4", clip]], [[["1.png", "2.png"]], [["3.png"]]]):  # fmt: skip
        assert len(flatten_videos(two)) == 2
    with pytest.raises(ImageError, match="empty"):
        flatten_videos([])


def test_files_that_are_called_videos() -> None:
    for name in ("a.mp4", "b.MOV", Path("c.webm"), "https://x.org/a.mkv?key=a.png", "data:video/mp4;base64,AAAA"):
        assert is_video_name(name)
    for name in ("a.png", "mp4", "https://x.org/a.mp4/b", "http://[", 3, None, b"a.mp4", Path("a"), "data:image/png,"):
        assert not is_video_name(name)


def test_what_is_said_of_a_video() -> None:
    assert metadata_of({"total_num_frames": 3}).timestamps == [0, 1 / 24, 2 / 24]
    for wrong in ({}, {"fps": 3}, 3, {"total_num_frames": 3, "fps": 0}, {"total_num_frames": 3, "duration": "x"}):
        with pytest.raises(ValueError, match="video_metadata"):
            metadata_of(wrong)
    with pytest.raises(TypeError, match="frames_indices"):
        metadata_of({"total_num_frames": 3, "frames": 3})
