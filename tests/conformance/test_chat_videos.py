"""Videos of chats next to transformers: which frames, what pixels, what text, and what models say of them.

Transformers' video processors need torchvision, for which `torchvision_standin` stands in. Its resizing rounds bytes
otherwise than Pillow's; where frames have the model's size already, everything is the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import onnxpipe
from onnxpipe.errors import ImageError, UnknownArgumentError, UnsupportedError
from onnxpipe.models.auto import AutoModelForImageTextToText
from onnxpipe.processing.auto import AutoProcessor, AutoVideoProcessor
from onnxpipe.processing.images.settings import BICUBIC, LANCZOS
from onnxpipe.processing.multimodal.count_words import count_words
from zoo.vision import chat_processors
from zoo.vision.chat_processors import PROCESSORS, SIDE
from zoo.vision.images import encoded
from zoo.vision_language import HEAD, PRECISIONS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from conformance.torchvision_standin import video_processor  # noqa: E402

Models = Callable[[str, str], Path]
Bundles = Callable[..., Path]
FAMILIES = [family for family, spec in PROCESSORS.items() if spec.videos]
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
every_family = pytest.mark.parametrize("family", FAMILIES)
GREEDY: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}


def clip(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A video of coarse noise, uint8 (frames, height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (frames, height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)[:, :height, :width]


class Pair:
    """The processors of a family here and in transformers, from the same files."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family, self.folder = family, folder
        self.ours: Any = AutoProcessor.from_pretrained(folder)
        self.theirs = their_processor(family, folder)


@cache
def their_processor(family: str, folder: Path) -> Any:
    from transformers.processing_utils import ProcessorMixin

    spec = PROCESSORS[family]
    settings = {name: value for name, value in spec.settings.items() if name != "processor_class"}
    images = getattr(transformers, f"{spec.images['image_processor_type']}Pil")
    with mock.patch.object(ProcessorMixin, "check_argument_for_proper_class"):
        return getattr(transformers, spec.settings["processor_class"])(
            images.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder, padding_side="left"),
            video_processor=video_processor(folder),
            chat_template=spec.template,
            **settings,
        )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Pair]:
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        chat_processors.save(family, folder)
        (folder / "config.json").write_text(json.dumps({"model_type": family}))
        found[family] = Pair(family, folder)
    return found


def same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.asarray(ours[name]).shape == np.asarray(value).shape, name
        assert np.array_equal(ours[name], value), name


# -- frames -----------------------------------------------------------------------------------------------------------
@every_family
def test_frames_are_resized_and_laid_out_as_there(family: str, pairs: Mapping[str, Pair]) -> None:
    """Bytes may be rounded otherwise, by two in each of at most two resizings.

    The videos have no black and no white: torch and Pillow cut off what lies beyond these at other moments.
    """
    pair = pairs[family]
    videos = [clip(3, 45, 70, 1) // 2 + 64, clip(3, 100, 37, 2) // 2 + 64]
    options = {"resample": BICUBIC} if family == "smolvlm" else {}  # torchvision has no other filter for it here
    ours = pair.ours.video_processor(videos, **options)
    theirs = pair.theirs.video_processor(videos, return_tensors="np", **options)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        levels = 4 if family == "smolvlm" else 2
        apart = levels / 255 / 0.5 + 1e-6 if name.startswith("pixel_values") else 0
        assert np.abs(ours[name] - value).max() <= apart, name


@every_family
def test_frames_of_the_right_size_are_the_same(family: str, pairs: Mapping[str, Pair]) -> None:
    """Each number too, up to float32: transformers multiplies and divides in another order."""
    pair, video = pairs[family], clip(5, SIDE, SIDE, 3)
    options = {"do_resize": False}
    ours = pair.ours.video_processor(list(video), **options)
    theirs = pair.theirs.video_processor(video, return_tensors="np", **options)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6)
    forms = ([Image.fromarray(frame) for frame in video], video.transpose(0, 3, 1, 2), video[None], [video])
    for form in forms:
        same(pair.ours.video_processor(form, **options), ours)


def test_frames_of_smolvlm_are_whole_images(pairs: Mapping[str, Pair]) -> None:
    """With Lanczos, as the checkpoints have it: a frame is what the image processor makes of an image not split."""
    pair, video = pairs["smolvlm"], clip(2, 90, 51, 4)
    assert pair.ours.video_processor.resample == LANCZOS
    size = {"longest_edge": 2 * SIDE}
    images = pair.ours.image_processor(list(video), do_image_splitting=False, size=size)
    same(pair.ours.video_processor(video), images)


@every_family
@pytest.mark.parametrize("options", [{"num_frames": 4}, {"fps": 2.0}, {"fps": 0.7}, {"num_frames": 7}])
def test_which_frames_are_chosen(family: str, options: dict[str, Any], pairs: Mapping[str, Pair]) -> None:
    processor, theirs = pairs[family].ours.video_processor, pairs[family].theirs.video_processor
    for total in (9, 24, 25, 100, 301, 1000):
        for rate in (10.0, 24.0, 29.97):
            facts = {"total_num_frames": total, "fps": rate, "duration": total / rate}
            video = np.broadcast_to(np.uint8(0), (total, SIDE, SIDE, 3))
            kwargs: dict[str, Any] = dict(options)
            if family == "smolvlm":
                kwargs = {"num_frames": 6, "fps": 1.0, **options}
            elif "num_frames" in options:
                kwargs["fps"] = None  # transformers takes both for a mistake where the file has the other
            given = transformers.video_utils.VideoMetadata(**facts)
            outcomes = []
            for choose in (
                lambda facts=facts, video=video: (
                    processor(video, video_metadata=facts, do_sample_frames=True, return_metadata=True, **options)[
                        "video_metadata"
                    ][0].frames_indices
                ),
                lambda given=given, kwargs=kwargs: [
                    int(index)
                    for index in theirs.sample_frames(
                        given, temporal_patch_size=2, min_frames=2, max_frames=8, **kwargs
                    )
                ],
            ):
                try:
                    outcomes.append(choose())
                except (ValueError, ZeroDivisionError, IndexError):
                    outcomes.append(None)
            assert outcomes[0] == outcomes[1], (total, rate)


def test_numbers_in_words() -> None:
    num2words = pytest.importorskip("num2words").num2words
    for count in (*range(1200), 1999, 2000, 2001, 12_345, 65_536, 100_000, 999_999):
        assert count_words(count) == num2words(count)


# -- calls and chats --------------------------------------------------------------------------------------------------
def marked(pair: Pair, words: str) -> str:
    return f"One {pair.ours.video_token} {words}"


@every_family
def test_a_video_in_a_text(family: str, pairs: Mapping[str, Pair]) -> None:
    pair, video = pairs[family], clip(4, SIDE, 2 * SIDE if family in QWEN else SIDE, 5)
    facts = {"total_num_frames": 100, "fps": 12.5, "duration": 8.0, "frames_indices": [3, 27, 51, 90]}
    options = {"do_resize": False, "do_sample_frames": False}
    ours = pair.ours(videos=video, text=marked(pair, "what?"), video_metadata=facts, **options)
    theirs = pair.theirs(
        videos=video,
        text=marked(pair, "what?"),
        video_metadata=[transformers.video_utils.VideoMetadata(**facts)],
        return_tensors="pt",  # its class for InternVL works with no other
        **options,
    )
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], np.asarray(value), rtol=0, atol=1e-6, err_msg=name)
    found = pair.ours(videos=video, text=marked(pair, "x"), video_metadata=facts, return_metadata=True, **options)
    assert asdict(found["video_metadata"][0])["fps"] == 12.5


@every_family
def test_conversations_with_videos(family: str, pairs: Mapping[str, Pair]) -> None:
    """Two turns, and an image beside the videos."""
    pair, image = pairs[family], Image.fromarray(clip(1, SIDE, SIDE, 6)[0])

    def chat() -> list[dict[str, Any]]:
        return [
            {
                "role": "user",
                "content": [
                    {"type": "video", "video": clip(4, SIDE, SIDE, 7)},
                    {"type": "image", "image": image},
                    {"type": "text", "text": "What happens?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "And here?"}, {"type": "video", "video": clip(4, SIDE, SIDE, 8)}],
            },
        ]

    keywords = {"do_resize": False, "do_sample_frames": False}
    options = {"tokenize": True, "return_dict": True, "return_tensors": "np", "add_generation_prompt": True}
    rendered = pair.theirs.apply_chat_template(chat(), add_generation_prompt=True)
    assert pair.ours.apply_chat_template(chat(), add_generation_prompt=True) == rendered
    ours = pair.ours.apply_chat_template(chat(), processor_kwargs=keywords, **options)
    theirs = pair.theirs.apply_chat_template(chat(), processor_kwargs=keywords, **{**options, "return_tensors": "pt"})
    if family == "smolvlm":  # its processor loses the image's tiles, which belong between the videos' frames
        tiles = pair.theirs.image_processor([[image]], do_resize=False, return_tensors="np")
        for name in ("pixel_values", "pixel_attention_mask"):
            theirs[name] = np.concatenate([theirs[name][0], tiles[name][0], theirs[name][1]])[None]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], np.asarray(value), rtol=0, atol=1e-6, err_msg=name)


# -- models -----------------------------------------------------------------------------------------------------------
@cache
def original(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()


def asked(*parts: Any) -> dict[str, Any]:
    kinds = {str: "text", np.ndarray: "video", Image.Image: "image"}
    return {"role": "user", "content": [{"type": kinds[type(part)], kinds[type(part)]: part} for part in parts]}


def prepared(processor: Any, chats: Any) -> Mapping[str, np.ndarray]:
    found: Mapping[str, np.ndarray] = processor.apply_chat_template(
        chats,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        processor_kwargs={"padding": True, "padding_side": "left", "do_sample_frames": False},
    )
    return found


def expected(model: Any, features: Mapping[str, np.ndarray]) -> list[list[int]]:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in features.items()}
    if "second_per_grid_ts" in tensors:
        tensors["second_per_grid_ts"] = tensors["second_per_grid_ts"].float()  # as transformers' pipelines have it
    with torch.inference_mode():
        return model.generate(**tensors, **GREEDY).tolist()  # type: ignore[no-any-return]


@every_family
def test_models_see_what_the_original_sees(family: str, models: Models, bundles: Bundles) -> None:
    """A video, two with an image between, none, and an image; alone and in a left-padded batch. Frames are in order."""
    folder = bundles(family, HEAD, PRECISIONS)
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    image = onnxpipe.load_image(encoded("odd")[0])
    first, second = clip(4, 40, 60, 9), clip(4, 50, 40, 10)
    chats = [[asked("What happens?", first)], [asked(first, image, second, "What differs?")], [asked("Hello")],
             [asked("What is it?", image)]]  # fmt: skip
    for chat in chats:
        features = prepared(processor, chat)
        assert model.generate(**features, **GREEDY).tolist() == expected(original(models(family, HEAD)), features)
    together = prepared(processor, chats)
    found = model.generate(**together, **GREEDY)
    assert found.tolist() == expected(original(models(family, HEAD)), together)
    length = together["input_ids"].shape[1]
    for row, chat in enumerate(chats):
        alone = prepared(processor, chat)
        new = model.generate(**alone, **GREEDY)[0, alone["input_ids"].shape[1] :]
        assert found[row, length : length + len(new)].tolist() == new.tolist()
    backwards = prepared(processor, [asked("What happens?", first[::-1])])
    logits = [model(**each).logits for each in (prepared(processor, chats[0]), backwards)]
    assert not np.array_equal(*logits)


@every_family
def test_the_pipelines_take_videos(family: str, bundles: Bundles, tmp_path: Path) -> None:
    """In a chat, beside a text, as a question, streamed, and from a file, whose frames are chosen."""
    folder = bundles(family, HEAD, PRECISIONS)
    pipe: Any = onnxpipe.pipeline("image-text-to-text", folder, device="cpu")
    video, keywords = clip(4, 40, 60, 9), {"do_sample_frames": False}
    chat = [asked(video, "What happens?")]
    features = prepared(pipe.processor, chat)
    new = pipe.model.generate(**features, **GREEDY)[0, features["input_ids"].shape[1] :]
    text = pipe.processor.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    answer = pipe(text=chat, return_full_text=False, processor_kwargs=keywords, **GREEDY)
    assert answer[0]["generated_text"] == text
    runs = pipe.model.vision.runs
    question = pipe(videos=video, question="What happens?", processor_kwargs=keywords, **GREEDY)
    assert question == [{"input_text": "What happens?", "generated_text": text}]
    assert "".join(pipe.stream(videos=video, question="What happens?", processor_kwargs=keywords, **GREEDY)) == text
    assert pipe.model.vision.runs == runs, "a video that was seen is not encoded again"

    path = tmp_path / "clip.mp4"
    pixels = write_video(path, 30, 40, 60)
    chosen = pipe.processor.video_processor(
        str(path), num_frames=4, fps=None if family != "smolvlm" else 1.0, do_sample_frames=True, return_metadata=True
    )["video_metadata"][0]
    assert (chosen.total_num_frames, chosen.fps, chosen.width, chosen.height) == (30, 10.0, 60, 40)
    assert chosen.duration == pytest.approx(3.0)
    frames = pixels[list(chosen.frames_indices)]
    facts = {name: value for name, value in asdict(chosen).items() if name != "video_backend"}
    same_frames = pipe(
        text=[asked(frames, "What happens?")],
        return_full_text=False,
        processor_kwargs={**keywords, "video_metadata": facts},
        **GREEDY,
    )
    for source in (str(path), path.read_bytes()):
        for named in (
            {"text": [{"role": "user", "content": [{"type": "video", "video": source},
                                                   {"type": "text", "text": "What happens?"}]}]},
            {"videos": source, "question": "What happens?"},
        ):  # fmt: skip
            found = pipe(**named, return_full_text=False, num_frames=4, **GREEDY)
            assert found[0]["generated_text"] == same_frames[0]["generated_text"]

    anything: Any = onnxpipe.pipeline("any-to-any", folder, device="cpu")
    marker = pipe.processor.video_token
    plain = anything(f"{marker} What?", videos=video, processor_kwargs=keywords, return_full_text=False, **GREEDY)
    again = pipe(text=f"{marker} What?", videos=video, processor_kwargs=keywords, return_full_text=False, **GREEDY)
    assert plain == again


def write_video(path: Path, count: int, height: int, width: int) -> np.ndarray:
    """Write a video of 10 frames a second; return the frames as they are read again."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(count):
            frame = np.full((height, width, 3), number * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("family", QWEN)
def test_positions_of_videos(family: str, models: Models) -> None:
    """Those of the original for 40 rows with an image and a video of several moments, at real times in Qwen2.5-VL."""
    from onnxpipe.bundle import Config
    from onnxpipe.models.vision_language.families import family_of

    model, rng = original(models(family, HEAD)).model, np.random.default_rng(5)
    ours: Any = family_of(Config(model.config.to_dict()))
    image, video = model.config.image_token_id, model.config.video_token_id
    for _ in range(40):
        grids = [
            np.array([1, *(2 * rng.integers(1, 5, 2))]),
            np.array([rng.integers(1, 5), *(2 * rng.integers(1, 4, 2))]),
        ]
        counts = [int(grid.prod() // 4) for grid in grids]
        seconds = float(rng.uniform(0.1, 4))
        moments = [video] * (counts[1] // int(grids[1][0]))
        clips = (
            [token for _ in range(grids[1][0]) for token in (7, *moments)]
            if family == "qwen3_vl"
            else moments * int(grids[1][0])
        )
        row = np.array([*rng.integers(5, 50, rng.integers(1, 5)), *clips, 7, *[image] * counts[0], 8, 9])
        types = np.where(row == image, 1, np.where(row == video, 2, 0))
        timed = {"second_per_grid_ts": torch.tensor([seconds])} if family == "qwen2_5_vl" else {}
        positions, shifts = model.get_rope_index(
            torch.from_numpy(row[None]),
            torch.from_numpy(types[None]),
            torch.from_numpy(grids[0][None]),
            torch.from_numpy(grids[1][None]),
            attention_mask=torch.ones(1, len(row), dtype=torch.int64),
            **timed,
        )
        given = {
            "image_grid_thw": grids[0][None],
            "video_grid_thw": grids[1][None],
            "second_per_grid_ts": np.array([seconds]),
        }
        pieces = [{"image_features": np.zeros((count, 2), np.float32)} for count in counts]
        from onnxpipe.models.vision_language.family import split_encoded

        encoded_row = split_encoded(ours.encoded(pieces, given), [row], [image, video])[0]
        found = ours.positions([row], encoded_row)
        np.testing.assert_array_equal(found.prompts[0], positions[:, 0].numpy())
        assert found.shift[0] == shifts[0, 0]


# -- bad input --------------------------------------------------------------------------------------------------------
def test_what_is_refused(pairs: Mapping[str, Pair], tmp_path: Path) -> None:
    ours, video = pairs["qwen2_vl"].ours, clip(4, SIDE, SIDE)
    marker = ours.video_token
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    text = {"text": f"{marker} x"}
    one, chosen = {"videos": video, **text}, {"videos": video, "do_sample_frames": True, **text}
    for kwargs, error, words in (
        ({"videos": [video, video], **text}, ImageError, "1 .* tokens and 2 videos"),
        ({"videos": video, "text": "x"}, ImageError, "0 .* tokens and 1 videos"),
        (text, ImageError, "1 .* tokens and 0 videos"),
        ({**one, "truncation": True, "max_length": 2}, ImageError, "`video` token count"),
        ({"videos": str(tmp_path / "broken.mp4"), **text}, ImageError, "broken, or not a video"),
        ({"videos": [[clip(1, 8, 8)[0], clip(1, 9, 8)[0]]], **text}, ImageError, "different sizes"),
        ({"videos": [], **text}, ImageError, "the list is empty"),
        ({**chosen, "num_frames": 2, "fps": 1}, ValueError, "exclusive"),
        ({**chosen, "fps": 1}, ValueError, "no video metadata"),
        ({**chosen, "num_frames": 8}, ImageError, "exceeds"),
        ({**one, "video_metadata": [{"total_num_frames": 4}] * 2}, ValueError, "1 videos but 2"),
        ({**one, "video_metadata": {"frames": 4}}, ValueError, "total_num_frames"),
        ({**one, "num_frame": 4}, UnknownArgumentError, "num_frames"),
    ):
        with pytest.raises(error, match=words):
            ours(**kwargs)
    smol = pairs["smolvlm"].ours
    image = Image.fromarray(video[0])
    with pytest.raises(UnsupportedError, match="only with a text"):
        smol(images=[[image]], videos=video, do_sample_frames=False)
    with (
        mock.patch.object(smol.image_processor, "max_image_size", {"longest_edge": SIDE // 2}),
        pytest.raises(UnsupportedError, match="must have one size"),
    ):
        smol(images=image, videos=video, text="<image> <video>", do_sample_frames=False)
    with pytest.raises(UnsupportedError, match="num_frames= and fps= together"):
        smol.video_processor.num_frames = None
        smol.video_processor(video, do_sample_frames=True, fps=1)


def test_a_family_without_videos(tmp_path: Path) -> None:
    chat_processors.save("llava", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    ours: Any = AutoProcessor.from_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match="takes no videos"):
        ours(videos=clip(2, 8, 8), text="x")
    message = {"role": "user", "content": [{"type": "video", "video": "clip.mp4"}]}
    with pytest.raises(UnsupportedError, match="take texts and images"):
        ours.apply_chat_template([message], tokenize=True)


@pytest.mark.parametrize("family", QWEN)
def test_a_marker_that_a_user_typed_claims_no_video(family: str, pairs: Mapping[str, Pair]) -> None:
    ours, video = pairs[family].ours, clip(4, SIDE, SIDE)
    options = {"tokenize": True, "return_dict": True, "do_sample_frames": False}
    found = [
        ours.apply_chat_template([asked(video, words)], **options)["input_ids"]
        for words in (f"Say {ours.video_token}.", "Say it.")
    ]
    counts = [int((ids == ours.video_token_id).sum()) for ids in found]
    assert counts[0] == counts[1] > 0


def test_processors_are_saved_with_their_videos(pairs: Mapping[str, Pair], tmp_path: Path) -> None:
    for family, pair in pairs.items():
        folder = tmp_path / family
        pair.ours.save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps({"model_type": family}))
        again: Any = AutoVideoProcessor.from_pretrained(folder)
        assert again.to_dict() == pair.ours.video_processor.to_dict()
        assert type(again).__name__ == type(pair.theirs.video_processor).__name__
