"""SAM: encodes an image once, then turns any number of points into masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.engine import Session
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.processing.arrays import to_array
from onnxpipe.processing.model_output import ModelOutput


class SegmentAnything(Model):
    """SAM and SAM 2: the graphs `vision_encoder` and `prompt_encoder_mask_decoder`.

    Args:
        bundle: the folder it came from.
        encoder: the graph that encodes images.
        decoder: the graph that turns prompts into masks.
        precision: of the encoder.
        name_or_path: what the user called it.
    """

    main_input_name = "pixel_values"

    def __init__(self, bundle: Bundle, encoder: Session, decoder: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, encoder, precision, name_or_path)
        self.decoder = decoder

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> SegmentAnything:
        """Load the model of a bundle's two graphs."""
        encoder, precision = opener("vision_encoder")
        decoder, _ = opener("prompt_encoder_mask_decoder")
        return cls(bundle, encoder, decoder, precision, name_or_path)

    def __call__(
        self,
        pixel_values: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        image_embeddings: Mapping[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Predict masks for points.

        Args:
            pixel_values: float32 (images, 3, height, width).
            input_points: float (images, prompts, points, 2), x and y in the processed image.
            input_labels: int (images, prompts, points), 1 inside, 0 outside; all 1 by default.
            image_embeddings: from `get_image_embeddings`, instead of `pixel_values`.
            return_dict: False gives a tuple.

        Returns:
            `ModelOutput`: `iou_scores` (images, prompts, masks), `pred_masks` (images, prompts, masks, h, w), logits.

        Raises:
            ValueError: not exactly one of `pixel_values` and `image_embeddings`, or no points.
        """
        if (pixel_values is None) == (image_embeddings is None):
            raise ValueError("Either pixel_values or image_embeddings must be provided, and not both.")
        if input_points is None:
            raise ValueError("input_points must be provided: an array of shape (images, prompts, points, 2)")
        embeddings = image_embeddings or self.get_image_embeddings(pixel_values)
        outputs = ModelOutput(self.decode_masks(embeddings, input_points, input_labels))
        return outputs if return_dict else outputs.to_tuple()

    def get_image_embeddings(self, pixel_values: Any) -> dict[str, Array]:
        """Encode images, float32 (images, 3, height, width): a few arrays by name, for `decode_masks`."""
        return self.session.run({"pixel_values": to_array(pixel_values)})

    def decode_masks(
        self, embeddings: Mapping[str, Any], input_points: Any, input_labels: Any = None
    ) -> dict[str, Array]:
        """Predict masks for points from the embeddings of images; arguments and results as those of the call."""
        points = np.asarray(to_array(input_points), np.float32)
        labels = np.ones(points.shape[:-1], np.int64) if input_labels is None else to_array(input_labels)
        feeds = {name: to_array(value) for name, value in embeddings.items() if name in self.decoder.inputs}
        feeds |= {"input_points": points, "input_labels": labels}
        if "input_boxes" in self.decoder.inputs:  # graphs of other exporters may take boxes as well: pass none
            feeds["input_boxes"] = np.zeros((points.shape[0], 0, 4), np.float32)
        return self.decoder.run(feeds)
