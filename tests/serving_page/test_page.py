"""The server's page in Chromium: inputs go in, answers are drawn, the code beside them does the same."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")

from serving_page.conftest import served  # noqa: E402
from unit.serving.stubs import client, sentiment  # noqa: E402

pytestmark = pytest.mark.xdist_group("serving_page")  # one server and one Chromium

AXE = Path(__file__).parents[1] / "elsewhere/node_modules/axe-core/axe.min.js"
HOSTILE = 'Bob said "it\'s $HOME `id` \\n" <img src=x onerror=alert(1)>\n</script>& Älice 🙂'
#: Pixels of a canvas: red, green, blue at places that are shares of its size.
PIXELS = """(canvas, places) => {
  const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const at = (x, y) => 4 * (Math.floor(y * height) * width + Math.floor(x * width));
  return places.map(([x, y]) => [...data.slice(at(x, y), at(x, y) + 3)]);
}"""


def run(page: Any) -> None:
    """Run, and wait for the answer."""
    page.get_by_role("button", name="Run").click()
    done(page)


def done(page: Any) -> None:
    page.locator("#answer[aria-busy=false]").wait_for()
    page.locator("#json:not(:empty)").wait_for()


def answer_of(page: Any) -> Any:
    return json.loads(page.locator("#json").inner_text())


# -- answers ----------------------------------------------------------------------------------------------------------
def test_texts_are_marked_and_stay_texts(open_page: Callable[..., Any], pipes: Any) -> None:
    page = open_page("names")
    page.get_by_label("Text", exact=True).fill(HOSTILE)
    run(page)
    expected = pipes["names"](HOSTILE, aggregation_strategy="simple")
    assert page.locator("mark").count() == len(expected) == 2
    spans = page.locator(".spans")
    assert spans.evaluate("node => [node.dir, node.lang]") == ["auto", ""]
    assert spans.inner_text().replace("NAME", "") == HOSTILE
    assert page.locator("#answer img, #answer script").count() == 0
    assert page.locator("#times").inner_text().startswith("queue ")


def test_scores_are_bars(open_page: Callable[..., Any], pipes: Any) -> None:
    page = open_page("topic")
    page.get_by_label("Candidate labels").fill("sport\n<b>news</b>\n")
    run(page)
    rows = page.locator(".bars li span:first-child").all_inner_texts()
    own = pipes["topic"]("The goal fell in extra time.", candidate_labels=["sport", "<b>news</b>"])
    assert rows == own["labels"]
    assert page.locator(".value").first.inner_text() == f"{100 * own['scores'][0]:.1f} %"


def test_rankings_and_vectors(open_page: Callable[..., Any]) -> None:
    page = open_page("rank")
    run(page)
    assert "Bears eat berries." in page.locator("#answer").inner_text()
    page.locator("#model").select_option("embed")
    run(page)
    assert "2 numbers" in page.locator("#answer").inner_text()


def test_boxes_are_drawn(open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page("objects")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    run(page)
    row = page.locator(".stage canvas").evaluate(PIXELS, [[x / 480, 0.6] for x in range(480)])
    changed = [x / 480 for x in range(480) if row[x] != [40, 60, 200]]
    for edge in (0.1, 0.45, 0.55, 0.9):
        assert any(abs(x - edge) < 0.01 for x in changed)
    assert len(changed) < 20 and not any(0.15 < x < 0.4 for x in changed)
    assert page.locator(".bars .value").all_inner_texts() == ["91.0 %", "87.0 %"]
    page.get_by_label("Threshold").fill("0.9")
    run(page)
    page.locator(".bars li").nth(1).wait_for(state="detached")


def test_masks_are_drawn(open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page("segments")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    run(page)
    masked, free = page.locator(".stage canvas").evaluate(PIXELS, [[0.25, 0.5], [0.75, 0.5]])
    assert free == [40, 60, 200] and masked != free
    assert "50.0 % of the image" in page.locator(".bars").inner_text()


def test_depth_matches_and_images(open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page("depth")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    run(page)
    assert len({tuple(each) for each in page.locator(".stage canvas").evaluate(PIXELS, [[0, 0.5], [0.11, 0.5]])}) == 2
    page.locator("#model").select_option("points")
    for part in ("Image 0", "Image 1"):
        page.get_by_label(part).set_input_files(photo)
    run(page)
    assert "3 points" in page.locator("#answer").inner_text()
    page.locator("#model").select_option("larger")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    run(page)
    assert page.locator(".stage img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    assert answer_of(page)["content-type"] == "image/png"


def test_a_recording_and_its_subtitles(open_page: Callable[..., Any], recording: Path) -> None:
    page = open_page("speech")
    page.get_by_label("Recording", exact=True).set_input_files(recording)
    page.locator("#fields canvas").wait_for()
    run(page)
    (peak,) = page.locator("#answer canvas").evaluate(PIXELS, [[0.0005, 0.5]])
    assert peak != [0, 0, 0]
    words = page.locator(".words button")
    assert words.all_inner_texts() == ["hello", "wide", "world"]
    words.nth(2).click()
    page.locator(".words button.now").get_by_text("world").wait_for()
    assert page.locator(".caption").inner_text() == "hello wide world"
    with page.expect_download() as got:
        page.get_by_text("SRT", exact=True).click()
    start, end = answer_of(page)["chunks"][0]["timestamp"][0], answer_of(page)["chunks"][2]["timestamp"][1]
    line = f"00:00:{start:06.3f} --> 00:00:{end:06.3f}".replace(".", ",")
    assert Path(got.value.path()).read_text() == f"1\n{line}\nhello wide world\n"


def test_files_that_are_dropped_and_pasted(open_page: Callable[..., Any]) -> None:
    page = open_page("points")
    page.get_by_label("Image 0").wait_for()
    give = """(node, [kind, name]) => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], name, { type: "image/png" }));
      const given = kind === "paste" ? { clipboardData: data } : { dataTransfer: data };
      const event = kind === "paste" ? new ClipboardEvent(kind, { ...given, bubbles: true })
        : new DragEvent(kind, { ...given, bubbles: true, cancelable: true });
      node.dispatchEvent(event);
    }"""
    page.locator(".drop").nth(1).evaluate(give, ["drop", "dropped.png"])
    page.locator("body").evaluate(give, ["paste", "pasted.png"])
    assert page.locator(".drop b").all_inner_texts() == ["pasted.png", "dropped.png"]


BOX = {"xmin": 30, "ymin": 20, "xmax": 200, "ymax": 150}
#: Answers of tasks whose models are not served here, with what is then read on the page.
SHAPES: list[tuple[Any, list[str]]] = [
    ([{"score": 0.9, "token": 1, "token_str": "paris", "sequence": "it is paris"}], ["paris", "90.0 %", "it is paris"]),
    ({"answer": "180", "coordinates": [[1, 1]], "cells": ["180"], "aggregator": "SUM"}, ["180", "Aggregator: SUM"]),
    ({"tone": {"type": "score", "score": 0.9, "legend": {"0": "calm", "1": "<b>pushy</b>"},
              "probabilities": {"0": 0.1, "1": 0.9}},
      "spam": {"type": "noul", "noul": 0.75}}, ["Tone", "<b>pushy</b>", "10.0 %", "Spam", "yes", "75.0 %"]),
    ([{"a": 1, "<i>b</i>": [2]}, {"a": None}], ["<i>b</i>", "[2]", "null"]),
    ([], ["Nothing was found"]),
    ([[0.5, 0.25], [1, 2]], ["2 × 2 numbers", "0.5, 0.25, 1, 2"]),
    ("a text", ["a text"]),
    ([{"label": "x", "score": 12.25}, {"label": "y", "score": -3}], ["12.25", "-3"]),
    ({"text": "two\nlines", "words": [], "lines": [{"text": "two", "score": None, "box": BOX}]}, ["two\nlines"]),
    ([{"answer": "12.50", "score": 0.9, "start": 3, "end": 4, "boxes": [BOX, BOX]}], ["12.50", "90.0 %"]),
]  # fmt: skip


def test_answers_of_every_shape(open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page("objects")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    given: list[Any] = [None]
    page.route("**/models/objects*", lambda route: route.fulfill(json=given[0]))
    for given[0], read in SHAPES:
        run(page)
        page.locator("#answer", has_text=read[0]).wait_for()
        shown = page.locator("#answer").inner_text()
        assert all(text in shown for text in read), shown
        if "BOX" in str(given[0]).replace(str(BOX), "BOX"):
            corner = page.locator(".stage canvas").evaluate(PIXELS, [[200 / 300, 100 / 200]])
            assert corner != [[40, 60, 200]]


# -- chats and streams ------------------------------------------------------------------------------------------------
@pytest.fixture
def gate(pipes: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Lets the chat's model run one step for each release."""
    open_ = threading.Semaphore(0)
    model = pipes["chat"].model
    scores = model.scores

    def gated(rows: Any) -> Any:
        open_.acquire(timeout=60)
        return scores(rows)

    monkeypatch.setattr(model, "scores", gated)
    yield open_
    open_.release(10_000)


def fill_lengths(page: Any, tokens: int) -> None:
    page.get_by_label("Do sample").select_option("false")
    page.get_by_label("Max new tokens", exact=True).fill(str(tokens))
    page.locator("summary", has_text="More parameters").click()
    page.get_by_label("Min new tokens").fill(str(tokens))


def test_a_chat_streams_and_stops(open_page: Callable[..., Any], gate: threading.Semaphore) -> None:
    page = open_page("chat")
    fill_lengths(page, 400)
    page.get_by_label("Text", exact=True).fill("hello")
    page.keyboard.press("Enter")
    gate.release(150)
    grown = page.locator(".turn.assistant .text:not(:empty)")
    grown.wait_for()
    first = grown.inner_text()
    assert page.locator("#answer").get_attribute("aria-busy") == "true"
    gate.release(150)
    playwright.expect(grown).not_to_have_text(first, timeout=60_000)
    second = grown.inner_text()
    assert second.startswith(first) and len(second) > len(first)
    assert "tokens/s" in page.locator("#times").inner_text()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for()
    assert page.locator(".turn.assistant .text").inner_text().startswith(second)


def test_a_second_turn_has_the_first(open_page: Callable[..., Any], pipes: Any) -> None:
    page = open_page("chat")
    fill_lengths(page, 12)
    for text in ("hello", "and then"):
        page.get_by_label("Text", exact=True).fill(text)
        page.get_by_role("button", name="Send").click()
        done(page)
    options = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    chat = [{"role": "user", "content": "hello"}]
    chat = pipes["chat"](chat, **options)[0]["generated_text"]
    chat = pipes["chat"]([*chat, {"role": "user", "content": "and then"}], **options)[0]["generated_text"]
    assert page.locator(".turn .text").evaluate_all("all => all.map((each) => each.textContent)") == [
        each["content"] for each in chat
    ]
    page.get_by_label("Stream").uncheck()
    page.get_by_role("button", name="New chat").click()
    page.get_by_label("Text", exact=True).fill("hello")
    page.get_by_role("button", name="Send").click()
    done(page)
    assert page.locator(".turn.assistant .text").text_content() == chat[1]["content"]


def test_a_chat_about_an_image(open_page: Callable[..., Any], photo: Path, address: str) -> None:
    page = open_page("mood")
    document = page.request.get(f"{address}openapi.json").json()
    document["paths"]["/models/chat"]["post"]["x-onnxpipe"]["fields"][0]["media"] = ["image", "video"]
    page.route("**/openapi.json", lambda route: route.fulfill(json=document))
    page.goto(f"{address}?#chat")
    sent: list[Any] = []

    def answer(route: Any) -> None:
        sent.append(route.request.post_data_json)
        pieces = [{"token": {"text": "a blue"}}, {"token": {"text": " wall"}}, {"error": "it broke"}]
        body = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces[: 1 + len(sent)])
        route.fulfill(body=body, content_type="text/event-stream")

    page.route("**/models/chat", answer)
    page.get_by_label("Image or video").set_input_files(photo)
    page.get_by_label("Text", exact=True).fill("what is this?")
    page.keyboard.press("Enter")
    page.locator(".turn.assistant", has_text="a blue wall").wait_for()
    done(page)
    image, text = sent[0]["inputs"][0]["content"]
    assert base64.b64decode(image["image"]) == photo.read_bytes() and text["text"] == "what is this?"
    page.get_by_role("button", name="Python", exact=True).click()
    assert 'encoded("my photo\'s.png")' in page.locator("#code").inner_text()
    page.get_by_label("Text", exact=True).fill("and why?")
    page.keyboard.press("Enter")
    page.locator(".error", has_text="it broke").wait_for()
    assert [each["role"] for each in sent[1]["inputs"]] == ["user", "assistant", "user"]
    assert page.get_by_label("Text", exact=True).input_value() == "and why?"  # it can be sent again


def check(page: Any) -> None:
    """Let axe-core look at a page, in light and dark."""
    if not AXE.is_file():
        pytest.skip("no axe-core: run `npm ci --ignore-scripts` in tests/elsewhere")
    page.evaluate(AXE.read_text("utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = page.evaluate("() => axe.run()")
        assert not [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]
        assert len(found["passes"]) > 10


# -- how it is used ---------------------------------------------------------------------------------------------------
def test_with_the_keyboard_alone(open_page: Callable[..., Any]) -> None:
    page = open_page("mood")
    page.get_by_label("Text", exact=True).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "model"
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("hello there")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Run"
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    done(page)
    assert page.locator(".bars li").count() == 1
    assert '"hello there"' in page.locator("#code").inner_text()


def test_what_the_server_refuses_is_shown(open_page: Callable[..., Any]) -> None:
    page = open_page("mood", expect=("400",))
    page.get_by_label("Top k").fill("5000")
    run(page)
    assert (
        "top_k=5000 is more than the 1000 that this server allows" in page.locator(".error b + *, #answer").inner_text()
    )


def test_a_server_with_keys(open_page: Callable[..., Any]) -> None:
    with served({"mood": sentiment()}, keys=("secret-key",)) as url:
        page = open_page("mood", expect=("401",), url=url)
        for key in ("wrong", "secret-key"):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Open").click()
            if key == "wrong":
                page.get_by_text("does not take this key").wait_for()
                if AXE.is_file():
                    check(page)
        run(page)
        assert page.locator(".bars li").count() == 1
        for language in ("curl", "Python", "JavaScript"):
            page.get_by_role("button", name=language, exact=True).click()
            code = page.locator("#code").inner_text()
            assert "ONNXPIPE_API_KEY" in code and "secret-key" not in code
        assert page.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        page.close()


def code_of(page: Any, language: str) -> str:
    page.get_by_role("button", name=language, exact=True).click()
    return str(page.locator("#code").text_content())


def printed(code: str, language: str, folder: Path) -> str:
    """What code prints that runs in a folder."""
    program = {"curl": ["bash", "-c"], "Python": [sys.executable, "-c"],
               "JavaScript": ["node", "--input-type=module", "-e"]}[language]  # fmt: skip
    if shutil.which("curl" if language == "curl" else program[0]) is None:
        pytest.skip(f"{program[0]} or curl is missing")
    done = subprocess.run([*program, code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_does_what_the_page_did(open_page: Callable[..., Any], photo: Path, tmp_path: Path) -> None:
    page = open_page("mood")
    page.get_by_label("Text", exact=True).fill(HOSTILE)
    run(page)
    mood = answer_of(page)
    for language in ("curl", "JavaScript"):
        assert json.loads(printed(code_of(page, language), language, tmp_path)) == mood
    assert printed(code_of(page, "Python"), "Python", tmp_path) == f"{mood}\n"
    page.locator("#model").select_option("objects")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    run(page)
    objects = answer_of(page)
    assert json.loads(printed(code_of(page, "curl"), "curl", photo.parent)) == objects
    page.locator("#model").select_option("points")  # two files in one body
    for part in ("Image 0", "Image 1"):
        page.get_by_label(part).set_input_files(photo)
    run(page)
    points = answer_of(page)
    for language in ("curl", "JavaScript"):
        assert json.loads(printed(code_of(page, language), language, photo.parent)) == points
    assert printed(code_of(page, "Python"), "Python", photo.parent) == f"{points}\n"


def test_code_of_a_stream_and_of_a_file(open_page: Callable[..., Any], photo: Path, tmp_path: Path) -> None:
    page = open_page("story")
    fill_lengths(page, 30)
    run(page)
    text = page.locator("#answer .text").text_content()
    for language in ("Python", "JavaScript"):
        assert printed(code_of(page, language), language, tmp_path) == text
    page.locator("#model").select_option("larger")
    page.get_by_label("Image", exact=True).set_input_files(photo)
    shutil.copy(photo, tmp_path)
    run(page)
    printed(code_of(page, "curl"), "curl", tmp_path)
    assert (tmp_path / "answer.png").read_bytes()[:4] == b"\x89PNG"


def test_tables_and_subtitles_are_read_and_written(open_page: Callable[..., Any]) -> None:
    page = open_page("mood")
    rows = 'name;"a ""b"";\nc"\r\nx;1\ny;""\n'
    read = "(text) => import('/static/form.js').then(({ table }) => table(text))"
    assert page.evaluate(read, rows) == {"name": ["x", "y"], 'a "b";\nc': ["1", ""]}
    assert page.evaluate(read, "a,b\n1") == {"a": ["1"], "b": [""]}
    write = """([chunks, text]) => import('/static/media.js').then(({ cues, srt, vtt }) => {
      const lines = cues(chunks, text, 9.5);
      return [lines.map((each) => each.text), srt(lines), vtt(lines)];
    })"""
    words = [[" It", 0, 0.5], [" ends.", 0.5, 1], [" A --> b", 1, 1.25], [" c", 3661.5, None]]
    chunks = [{"text": text, "timestamp": [start, end]} for text, start, end in words]
    lines, srt, vtt = page.evaluate(write, [chunks, "It ends. A --> b c"])
    assert lines == ["It ends.", "A --> b", "c"]
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,000\nIt ends.\n\n2\n00:00:01,000 --> 00:00:01,250\nA → b\n")
    assert vtt.startswith("WEBVTT\n\n1\n00:00:00.000 --> ") and "01:01:01.500" in vtt


# -- for everyone -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["mood", "chat", "objects", "speech"])
def test_axe_finds_nothing(open_page: Callable[..., Any], model: str, photo: Path, recording: Path) -> None:
    page = open_page(model)
    if model == "chat":
        page.get_by_label("Max new tokens", exact=True).fill("20")
        page.get_by_label("Text", exact=True).fill("hello")
        page.get_by_role("button", name="Send").click()
        done(page)
    else:
        if model != "mood":
            page.locator("#fields input[type=file]").set_input_files(photo if model == "objects" else recording)
        run(page)
    check(page)


def test_every_model_can_be_chosen_on_a_phone(open_page: Callable[..., Any], pipes: Any) -> None:
    page = open_page("mood")
    page.set_viewport_size({"width": 390, "height": 800})
    tasks = {each["model_id"]: each["task"] for each in client(pipes).get("/info").json()["models"]}
    for model, task in tasks.items():
        page.locator("#model").select_option(model)
        assert page.locator("h1#task").inner_text() == task
        assert f"/models/{model}" in page.locator("#code").inner_text()
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, model


def test_audio_that_is_made_can_be_played(open_page: Callable[..., Any]) -> None:
    page = open_page("say")
    page.get_by_label("Text").fill("la")
    page.get_by_role("button", name="Run").click()
    player = page.locator("audio")
    player.wait_for(state="attached")
    page.wait_for_function("document.querySelector('audio').duration > 0")
    assert player.evaluate("audio => audio.error") is None
