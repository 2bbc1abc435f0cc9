"""Hostile images and videos: bombs, broken files, files that pretend to be others, files that name other files."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

from attacks.helpers import MIB, PLAYLISTS, gzip_of, load_or_refuse, memory, untouched_port, zip_of  # noqa: E402
from onnxpipe.errors import ImageError  # noqa: E402
from onnxpipe.processing.images.io.load import load_image  # noqa: E402

#: Pillow warns of broken metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def _file(kind: str, pixels: np.ndarray = IMAGE, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, data: bytes, *between: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join([_chunk(b"IHDR", header), *between, _chunk(b"IDAT", data), _chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def _zeros(count: int) -> bytes:
    """Compress zeros without holding them."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(2**20)) for _ in range(count // 2**20)]
    return b"".join([*parts, packer.compress(bytes(count % 2**20)), packer.flush()])


def _png_bomb() -> bytes:
    # As large as a few MB of rows say: the rest of the 50,000 would not be needed to fill the memory of its image.
    return _png(50_000, 50_000, _zeros(4 * 2**20))


def _gif_bomb() -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6) + b"," + struct.pack(
        "<HHHHB", 0, 0, 65_535, 65_535, 0
    ) + b"\x02\x02\x4c\x01\x00;"  # fmt: skip


def _bmp_bomb() -> bytes:
    return b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, *[0] * 6)


def _ppm_bomb() -> bytes:
    return b"P6 60000 60000 255\n" + bytes(100)


def _tiff_bomb() -> bytes:
    # Width, height, 8 bits, deflate, RGB by one, one strip of a hundred bytes.
    tags = [(256, 4, 60_000), (257, 4, 60_000), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 200), (277, 3, 1),
            (278, 4, 60_000), (279, 4, 100)]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", 0)).ljust(200, b"\0") + bytes(100)


def _jpeg_bomb() -> bytes:
    data = bytearray(_file("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


def _webp_bomb() -> bytes:
    data = bytearray(_file("WEBP", lossless=True))
    place = data.index(b"VP8L") + 9
    data[place : place + 4] = struct.pack("<I", (16_383) | (16_383 << 14))
    return bytes(data)


def _ico_bomb() -> bytes:
    inner = _png(50_000, 50_000, _zeros(2**20))
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inner), 22) + inner


BOMBS = [_png_bomb, _gif_bomb, _bmp_bomb, _ppm_bomb, _tiff_bomb, _jpeg_bomb, _webp_bomb, _ico_bomb]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_bombs_are_refused_by_their_header(bomb: Callable[[], bytes], tmp_path: Path) -> None:
    data = bomb()
    assert len(data) < 20_000
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    for source in (data, path):
        before, start = memory(), time.monotonic()
        with pytest.raises(ImageError, match="pixels"):
            load_image(source)
        assert time.monotonic() - start < 1
        assert memory() - before < 60 * MIB


def test_bombs_in_metadata_do_no_harm() -> None:
    text = _chunk(b"zTXt", b"Comment\0\0" + _zeros(200 * MIB))
    profile = _chunk(b"iCCP", b"profile\0\0" + _zeros(200 * MIB))
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in IMAGE))
    for extra in (text, profile):
        before = memory()
        try:
            found = load_image(_png(80, 64, pixels, extra))
        except ImageError:
            pass
        else:
            assert (np.asarray(found) == IMAGE).all()
        assert memory() - before < 100 * MIB


@pytest.mark.parametrize("setting", ["size", "crop_size", "pad_size"])
def test_sizes_of_a_config_fill_no_memory(setting: str) -> None:
    from onnxpipe.processing.images.classifiers import CLIPImageProcessor

    config = {setting: {"height": 12_000, "width": 12_000}, "do_center_crop": True, "do_pad": True}
    before = memory()
    with pytest.raises(ImageError, match="would become one of 12000x12000"):
        CLIPImageProcessor.from_dict(config)(IMAGE)
    assert memory() - before < 100 * MIB


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.97])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    data = _file(kind)
    with pytest.raises(ImageError):
        load_image(data[: int(len(data) * part)])


def test_files_cut_anywhere_never_raise_anything_else() -> None:
    small = IMAGE[:9, :7]
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO"):
        data = _file(kind, small)
        for end in range(0, len(data), max(1, len(data) // 60)):
            _image_or_refusal(data[:end])


def test_files_with_wrong_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO"):
        data = np.frombuffer(_file(kind, IMAGE[:9, :7]), np.uint8)
        for _ in range(60):
            wrong = data.copy()
            wrong[rng.integers(0, min(len(wrong), 200), 4)] = rng.integers(0, 256, 4)
            _image_or_refusal(wrong.tobytes())


def _image_or_refusal(data: bytes) -> None:
    image = load_or_refuse(lambda: load_image(data), ImageError)
    assert image is None or image.mode == "RGB"


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) (r) file\nshowpage\n"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"Just a few words, and a name that says something else.", "not an image"),
        (SVG, "SVG"),
        (SVG[21:], "SVG"),
        (EPS, "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(100), "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (zip_of({"photo.png": _file("PNG")}), "zip"),
        (gzip_of(SVG), "not an image"),
        (b"8BPS" + bytes(100), "Photoshop"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        (bytes(100), "not an image"),
        (b"", "empty"),
    ],
)
def test_what_pretends_to_be_a_png(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        with pytest.raises(ImageError, match=kind):
            load_image(source)


def test_no_program_is_run_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was run"))
    for name, data in (("a.eps", EPS), ("a.png", EPS), ("a.svg", SVG)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError):
            load_image(path)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 50,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x08\0\0\0\x08\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_metadata_leaves_the_image(kind: str, exif: bytes) -> None:
    plain, odd = _file(kind), _file(kind, exif=exif)
    assert (np.asarray(load_image(odd)) == np.asarray(load_image(plain))).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), value, np.uint8)) for value in (10, 120, 230)]
    buffer = BytesIO()
    frames[0].save(
        buffer, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert (np.asarray(load_image(buffer.getvalue())) == 10).all()


def test_folders_and_devices(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path), "/dev/null", "/dev/zero", "/dev/stdin"):
        with pytest.raises(ImageError):
            load_image(source)


@pytest.fixture
def read_frames() -> Any:
    pytest.importorskip("av")
    from onnxpipe.processing.video.read import read_frames

    return read_frames


@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_playlists_open_nothing(playlist: str, read_frames: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"x" * 1000)
    with untouched_port() as port:
        text = PLAYLISTS[playlist].format(path=secret, port=port, media="video", payload=96)
        for path in (tmp_path / "video.mp4", tmp_path / f"video.{playlist.split()[0]}"):
            path.write_text(text)
            for source in (path, path.read_bytes()):
                with pytest.raises(ImageError):
                    read_frames(source, 2)


@pytest.mark.parametrize(
    "head",
    [b"", b"\0\0\0\x20ftypisom", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"OggS", b"FLV\1\5"],
    ids=["nothing", "MP4", "Matroska", "AVI", "Ogg", "FLV"],
)
def test_noise_after_the_first_bytes_of_a_format(head: bytes, read_frames: Any) -> None:
    with pytest.raises(ImageError):
        read_frames(head + np.random.default_rng(0).bytes(20_000), 2)
