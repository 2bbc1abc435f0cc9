"""The processors of vision-language models, in the files of real checkpoints: tokenizer, images, markers, template.

Sources: the files of llava-1.5-7b-hf, llava-v1.6-mistral-7b-hf, llava-onevision-qwen2-0.5b-ov-hf, Idefics3-8B-Llama3,
SmolVLM-256M-Instruct, Qwen2-VL-2B-Instruct, Qwen2.5-VL-3B-Instruct, Qwen3-VL-2B-Instruct, InternVL3-1B-hf,
gemma-3-4b-it, paligemma-3b-pt-224, Florence-2-base (florence-community), with smaller sizes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.text import generator_tokenizers

SIDE, PATCH = 32, 8
"""The side of an image or a tile, and of a patch, in pixels."""

_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_SQUARE = {"height": SIDE, "width": SIDE}
_GRIDS = [[SIDE * rows, SIDE * columns] for rows in (1, 2, 3) for columns in (1, 2, 3) if rows * columns > 1]

_LLAVA = """\
{%- for message in messages %}
{{- message['role'] | upper + ': ' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}
{%- for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{%- endfor %}
{%- for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{%- endfor %}
{%- endif %}
{{- ' ' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{%- endif %}"""
_IDEFICS = """\
<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}\
{% if message['content'] is not string and message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}\
{% endif %}{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}\
{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}{% endif %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


def _chatml(image: str, video: str) -> str:
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}"
        + image
        + "{% elif part['type'] == 'video' %}"
        + video
        + "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


_QWEN = _chatml("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
_GEMMA = """\
{{ bos_token }}{%- for message in messages -%}
{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}
{%- if message['content'] is string -%}{{ message['content'] | trim }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{ '<start_of_image>' }}
{%- elif part['type'] == 'text' -%}{{ part['text'] | trim }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""


@dataclass(frozen=True)
class ChatProcessor:
    """The files of a processor.

    Attributes:
        text: the generator (`zoo.text.generators`) whose tokenizer it has.
        tokens: special tokens that the tokenizer gets besides.
        images: preprocessor_config.json.
        videos: video_preprocessor_config.json; empty for none.
        settings: processor_config.json.
        roles: special tokens by role, in tokenizer_config.json.
        template: the chat template; None for a model without one.
    """

    text: str
    tokens: tuple[str, ...]
    images: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    template: str | None = _LLAVA
    videos: Mapping[str, Any] = field(default_factory=dict)


_TAGS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
_QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_PIXELS = {"shortest_edge": 4 * SIDE * SIDE // 4, "longest_edge": 12 * SIDE * SIDE}


def _tiles(name: str) -> ChatProcessor:
    images = {
        "image_processor_type": f"{name}ImageProcessor", "size": {"longest_edge": 3 * SIDE},
        "max_image_size": {"longest_edge": SIDE}, "do_image_splitting": True, **_HALF,
    }  # fmt: skip
    tokens = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *_TAGS)
    settings = {"processor_class": f"{name}Processor", "image_seq_len": 4}
    edges = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    sampling = {"video_sampling": {"fps": 1, "max_frames": 6, "video_size": {"longest_edge": 2 * SIDE}}}
    videos = (
        {"video_processor_type": f"{name}VideoProcessor", **edges, **sampling, **_HALF} if name == "SmolVLM" else {}
    )
    return ChatProcessor("qwen2", tokens, images, settings, template=_IDEFICS, videos=videos)


def _qwen(name: str, text: str, patch: int) -> ChatProcessor:
    images = {
        "image_processor_type": "Qwen2VLImageProcessor", "size": _PIXELS, "patch_size": patch, "merge_size": 2,
        "temporal_patch_size": 2, **_HALF,
    }  # fmt: skip
    kind, frames = ("Qwen3VL", 8) if name == "Qwen3VL" else ("Qwen2VL", 1)
    videos = {
        **images, "video_processor_type": f"{kind}VideoProcessor", "min_frames": 2, "max_frames": 8,
        "size": {name: frames * pixels for name, pixels in _PIXELS.items()},
    }  # fmt: skip
    del videos["image_processor_type"]
    settings = {"processor_class": f"{name}Processor"}
    return ChatProcessor(text, _QWEN_TOKENS, images, settings, template=_QWEN, videos=videos)


PROCESSORS: Mapping[str, ChatProcessor] = {
    "llava": ChatProcessor(
        "llama",
        ("<image>",),
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": SIDE}, "crop_size": _SQUARE, **_HALF},
        {
            "processor_class": "LlavaProcessor", "image_token": "<image>", "patch_size": PATCH,
            "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
        },
    ),
    "llava_next": ChatProcessor(
        "mistral",
        ("<image>", "<pad>"),
        {
            "image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": SIDE}, "crop_size": _SQUARE,
            "image_grid_pinpoints": _GRIDS, **_HALF,
        },
        {
            "processor_class": "LlavaNextProcessor", "image_token": "<image>", "patch_size": PATCH,
            "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default",
        },
    ),
    "llava_onevision": ChatProcessor(
        "qwen2",
        ("<image>", "<video>"),
        {
            "image_processor_type": "LlavaOnevisionImageProcessor", "size": _SQUARE, "image_grid_pinpoints": _GRIDS,
            **_HALF,
        },
        {
            "processor_class": "LlavaOnevisionProcessor", "image_token": "<image>", "video_token": "<video>",
            "num_image_tokens": 16, "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_3",
        },
        template=_chatml("<image>\n", "<video>\n"),
        videos={"video_processor_type": "LlavaOnevisionVideoProcessor", "size": _SQUARE, **_HALF},
    ),
    "idefics3": _tiles("Idefics3"),
    "smolvlm": _tiles("SmolVLM"),
    "qwen2_vl": _qwen("Qwen2VL", "qwen2", PATCH),
    "qwen2_5_vl": _qwen("Qwen2_5_VL", "qwen2", PATCH),
    "qwen3_vl": _qwen("Qwen3VL", "qwen3", PATCH),
    "internvl": ChatProcessor(
        "qwen2",
        ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        {
            "image_processor_type": "GotOcr2ImageProcessor", "size": _SQUARE, "crop_to_patches": False,
            "min_patches": 1, "max_patches": 6, **_HALF,
        },
        {"processor_class": "InternVLProcessor", "image_seq_length": 4},
        {
            "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        _chatml("<IMG_CONTEXT>\n", "<video>\n"),
        {"video_processor_type": "InternVLVideoProcessor", "size": _SQUARE, **_HALF},
    ),
    "gemma3": ChatProcessor(
        "gemma3",
        ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        {"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE, "image_seq_length": 4, **_HALF},
        {"processor_class": "Gemma3Processor", "image_seq_length": 4},
        {
            "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>",
        },
        _GEMMA,
    ),
    "paligemma": ChatProcessor(
        "gemma2",
        ("<image>",),
        {
            "image_processor_type": "SiglipImageProcessor", "size": _SQUARE, "image_seq_length": 16,
            "do_convert_rgb": None, **_HALF,
        },
        {"processor_class": "PaliGemmaProcessor"},
        template=None,
    ),
    "florence2": ChatProcessor(
        "bart",
        ("<image>", *(f"<loc_{place}>" for place in range(1000))),
        {
            "image_processor_type": "CLIPImageProcessor", "size": _SQUARE, "do_center_crop": False,
            "image_seq_length": 17, **_HALF,
        },
        {"processor_class": "Florence2Processor"},
        {"image_token": "<image>"},
        template=None,
    ),
}  # fmt: skip


def save(family: str, folder: Path) -> dict[str, int]:
    """Write the processor of `family` into `folder`; return the vocabulary of its tokenizer."""
    from tokenizers import AddedToken, Tokenizer

    spec = PROCESSORS[family]
    generator_tokenizers.save(spec.text, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in spec.tokens])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config.pop("chat_template", None)
    config.pop("added_tokens_decoder", None)
    pad = config.get("pad_token") or ("<pad>" if "<pad>" in spec.tokens else config.get("eos_token"))
    more = {"extra_special_tokens": dict(spec.roles)} if spec.roles else {}
    _write(folder / "tokenizer_config.json", {**config, "pad_token": pad, "model_max_length": 4096, **more})
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    if spec.template is not None:
        (folder / "chat_template.jinja").write_text(spec.template, encoding="utf-8")
    _write(folder / "preprocessor_config.json", spec.images)
    _write(folder / "processor_config.json", spec.settings)
    if spec.videos:
        _write(folder / "video_preprocessor_config.json", spec.videos)
    return dict(tokenizer.get_vocab(with_added_tokens=True))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
