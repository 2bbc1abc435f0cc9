"""GIT: the features of an image stand before the text; they see each other, and all of the text sees them.

Three graphs, as of other vision-language models. The decoder adds positions to the embeddings of text and normalises
them; features it takes as they are. An input says which is which: `token_type_ids` (batch, length), 1 for
features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep

from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs.causal_lm.graph import ExtraInput
from onnxpipe_export.graphs.graph import Feeds
from onnxpipe_export.graphs.vision_language.family import Family
from onnxpipe_export.graphs.vision_language.one_size import describe_encoder, square_of, synthetic_feeds
from onnxpipe_export.graphs.vision_language.text_models import biases, within_images


def describe(checkpoint: Checkpoint) -> Family:
    """Describe the family of a GIT checkpoint."""
    size = square_of(checkpoint)
    return Family(
        describe_encoder(checkpoint, size, image_features),
        lambda number: synthetic_feeds(checkpoint, size, number),
        features=_features,
        text=text_model,
        extras=(ExtraInput("token_type_ids", dtype="int64", value=0),),
    )


def image_features(model: Any, pixels: Any) -> Any:
    """Compute the features of images, (images, patches + 1, width)."""
    return model.git.visual_projection(model.git.image_encoder(pixels).last_hidden_state)


def _features(model: Any, images: Feeds) -> np.ndarray:
    with torch.inference_mode():
        found = image_features(model, torch.from_numpy(images["pixel_values"]))
    return np.asarray(found.float().flatten(0, 1).numpy())


def text_model(model: Any) -> Any:
    """Make the causal language model inside of a GIT, which shares its weights; transformers has none of its own."""
    base = next(each for each in type(model).__mro__[1:] if each.__name__.endswith("PreTrainedModel"))

    class TextModel(base, GenerationMixin):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            super().__init__(model.config)
            self.git, self.output = model.git, model.output
            self.generation_config = model.generation_config

        def get_decoder(self) -> Any:
            return self.git.encoder

        def get_input_embeddings(self) -> Any:
            return self.git.embeddings.word_embeddings

        def get_output_embeddings(self) -> Any:
            return self.output

        def forward(
            self, input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None,
            past_key_values: Any = None, inputs_embeds: Any = None, logits_to_keep: Any = 0, token_type_ids: Any = None,
            **others: Any,
        ) -> Any:  # fmt: skip
            words = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
            types = words.new_zeros(words.shape[:2], dtype=torch.int64) if token_type_ids is None else token_type_ids
            before = 0 if past_key_values is None else past_key_values.get_seq_length()
            if position_ids is None:
                position_ids = torch.arange(words.shape[1])[None] + before
            if attention_mask is None:
                attention_mask = torch.ones(words.shape[0], words.shape[1] + before, dtype=torch.int64)
            table = self.git.embeddings
            text = table.LayerNorm(words + table.position_embeddings(position_ids))
            found = self.git.encoder(
                torch.where(types[:, :, None] == 1, words, text),
                attention_mask=biases(self.config, attention_mask, within_images(types)),
                past_key_values=past_key_values,
            )
            logits = self.output(slice_logits_to_keep(found[0], logits_to_keep))
            return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)

    return TextModel().eval()
