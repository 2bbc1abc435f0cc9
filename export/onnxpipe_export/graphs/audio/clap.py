"""Models of sounds and words in one space (CLAP): a graph for either side.

`audio_model` gives `audio_embeds` from the spectrogram of ten seconds: input_features float32 (batch, 1, 1001, 64). A
model with fusion sees four, input_features (batch, 4, 1001, 64): a longer sound squeezed to ten seconds and three cuts
of it, or a short one four times; is_longer bool (batch, 1) tells which. `text_model` gives `text_embeds` with the
number that their cosine is multiplied with. Embeddings have length 1, as `get_audio_features` gives them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from onnxpipe_export import tracing
from onnxpipe_export.cases import audio as audio_cases
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs import encoder
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.vision.dual_encoder import text_graph
from onnxpipe_export.graphs.vision.windows import forgetful
from onnxpipe_export.graphs.wrapped import BATCH, WrappedGraph
from onnxpipe_export.precision import makers

_SECONDS = (3.0, 10.0, 0.8, 6.1, 7.3, 1.7)
_LONG = (12.3, 15.7)


def describe(checkpoint: Checkpoint) -> list[WrappedGraph]:
    """The graphs `audio_model` and `text_model`.

    Raises:
        ExportError: the checkpoint has no feature extractor.
    """
    model = checkpoint.model
    scale = {"logit_scale": model.logit_scale_a.exp().item(), "logit_bias": 0.0}
    return [_audio(checkpoint), text_graph(checkpoint, encoder.max_length(model.text_model), scale)]


def _audio(checkpoint: Checkpoint) -> WrappedGraph:
    model = checkpoint.model
    extractor = audio_cases.load_extractor(checkpoint.folder)
    fused = bool(checkpoint.config.audio_config.enable_fusion)
    inputs = ("input_features", "is_longer") if fused else ("input_features",)

    def embeds(given: Any) -> dict[str, Any]:
        with forgetful(model):
            return {"audio_embeds": model.get_audio_features(**given).pooler_output}

    def feeds(*sounds: tuple[int, float]) -> dict[str, np.ndarray]:
        return _feeds(extractor, inputs, sounds)

    @functools.cache  # a spectrogram of ten seconds takes longer than all that the graph does with it
    def cases() -> list[Case]:
        return [*_cases(feeds), *_users_cases(checkpoint, extractor, inputs)]

    return WrappedGraph(
        checkpoint,
        "audio_model",
        inputs,
        ("audio_embeds",),
        {name: {0: BATCH} for name in (*inputs, "audio_embeds")},
        embeds,
        lambda: feeds((60, 2.0), (61, _LONG[0] if fused else 4.0), (62, 10.0)),
        lambda tokenizer: cases(),
        makers.SOUNDS,
        replacements=lambda: _fused(model) if fused else contextlib.nullcontext(),
    )


def _feeds(extractor: Any, inputs: Sequence[str], sounds: Sequence[tuple[int, float]]) -> dict[str, np.ndarray]:
    """Made sounds, (number, seconds) each, as the graph takes them."""
    rate = extractor.sampling_rate
    made = [audio_cases.sound(number, int(seconds * rate), rate) for number, seconds in sounds]
    return _prepared(extractor, inputs, made)


def _prepared(extractor: Any, inputs: Sequence[str], sounds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each sound by itself: of several short ones together the extractor calls one longer, at random."""
    rows = [audio_cases.prepared(extractor, [sound], inputs) for sound in sounds]
    return audio_cases.stacked(rows)


def _cases(feeds: Any) -> list[Case]:
    """Sounds alone, shorter and longer than ten seconds, and together; short ones that are not called longer too."""
    alone = [Case(feeds((n, length)), golden=n == 0, calibrates=True) for n, length in enumerate(_SECONDS)]
    longer = [Case(feeds((10 + number, length)), calibrates=True) for number, length in enumerate(_LONG)]
    together = [feeds((20, 2.0), (21, 5.5), (22, _LONG[0])), feeds((23, 9.9), (24, 1.2))]
    plain = [Case(_called(case.feeds, longer=False)) for case in alone[:2] if "is_longer" in case.feeds]
    mixed = [Case(_called(one, longer=True, last=False)) for one in together if "is_longer" in one]
    return [*alone, *longer, *(Case(one) for one in together), *plain, *mixed]


def _called(feeds: Feeds, *, longer: bool, last: bool | None = None) -> dict[str, np.ndarray]:
    """The same sounds with all of them called longer, or none; the last one otherwise if told."""
    given = np.full_like(feeds["is_longer"], longer)
    if last is not None:
        given[-1] = last
    return {**feeds, "is_longer": given}


def _users_cases(checkpoint: Checkpoint, extractor: Any, inputs: Sequence[str]) -> list[Case]:
    """The user's own recordings, one by one."""
    folder = checkpoint.calibration
    if folder is None:
        return []
    sounds = audio_cases.users_sounds(folder, extractor.sampling_rate)
    return [Case(_prepared(extractor, inputs, [sound]), calibrates=True) for sound in sounds]


@contextlib.contextmanager
def _fused(model: Any) -> Iterator[None]:
    """Every sound is seen both ways and the one that is its own is taken: the original picks the longer ones out."""
    tower = model.audio_model.audio_encoder
    known: dict[str, Any] = {}

    def noting(forward: Any, input_features: Any, is_longer: Any = None, **kwargs: Any) -> Any:
        known["longer"] = is_longer
        return forward(input_features, is_longer=is_longer, **kwargs)

    with (
        tracing.replaced(tower, "forward", partial(noting, tower.forward)),
        tracing.replaced(tower.patch_embed, "forward", partial(_both_ways, tower.patch_embed, known)),
    ):
        yield


def _both_ways(patches: Any, known: dict[str, Any], hidden_states: Any, is_longer_idx: Any = None) -> Any:
    """The forward of a ClapAudioPatchEmbed with fusion.

    Args:
        patches: the module.
        known: `longer`: bool (batch, 1).
        hidden_states: (batch, 4, height, width): the whole sound and three cuts.
        is_longer_idx: what the original picks the rows with.
    """
    import torch

    whole = patches.proj(hidden_states[:, :1])
    cuts = patches.mel_conv2d(hidden_states[:, 1:].flatten(0, 1)[:, None])
    cuts = cuts.unflatten(0, (-1, hidden_states.shape[1] - 1)).permute(0, 2, 3, 1, 4).flatten(3)
    cuts = torch.nn.functional.pad(cuts, (0, whole.shape[-1] - cuts.shape[-1]))
    longer = known["longer"].reshape(-1, 1, 1, 1)
    chosen = torch.where(longer, patches.fusion_model(whole, cuts), whole)
    return patches.norm(chosen.flatten(2).transpose(1, 2) if patches.flatten else chosen)
