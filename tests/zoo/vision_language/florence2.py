"""A tiny random Florence-2: a tower of two stages, and the zoo's BART."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from zoo.text import generator_weights
from zoo.text.generators import SEQ2SEQ
from zoo.vision import chat_processors
from zoo.vision_language.models import Family, fill

_TOWER = {
    "depths": [1, 1],
    "patch_size": [7, 3],
    "patch_stride": [4, 2],
    "patch_padding": [3, 1],
    "patch_prenorm": [False, True],
    "embed_dim": [16, 32],
    "num_heads": [2, 4],
    "num_groups": [2, 4],
    "window_size": 4,
    "projection_dim": 64,
    "drop_path_rate": 0.0,
}


def build(folder: Path) -> None:
    """Write the model into `folder`, which exists."""
    import transformers

    text = replace(SEQ2SEQ["bart"], queries=0.8)
    vocabulary = chat_processors.save("florence2", folder)
    ids = {f"{name}_token_id": vocabulary[str(token)] for name, token in text.tokens.items()}
    plain = {name: value for name, value in ids.items() if not name.startswith("forced")}
    language = transformers.BartConfig(vocab_size=max(vocabulary.values()) + 1, **{**text.config, **plain})
    config = transformers.Florence2Config(
        vision_config=_TOWER, text_config=language.to_dict(), image_token_id=vocabulary["<image>"], **plain
    )
    model = transformers.Florence2ForConditionalGeneration(config).eval()
    fill(model, Family("Florence2", _TOWER, lambda ids: {}, projector="image_proj_norm"), "florence2")
    bart = transformers.BartForConditionalGeneration(language).eval()
    gains = generator_weights.Gains(text.words, text.queries, text.mixers, text.feeds)
    generator_weights.fill(bart, gains, "florence2/text", vocabulary, ids)
    model.model.language_model.load_state_dict(bart.model.state_dict())
    model.tie_weights()
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(folder)
