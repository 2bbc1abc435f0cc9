"""Loading of images: every form of source, and what is not one."""

from __future__ import annotations

import base64
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

from onnxpipe.errors import ImageError, ImageNotFoundError, OnnxPipeError  # noqa: E402
from onnxpipe.processing.images.io import load, quiet  # noqa: E402
from onnxpipe.processing.images.io.load import load_image  # noqa: E402
from onnxpipe.processing.images.io.quiet import silent_pillow  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)


def _file(pixels: Any = PIXELS, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class _Tensor:
    """The part of torch's tensors that is used."""

    def __init__(self, array: np.ndarray, steps: tuple[str, ...] = ()) -> None:
        self._array, self.steps = array, steps

    def detach(self) -> _Tensor:
        return _Tensor(self._array, (*self.steps, "detach"))

    def cpu(self) -> _Tensor:
        return _Tensor(self._array, (*self.steps, "cpu"))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        assert self.steps == ("detach", "cpu")
        return self._array


@pytest.mark.parametrize(
    "source",
    [
        _file(),
        bytearray(_file()),
        memoryview(_file()),
        base64.b64encode(_file()).decode(),
        base64.encodebytes(_file()).decode(),
        "data:image/png;base64," + base64.b64encode(_file()).decode(),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.astype(np.int64),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        PIXELS.transpose(2, 0, 1),
        PIXELS[:, :, ::-1][:, :, ::-1],
        np.dstack([PIXELS, np.full((13, 17), 7, np.uint8)]),
        _Tensor((PIXELS / 255).astype(np.float32).transpose(2, 0, 1)),
    ],
    ids=lambda source: type(source).__name__,
)
def test_every_kind_of_source_gives_the_same_image(source: Any) -> None:
    image = load_image(source)
    assert image.mode == "RGB"
    assert (np.asarray(image) == PIXELS).all()


@pytest.mark.parametrize("kind", ["JPEG2000", "TGA", "ICNS", "DDS"])
def test_other_formats_get_the_list_of_those_that_are_read(kind: str) -> None:
    word = {"JPEG2000": "a JPEG 2000 image", "TGA": "not an image of a format", "ICNS": "ICNS", "DDS": "a DDS"}[kind]
    data = _file(np.tile(PIXELS, (2, 2, 1))[:16, :16], kind)
    with pytest.raises(ImageError, match=rf"{word}.*; pass one of JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM, .*ICO"):
        load_image(data)
    assert load_image(Image.open(BytesIO(data))).size[0] >= 16  # the user's own Pillow may


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "http_an image.png"
    path.write_bytes(_file())
    for source in (path, str(path)):
        assert (np.asarray(load_image(source)) == PIXELS).all()
    path.unlink()  # nothing keeps it open
    with pytest.raises(ImageNotFoundError, match=r"^there is no such file: .*http_an image\.png$"):
        load_image(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG", "AVIF", "ICO"])
def test_formats(kind: str) -> None:
    if kind not in load.readable_formats():
        pytest.skip(f"this Pillow has no {kind}")
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    found = np.asarray(load_image(_file(flat, kind)))
    assert found.shape == (16, 16, 3)
    assert np.abs(found.astype(int) - flat).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F", "YCbCr"])
def test_modes_become_rgb_as_pillow_has_them(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    expected = image.convert("RGB") if mode != "F" else Image.fromarray(PIXELS).convert("L").convert("RGB")
    assert (np.asarray(load_image(image)) == np.asarray(expected)).all()


#: Values of 16 bits, and what they are in 8.
DEEP = np.array([[0, 255, 256, 32_767], [32_768, 40_000, 65_279, 65_535]], np.uint16)
SCALED = np.array([[0, 0, 1, 127], [128, 156, 254, 255]], np.uint8)


def _pgm(values: np.ndarray, top: int) -> bytes:
    return b"P5 %d %d %d\n" % (values.shape[1], values.shape[0], top) + values.astype(">u2").tobytes()


def _tiff(values: np.ndarray, bits: int = 16, black_is_zero: int = 1, order: str = "<") -> bytes:
    data = values.tobytes()
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = [(256, 4, width), (257, 4, height), (258, 4, bits), (259, 4, 1), (262, 4, black_is_zero), (273, 4, 200),
            (277, 4, 1), (278, 4, height), (279, 4, len(data)), (339, 4, kind)]  # fmt: skip
    rows = b"".join(struct.pack(f"{order}HHII", tag, type_, 1, value) for tag, type_, value in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return (head + rows + bytes(4)).ljust(200, b"\0") + data


@pytest.mark.parametrize(
    "source",
    [
        Image.fromarray(DEEP),
        Image.fromarray(DEEP.astype(np.int32)),
        Image.fromarray(DEEP.astype(np.float32)),
        _file(Image.fromarray(DEEP), "PNG"),
        _file(Image.fromarray(DEEP), "TIFF"),
        _file(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
        _pgm(DEEP, 65_535),
        _tiff(DEEP),
        _tiff(DEEP.astype(">u2"), order=">"),
        _tiff(65_535 - DEEP, black_is_zero=0),
        _tiff(DEEP.astype(np.int32), 32),
        _tiff(DEEP.astype(np.float32), 32),
    ],
    ids=["I;16", "I", "F", "PNG", "TIFF", "TIFF, LZW", "PGM", "TIFF by hand", "TIFF, big-endian", "TIFF, white is zero",
         "TIFF, 32 bits", "TIFF, floats"],
)  # fmt: skip
def test_grey_of_sixteen_bits_is_scaled_as_rgb_of_sixteen_bits_is(source: Any) -> None:
    found = np.asarray(load_image(source))
    assert np.abs(found - SCALED[..., None].astype(int)).max() <= (1 if "F" in getattr(source, "mode", "F") else 0)
    assert (found[0, 0] == 0).all()
    assert (found[-1, -1] == 255).all()


def test_grey_with_another_number_of_bits_reaches_white() -> None:
    assert np.asarray(load_image(_pgm(np.array([[0, 512, 1023]]), 1023)))[0, :, 0].tolist() == [0, 128, 255]
    packed = np.array([[0x00, 0x08, 0x00, 0xFF, 0xF8, 0x00]], np.uint8)  # 0, 2048, 4095, 2048 in 12 bits
    data = bytearray(_tiff(packed, bits=12))
    data[10 + 8 : 10 + 12] = struct.pack("<I", 4)  # the width: four values in six bytes
    assert np.asarray(load_image(bytes(data)))[0, :, 0].tolist() == [0, 128, 255, 128]


def test_floats_of_zero_to_one_reach_white() -> None:
    values = np.array([[0, 0.25, 1]], np.float32)
    for source in (Image.fromarray(values), _tiff(values, 32), b"Pf 3 1 -1.0\n" + values.tobytes()):
        assert np.asarray(load_image(source))[0, :, 0].tolist() == [0, 64, 255]


@pytest.mark.parametrize(
    "values",
    [np.array([[-1, 5]], np.int32), np.array([[0, 65_536]], np.int32), np.array([[0, np.nan]], np.float32),
     np.array([[-0.5, 1]], np.float32), np.array([[0, np.inf]], np.float32)],
    ids=["negative", "large", "NaN", "negative float", "infinite"],
)  # fmt: skip
def test_grey_without_a_known_white_is_refused(values: np.ndarray) -> None:
    for source in (Image.fromarray(values), _tiff(values, 32)):
        with pytest.raises(ImageError, match=r"must have values of 0–65535; this one goes from .*65,535 is white"):
            load_image(source)


def test_grey_of_sixteen_bits_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = np.asarray(load_image(_file(Image.fromarray(DEEP), "PNG", exif=exif.tobytes())))
    assert (found[..., 0] == np.rot90(SCALED, -1)).all()


def test_an_image_processor_scales_it_too() -> None:
    from onnxpipe.processing.images.classifiers import ViTImageProcessor

    deep = np.tile(DEEP, (8, 8))
    processor = ViTImageProcessor(size={"height": 16, "width": 32})
    expected = processor(Image.fromarray(np.tile(SCALED, (8, 8))).convert("RGB"))
    for mode in (np.uint16, np.int32):
        assert (processor(Image.fromarray(deep.astype(mode))).pixel_values == expected.pixel_values).all()


def test_transparency_is_kept_where_it_is_asked_for() -> None:
    alpha = np.arange(13 * 17, dtype=np.uint8).reshape(13, 17)
    image = Image.fromarray(np.dstack([PIXELS, alpha]))
    for source in (image, _file(image), np.asarray(image)):
        found = load.load_with_alpha(source)
        assert found.mode == "RGBA"
        assert (np.asarray(found) == np.asarray(image)).all()
    assert load.load_with_alpha(_file()).mode == "RGB"
    deep = _file(Image.fromarray(DEEP), transparency=40_000)
    found = np.asarray(load.load_with_alpha(deep))
    assert (found[..., 0] == SCALED).all()
    assert (found[..., 3] == np.where(DEEP == 40_000, 0, 255)).all()


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 50,
     b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\xff\xff\0\0\0\0"],
    ids=["cut off", "too large"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pillow_warns_of_nothing(kind: str, exif: bytes) -> None:
    data = _file(PIXELS, kind, exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        image = Image.open(BytesIO(data))
        assert not image.getexif() or caught  # Pillow itself does
        caught.clear()
        load_image(data)
        with pytest.raises(ImageError):
            load_image(data[:40])
        assert warnings.filters == before
    assert not caught


def test_threads_share_the_silence() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        with ExitStack() as first, ExitStack() as second:
            first.enter_context(silent_pillow())
            second.enter_context(silent_pillow())
            first.close()
            warnings.warn_explicit("broken", UserWarning, "file.py", 1, module="PIL.TiffImagePlugin")
            warnings.warn_explicit("another's", UserWarning, "file.py", 1, module="PILLAR")
        assert warnings.filters == before
    assert [str(warning.message) for warning in caught] == ["another's"]


def test_transparent_palettes_keep_their_colours_and_warn_of_nothing() -> None:
    image = Image.fromarray(PIXELS).convert("P")
    data = _file(image, transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = np.asarray(load_image(data))
    assert (found == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_what_a_file_says_of_a_transparent_colour_outlives_the_loading(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    transparent = (int(PIXELS[0, 0, 0]), 2, 3) if mode == "RGB" else 7
    found = load_image(_file(image, transparency=transparent))
    assert found.mode == "RGB"
    assert isinstance(found.info["transparency"], tuple)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_turns_it_upright(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _file(PIXELS, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    found = load_image(data)
    assert found.size == expected.size
    assert (np.asarray(found) == np.asarray(expected)).all()


def test_the_given_image_is_left_as_it_is() -> None:
    image = Image.fromarray(PIXELS)
    load_image(image).putpixel((0, 0), (1, 2, 3))
    assert (np.asarray(image) == PIXELS).all()


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (PIXELS[..., 0], "grey"),
        (PIXELS[..., :1], "grey"),
        (PIXELS[..., 0][None], "grey"),
        (PIXELS[..., 0] > 127, "bool"),
    ],
)
def test_arrays_of_one_channel(array: np.ndarray, mode: str) -> None:
    found = np.asarray(load_image(array))
    grey = (PIXELS[..., 0] > 127) * 255 if mode == "bool" else PIXELS[..., 0]
    assert (found == grey[..., None]).all()


def test_of_two_ends_that_could_be_channels_the_last_is() -> None:
    array = np.random.default_rng(1).integers(0, 256, (3, 9, 3), dtype=np.uint8)
    assert (np.asarray(load_image(array)) == array).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 5), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((1, 3, 5, 5), np.uint8), "shape"),
        (np.zeros((0, 5, 3), np.uint8), "shape"),
        (np.full((5, 5), 1.5), "0–1"),
        (np.full((5, 5), np.nan), "0–1"),
        (np.full((5, 5), np.inf), "0–1"),
        (np.full((5, 5), 256), "0–255"),
        (np.full((5, 5), -1), "0–255"),
        (np.zeros((5, 5), complex), "bool, integers or floats"),
        (np.full((5, 5), "a"), "bool, integers or floats"),
    ],
)
def test_arrays_that_are_not_images(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


@pytest.mark.parametrize("source", ["cat.jpg", "", "/nowhere/cat.jpg", "aGVsbG8=", "data:image/png;base64,", "\0", "é"])
def test_strings_that_are_not_images_get_the_message_of_transformers(source: str) -> None:
    message = "Incorrect image source. Must be a valid URL starting with `http://` or `https://`, a valid path"
    with pytest.raises(ImageError, match=message):
        load_image(source)


@pytest.mark.parametrize(
    "source",
    ["nothere.jpg", "NOT HERE.JPEG", "photos/cat", "./cat", "/nowhere/cat.webp", "cat.mp4", "a/" * 100 + "b.png"],
)
def test_a_path_without_a_file_says_so(source: str) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_image(source)
    assert isinstance(error.value, ImageNotFoundError)
    assert isinstance(error.value, OnnxPipeError)
    assert isinstance(error.value, ValueError)  # as the error of transformers
    message = str(error.value)
    assert message.startswith("Incorrect image source. Must be a valid URL")
    assert "; there is no such file: " + source[:200] in message


def test_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError, match=r"Incorrect image source\..*; .* is a folder, not a file$"):
        load_image(str(tmp_path))
    with pytest.raises(ImageNotFoundError, match=r"is a folder, not a file$"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    "source",
    ["no such image", "", "\0", "aGVsbG8=", "s3://bucket/cat.jpg", "data:image/png;base64,/9j/",
     "/9j/4AAQSkZJRgAB" * 9, "/9j/" * 2000 + "?.jpg"],
    ids=["words", "nothing", "a zero byte", "base64", "another scheme", "data URL", "base64 with slashes", "too long"],
)  # fmt: skip
def test_what_is_not_a_path_says_nothing_of_files(source: str) -> None:
    with pytest.raises(ImageError) as error:
        load_image(source)
    assert not isinstance(error.value, FileNotFoundError)
    assert "no such file" not in str(error.value)


def test_urls_in_capitals_are_fetched_and_their_secrets_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "fetch", lambda url, timeout: _file() if "image" in url else b"text")
    assert (np.asarray(load_image("HTTPS://example.com/image.png")) == PIXELS).all()
    for source in (
        "http://me:sec/ret@host/page?ret@",
        "HTTP://host/page?secret",
        "s3://me:sec/ret@bucket/x.png?secret",
    ):
        with pytest.raises(ImageError) as error:
            load_image(source)
        assert "ret" not in str(error.value).removeprefix("Incorrect")


def test_long_strings_are_not_repeated_in_full() -> None:
    with pytest.raises(ImageError) as error:
        load_image("A" * 10**6)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("source", [None, 3, 2.5, object(), {"image": 1}, [PIXELS]])
def test_other_types_get_the_message_of_transformers(source: Any) -> None:
    with pytest.raises(TypeError, match=r"Incorrect format used for image\. Should be an url linking to an image"):
        load_image(source)


@pytest.mark.parametrize("source", [Path(), b"", b"hello", b"GIF89a"])
def test_files_that_are_not_images(source: Any) -> None:
    with pytest.raises(ImageError):
        load_image(source)


def test_the_number_of_pixels_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_file())
    for source in (path, _file(), base64.b64encode(_file()).decode()):
        with pytest.raises(ImageError, match=r"17x13 pixels, more than the 220"):
            load_image(source, max_pixels=220)
        load_image(source, max_pixels=221)


def test_formats_that_a_package_adds_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HEIF" not in load.readable_formats()
    monkeypatch.setitem(Image.OPEN, "HEIF", (None, None))
    assert "HEIF" in load.readable_formats()


def test_without_pillow_the_error_has_the_line_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from onnxpipe.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "onnxpipe\[vision\]"'):
        load_image(PIXELS)


def test_broken_tiffs_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff prints what is wrong with a file; here it is one error, in threads as well."""
    whole = _file(
        Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)), "TIFF", compression="tiff_deflate"
    )
    at = whole.index(b"\x78\x9c") + 40
    broken = whole[:at] + bytes(20) + whole[at + 20 :]

    def load(data: bytes) -> str:
        try:
            return str(load_image(data).size)
        except ImageError as error:
            return "broken" if "broken" in str(error) else str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, [whole, broken] * 8)) == ["(64, 64)", "broken"] * 8
    assert load(broken) == "broken"
    assert not capfd.readouterr().err
    if quiet._libtiff_setters():  # of others' images libtiff prints as before
        with pytest.raises(OSError, match="decoder error"), Image.open(BytesIO(broken)) as image:
            image.load()
        assert "ZIPDecode" in capfd.readouterr().err
