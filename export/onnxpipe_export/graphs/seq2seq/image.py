"""Export models that write about an image: the graph of the encoder, and one graph for every call of the decoder.

VisionEncoderDecoder (ViT with GPT-2, TrOCR, Donut and others) and BLIP. The encoder's graph takes images of one size,
that of the model's files: tables of positions and Swin's windows have it in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from onnxpipe.errors import ExportError
from onnxpipe_export import tracing
from onnxpipe_export.cases import images as image_cases
from onnxpipe_export.cases.common import stacked
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.encoder import max_length
from onnxpipe_export.graphs.graph import Case, Feeds, GraphExport
from onnxpipe_export.graphs.seq2seq.decoder import Seq2SeqDecoderExport
from onnxpipe_export.graphs.seq2seq.decoder_kind import DecoderKind
from onnxpipe_export.graphs.seq2seq.layers import find_layers
from onnxpipe_export.graphs.vision.patches import traceable
from onnxpipe_export.graphs.vision.sizes import whole_size
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport, image_only
from onnxpipe_export.precision import makers

_IMAGES = 6
_LARGE = 512 * 512
"""Images of more pixels are few, and none of them is golden."""
_PATCHES = 40
_SHAPES = ((120, 90), (48, 200), (64, 64), (210, 60), (33, 47), (150, 150))
"""Most patches of a synthetic image for Pix2Struct, and the images' sizes, which leave some of the patches unused."""
_LANGUAGE_MODELS = ("decoder", "text_decoder")
"""Names of the part that writes, in VisionEncoderDecoder and in BLIP."""


def describe(checkpoint: Checkpoint) -> tuple[GraphExport, GraphExport]:
    """Describe the graphs of the encoder and of the decoder.

    Raises:
        ExportError: the decoder's layers are not supported.
    """
    source: ImageSource = PatchSource(checkpoint) if _takes_patches(checkpoint.model) else ImageSource(checkpoint)
    name_ends(checkpoint.model)
    return source.export(), describe_decoder(checkpoint, source)


def name_ends(model: Any) -> None:
    """Let the generation config of a BLIP name the tokens that its own `generate()` starts and ends with."""
    if hasattr(model, "text_decoder"):
        text = model.config.text_config
        ends = {"decoder_start_token_id": text.bos_token_id, "eos_token_id": text.sep_token_id}
        model.generation_config.update(**ends, bos_token_id=text.bos_token_id, pad_token_id=text.pad_token_id)


def describe_decoder(checkpoint: Checkpoint, source: Any) -> Seq2SeqDecoderExport:
    """Describe the graph of the decoder for the states of `source`.

    Raises:
        ExportError: its layers are not supported.
    """
    model = checkpoint.model
    kind = decoder_kind(model)
    layers = find_layers(model, kind)
    if layers is None:
        raise ExportError(
            f"{checkpoint.folder.name}: the decoder {type(kind.decoder(model)).__name__} cannot be exported for "
            f"{checkpoint.task.name}: each of its layers must have one self-attention and one cross-attention"
        )
    longest = max_length(kind.decoder(model))
    return Seq2SeqDecoderExport(checkpoint=checkpoint, layers=layers, source=source, max_length=longest, kind=kind)


def _takes_patches(model: Any) -> bool:
    return str(model.config.model_type) == "pix2struct"


def decoder_kind(model: Any) -> DecoderKind:
    """Tell which kind of decoder a model has."""
    name = next(name for name in _LANGUAGE_MODELS if hasattr(model, name))
    return DecoderKind(takes_media=True, masked=_takes_patches(model), language_model=name)


def run_encoder(model: Any, pixel_values: Any) -> Any:
    """Compute an image's states as the decoder gets them, (batch, places, width)."""
    encoder: Any = getattr(model, "encoder", None) or model.vision_model
    states = encoder(pixel_values=pixel_values)[0]
    projection = getattr(model, "enc_to_dec_proj", None)
    return states if projection is None else projection(states)


@dataclass(frozen=True)
class ImageSource:
    """Images for the encoder, and their states; implements `onnxpipe_export.graphs.seq2seq.decoder.EncoderSource`.

    Attributes:
        checkpoint: the model.
    """

    checkpoint: Checkpoint
    _encoded: dict[Any, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def size(self) -> image_cases.Size:
        """Height and width of the images that the model takes."""
        return whole_size(self.checkpoint)

    def export(self) -> WrappedExport:
        """Describe `encoder_model`: pixel_values float32 (batch, channels, height, width) to last_hidden_state (batch,
        places, width)."""
        model = self.checkpoint.model
        batch = {0: BATCH}
        return WrappedExport(
            checkpoint=self.checkpoint,
            name="encoder_model",
            inputs=("pixel_values",),
            outputs=("last_hidden_state",),
            axes={"pixel_values": batch, "last_hidden_state": batch},
            forward=lambda feeds: {"last_hidden_state": run_encoder(model, feeds["pixel_values"])},
            example=lambda: stacked([self._pixels(number) for number in (60, 61)]),
            make_cases=lambda tokenizer: self._cases(),
            makers=makers.VISION_ENCODER,
            replacements=lambda: traceable(model),
            eager=False,  # `traceable` sees to it, for every part
            user_feeds=image_only,
        )

    def rows(self, tokenizer: Any) -> list[np.ndarray]:
        """Return the pixels of some images, float32 (1, channels, height, width) each."""
        return self._rows

    def encode(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch of images: the states, and a mask of ones. Results are kept."""
        import torch

        key = tuple(map(id, rows))  # they are kept in `_rows`
        if key not in self._encoded:
            with torch.inference_mode(), tracing.quiet():
                states = run_encoder(self.checkpoint.model, torch.from_numpy(np.concatenate(rows)))
            self._encoded[key] = states.float().numpy()
        states = self._encoded[key]
        return states, np.ones(states.shape[:2], np.int64)

    @property
    def _large(self) -> bool:
        return self.size[0] * self.size[1] > _LARGE

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        return [self._pixels(number)["pixel_values"] for number in range(_IMAGES)]

    def _pixels(self, number: int) -> dict[str, np.ndarray]:
        image = image_cases.synthetic_image(number, self.size)
        return {"pixel_values": image_cases.pixels(image, self.checkpoint.preprocessor)[None]}

    def _cases(self) -> list[Case]:
        alone = [{"pixel_values": pixels} for pixels in self._rows[: 3 if self._large else None]]
        cases = [
            Case(feeds, golden=number == 0 and not self._large, calibrates=True) for number, feeds in enumerate(alone)
        ]
        return [*cases, Case(stacked(alone[:2])), *([] if self._large else [Case(stacked(alone[2:5]))])]


@dataclass(frozen=True)
class PatchSource(ImageSource):
    """Images as patches with their places, for Pix2Struct: each image has as many as its shape makes of it."""

    def export(self) -> WrappedExport:
        """Describe `encoder_model`: flattened_patches float32 (batch, patches, 2 + numbers of a patch) and
        attention_mask int64 (batch, patches) to last_hidden_state (batch, patches, width)."""
        encoder = self.checkpoint.model.encoder
        free = {0: BATCH, 1: "sequence_length"}
        names = ("flattened_patches", "attention_mask")
        return WrappedExport(
            checkpoint=self.checkpoint,
            name="encoder_model",
            inputs=names,
            outputs=("last_hidden_state",),
            axes=dict.fromkeys((*names, "last_hidden_state"), free),
            forward=lambda feeds: {"last_hidden_state": encoder(**feeds)[0]},
            example=lambda: stacked(self._patches[:3]),
            make_cases=lambda tokenizer: self._cases(),
            makers=makers.VISION_ENCODER,
            replacements=lambda: traceable(self.checkpoint.model),
            eager=False,  # `traceable` sees to it, for every part
            user_feeds=lambda prepared, tokenizer: prepared,
        )

    def rows(self, tokenizer: Any) -> list[Any]:
        """Return feeds of one image each."""
        return list(self._patches)

    def encode(self, rows: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Run the original's encoder on a batch of images: the states, and the mask of their patches."""
        import torch

        feeds = stacked(rows)
        with torch.inference_mode(), tracing.quiet():
            given = {name: torch.from_numpy(array) for name, array in feeds.items()}
            states = self.checkpoint.model.encoder(**given)[0]
        return states.float().numpy(), feeds["attention_mask"]

    @cached_property
    def _patches(self) -> list[dict[str, np.ndarray]]:
        from onnxpipe.processing.auto import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(str(self.checkpoint.folder), max_patches=_PATCHES, is_vqa=False)
        feeds = [dict(processor(image_cases.synthetic_image(number, size))) for number, size in enumerate(_SHAPES)]
        return [{**one, "attention_mask": one["attention_mask"].astype(np.int64)} for one in feeds]

    def _cases(self) -> list[Case]:
        cases = [Case(feeds, golden=number == 0, calibrates=True) for number, feeds in enumerate(self._patches)]
        return [*cases, Case(stacked(self._patches[:2])), Case(stacked(self._patches[2:5]))]


def image_batches(checkpoint: Checkpoint) -> list[Mapping[str, np.ndarray]]:
    """Make batches of synthetic images for `generate`: each of some alone, then all together."""
    if _takes_patches(checkpoint.model):
        feeds: list[Feeds] = PatchSource(checkpoint).rows(None)[:3]
        return [*feeds, stacked(feeds)]
    source = ImageSource(checkpoint)
    rows: list[Feeds] = [{"pixel_values": pixels} for pixels in source.rows(None)[:3]]
    return [*rows, stacked(rows)]
