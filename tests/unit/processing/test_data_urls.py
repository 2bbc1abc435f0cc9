"""data: URLs, read as browsers read them."""

from __future__ import annotations

import base64
from io import BytesIO
from urllib.parse import quote

import numpy as np
import pytest

from onnxpipe.errors import ImageError
from onnxpipe.processing.data_urls import decode_base64, decode_data_url, is_data_url


def data_urls(content: bytes, kind: str) -> list[str]:
    """A content in all forms of a data: URL."""
    plain, wrapped = base64.b64encode(content).decode(), base64.encodebytes(content).decode()
    return [
        f"data:{kind};base64,{plain}", f"data:{kind};base64,{wrapped}", f"data:{kind};base64,{plain.rstrip('=')}",
        f"data:;base64,{plain}", f"data:base64;base64,{plain}", f"data:{kind};name=a;base64,{quote(plain, safe='')}",
        f"DATA:{kind};BASE64,{plain}", f"data:{kind}; base64 ,{plain}", f"  data:{kind};base64,{plain}\n",
        f"data:{kind};base64,{wrapped.replace(chr(10), chr(13) + chr(10))}", f"data:{kind};base64,{plain}#part",
        f"data:{kind},{quote(content, safe='')}", f"data:,{quote(content)}",
        f"data:application/octet-stream;base64,{plain}",
    ]  # fmt: skip


@pytest.mark.parametrize("length", range(9))
def test_every_form_has_the_same_content(length: int) -> None:
    content = bytes(range(250, 256))[:length] + b"#,;%\xff "[: max(0, length - 3)]
    for url in data_urls(content, "text/plain"):
        assert is_data_url(url)
        assert decode_data_url(url) == content, url


def test_what_is_not_valid_is_an_error() -> None:
    for url, message in (
        ("data:image/png;base64", "no comma"),
        ("data:;base64,abcde", "not valid base64"),
        ("data:;base64,ab$d", "not valid base64"),
        ("data:;base64,a=bc", "not valid base64"),
        ("data:;base64,abc==", "not valid base64"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_data_url(url)
    assert decode_data_url("data:,base64,YQ==") == b"base64,YQ=="
    assert decode_data_url("data:;base64;charset=utf-8,YQ==") == b"YQ=="
    assert decode_base64("") == b""
    assert not is_data_url("database.png") and not is_data_url("")


def test_images_and_videos_by_data_url() -> None:
    image_module = pytest.importorskip("PIL.Image")
    from onnxpipe.processing.images.io.load import load_image
    from onnxpipe.processing.video.read import read_frames

    buffer = BytesIO()
    image_module.new("RGB", (3, 2), (10, 20, 30)).save(buffer, "PNG")
    for url in data_urls(buffer.getvalue(), "image/png"):
        assert np.asarray(load_image(url))[0, 0].tolist() == [10, 20, 30]
    assert load_image(base64.b64encode(buffer.getvalue()).decode().rstrip("=")).size == (3, 2)
    pytest.importorskip("av")
    with pytest.raises(ImageError, match="broken, or not a video"):
        read_frames("data:video/mp4;base64,aGVsbG8", 1)
