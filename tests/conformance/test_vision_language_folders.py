"""Vision-language models as users get them: folders laid out as the Hub's, and the command line, without PyTorch."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import onnxpipe
from onnxpipe.cli import main
from zoo.vision.images import encoded
from zoo.vision_language import HEAD, PRECISIONS

pytest.importorskip("torch")
pytest.importorskip("transformers")

Bundles = Callable[..., Path]
GREEDY = ("-p", "do_sample=false", "-p", "max_new_tokens=8")
QUESTION = "What is this?"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    onnxpipe.load_image(encoded("photo")[0]).save(path)
    return path


def expected(folder: Path, *images: Path, question: str = QUESTION, **options: str) -> str:
    pipe = onnxpipe.pipeline("image-text-to-text", folder, device="cpu", **options)
    content = [*({"type": "image", "path": str(path)} for path in images), {"type": "text", "text": question}]
    chat = [{"role": "user", "content": content}]
    return str(pipe(text=chat, return_full_text=False, do_sample=False, max_new_tokens=8)[0]["generated_text"])


def ready_made(bundle: Path, target: Path) -> Path:
    """Copy a bundle as the Hub has such folders: no manifest, no certificate, graphs in onnx/ by their suffixes."""
    names = ("bundle.json", "certificate.json", "golden.npz")
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns(*names))
    return target


@pytest.mark.parametrize("family", ["smolvlm", "llava_onevision"])
def test_a_ready_made_folder_answers_without_pytorch(
    family: str, bundles: Bundles, tmp_path: Path, photo: Path
) -> None:
    """Each graph in its own precision; neither torch nor transformers may be imported."""
    folder = ready_made(bundles(family, HEAD, PRECISIONS), tmp_path / "model")
    program = f"""
    import sys
    for name in ("torch", "transformers", "onnx", "onnxpipe_export"):
        sys.modules[name] = None
    from onnxpipe import pipeline
    dtype = {{"vision_encoder": "int8", "decoder_model_merged": "q4"}}
    pipe = pipeline("image-text-to-text", {str(folder)!r}, dtype=dtype, device="cpu")
    answer = pipe({{"image": {str(photo)!r}, "question": {QUESTION!r}}}, do_sample=False, max_new_tokens=8)
    print(pipe.dtype, pipe.model.vision.session.path.name, repr(answer[0]["generated_text"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    dtype = {"vision_encoder": "int8", "decoder_model_merged": "q4"}
    assert done.stdout.strip() == f"q4 vision_encoder_int8.onnx {expected(folder, photo, dtype=dtype)!r}"


def test_a_text_model_in_that_cut(bundles: Bundles, tmp_path: Path) -> None:
    """Without a vision encoder it is a language model all the same: embed_tokens and a decoder of embeddings."""
    whole = bundles("llava", HEAD, PRECISIONS)
    folder = ready_made(whole, tmp_path / "model")
    for path in (folder / "onnx").glob("vision_encoder*"):
        path.unlink()
    options = {"do_sample": False, "max_new_tokens": 8}
    text = onnxpipe.pipeline("text-generation", folder, dtype="int8", device="cpu")
    pipe = onnxpipe.pipeline("image-text-to-text", whole, dtype="int8", device="cpu")
    texts = ["One two three", "A"]
    answers = [pipe(text=each, **options)[0]["generated_text"] for each in texts]
    assert [answer[0]["generated_text"] for answer in text(texts, **options)] == answers
    assert text.model([[5, 6, 7]]).logits.shape[:2] == (1, 3)


def run(*args: object, stdin: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(map(str, args)), input=stdin)
    assert result.exit_code == code, result.output
    return result


def test_a_question_on_the_command_line(bundles: Bundles, photo: Path) -> None:
    folder = bundles("smolvlm", HEAD, PRECISIONS)
    task = ("run", "image-text-to-text", "-m", folder, "--dtype", "fp32", *GREEDY)
    answer = expected(folder, photo)
    assert run(*task, photo, QUESTION).stdout.strip() == answer.strip()
    assert run(*task, photo, "--question", QUESTION).stdout.strip() == answer.strip()
    (record,) = json.loads(run(*task, photo, QUESTION, "--json").stdout)
    assert record == {"input_text": QUESTION, "generated_text": answer}
    two = json.dumps({"images": [str(photo), str(photo)], "question": QUESTION})
    (record,) = json.loads(run(*task, two, "--json").stdout)
    assert record["generated_text"] == expected(folder, photo, photo)
    assert "--question" in run(*task, photo, code=2).stderr


def test_a_table_of_questions(bundles: Bundles, photo: Path) -> None:
    folder = bundles("smolvlm", HEAD, PRECISIONS)
    table, out = photo.parent / "table.csv", photo.parent / "out.csv"
    table.write_text(f"image,question\n{photo.name},{QUESTION}\nno.png,x\n{photo.name},And?\n")
    run("run", "image-text-to-text", "-m", folder, "--input", table, "-o", out, "--on-error", "return", *GREEDY, code=3)
    rows = list(csv.DictReader(out.open()))
    assert rows[0]["generated_text"] == expected(folder, photo)
    assert "no.png" in rows[1]["error"]
    assert rows[2]["generated_text"] == expected(folder, photo, question="And?")


def test_an_image_in_a_conversation(bundles: Bundles, photo: Path) -> None:
    folder = bundles("smolvlm", HEAD, PRECISIONS)
    saved = photo.parent / "talk.json"
    lines = ["/image", f"/image {photo}", QUESTION, "And?", f"/save {saved}"]
    result = run("chat", "-m", folder, *GREEDY, stdin="\n".join(lines[1:]))
    assert "shown with the next message" in result.stdout
    talk = json.loads(saved.read_text())
    assert talk[0]["content"] == [{"type": "image", "image": str(photo)}, {"type": "text", "text": QUESTION}]
    assert talk[1]["content"] == [{"type": "text", "text": expected(folder, photo)}]
    pipe = onnxpipe.pipeline("image-text-to-text", folder, device="cpu")
    again = pipe(text=talk[:3], return_full_text=False, do_sample=False, max_new_tokens=8)
    assert talk[3]["content"][0]["text"] == again[0]["generated_text"]
    assert "FILE" in run("chat", "-m", folder, stdin="\n".join(lines[:1]), code=1).stderr
    assert "no.png" in run("chat", "-m", folder, stdin="/image no.png\n", code=1).stderr


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of three seconds, which gets brighter."""
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            grey = np.full((48, 64, 3), number * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video_on_the_command_line_and_in_a_conversation(bundles: Bundles, video: Path) -> None:
    """A file that is called a video is one; in a table too, beside images."""
    folder = bundles("smolvlm", HEAD, PRECISIONS)
    pipe = onnxpipe.pipeline("image-text-to-text", folder, device="cpu")
    options = {"do_sample": False, "max_new_tokens": 8}
    answer = pipe(videos=str(video), question=QUESTION, num_frames=3, **options)[0]["generated_text"]
    task = ("run", "image-text-to-text", "-m", folder, "--dtype", "fp32", *GREEDY)
    (record,) = json.loads(run(*task, "-p", "num_frames=3", video, QUESTION, "--json").stdout)
    assert record == {"input_text": QUESTION, "generated_text": answer}
    table = video.parent / "table.jsonl"
    table.write_text(json.dumps({"image": video.name, "question": QUESTION}) + "\n")
    rows = run(*task, "-p", "num_frames=3", "--input", table).stdout
    assert json.loads(rows)["generated_text"] == answer
    saved = video.parent / "talk.json"
    lines = [f"/video {video}", QUESTION, f"/save {saved}"]
    result = run("chat", "-m", folder, *GREEDY, "-p", "num_frames=3", stdin="\n".join(lines))
    assert "64 x 48, shown with the next message" in result.stdout
    talk = json.loads(saved.read_text())
    assert talk[0]["content"] == [{"type": "video", "video": str(video)}, {"type": "text", "text": QUESTION}]
    assert talk[1]["content"] == [{"type": "text", "text": answer}]
    assert "no.mp4" in run("chat", "-m", folder, stdin="/video no.mp4\n", code=1).stderr
    without = bundles("llava", HEAD, PRECISIONS)
    assert "sees no videos" in run("chat", "-m", without, stdin=f"/video {video}\n", code=1).stderr
    assert "takes no videos" in run(*task[:3], without, *GREEDY, "--json", json.dumps(
        {"text": "x", "videos": str(video)}), code=1).stderr  # fmt: skip
