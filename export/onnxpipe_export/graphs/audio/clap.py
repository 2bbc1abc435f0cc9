"""Export dual encoders of audio and text (CLAP): a graph for either side.

`audio_model` computes `audio_embeds` from the spectrogram of ten seconds: input_features float32 (batch, 1, 1001, 64).
A model with fusion takes four, input_features (batch, 4, 1001, 64): a longer recording squeezed to ten seconds and
three cuts of it, or a short one four times; is_longer bool (batch, 1) says which. `text_model` computes `text_embeds`
with the factor of their cosine. Embeddings have length 1, as `get_audio_features` returns them.
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
from onnxpipe_export.cases.common import stacked
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs import encoder
from onnxpipe_export.graphs.graph import Case, Feeds
from onnxpipe_export.graphs.vision.dual_encoder import text_graph
from onnxpipe_export.graphs.vision.windows import forgetful
from onnxpipe_export.graphs.wrapped import BATCH, WrappedExport
from onnxpipe_export.precision import makers

_SECONDS = (3.0, 10.0, 0.8, 6.1, 7.3, 1.7)
_LONG = (12.3, 15.7)


def describe(checkpoint: Checkpoint) -> list[WrappedExport]:
    """Describe the graphs `audio_model` and `text_model`.

    Raises:
        ExportError: the checkpoint has no feature extractor.
    """
    model = checkpoint.model
    scale = {"logit_scale": model.logit_scale_a.exp().item(), "logit_bias": 0.0}
    return [_audio(checkpoint), text_graph(checkpoint, encoder.max_length(model.text_model), scale)]


def _audio(checkpoint: Checkpoint) -> WrappedExport:
    model = checkpoint.model
    extractor = audio_cases.load_extractor(checkpoint.folder)
    fused = bool(checkpoint.config.audio_config.enable_fusion)
    inputs = ("input_features", "is_longer") if fused else ("input_features",)

    def embeds(tensors: Any) -> dict[str, Any]:
        with forgetful(model):
            return {"audio_embeds": model.get_audio_features(**tensors).pooler_output}

    def feeds(*recordings: tuple[int, float]) -> dict[str, np.ndarray]:
        return _feeds(extractor, inputs, recordings)

    @functools.cache  # a spectrogram of ten seconds takes longer to compute than the graph to run
    def cases() -> list[Case]:
        return [*_cases(feeds), *_user_cases(checkpoint, extractor, inputs)]

    return WrappedExport(
        checkpoint,
        "audio_model",
        inputs,
        ("audio_embeds",),
        {name: {0: BATCH} for name in (*inputs, "audio_embeds")},
        embeds,
        lambda: feeds((60, 2.0), (61, _LONG[0] if fused else 4.0), (62, 10.0)),
        lambda tokenizer: cases(),
        makers.SPECTROGRAM,
        replacements=lambda: _fused(model) if fused else contextlib.nullcontext(),
    )


def _feeds(extractor: Any, inputs: Sequence[str], recordings: Sequence[tuple[int, float]]) -> dict[str, np.ndarray]:
    """Make feeds of synthetic recordings, (number, seconds) each."""
    rate = extractor.sampling_rate
    samples = [audio_cases.synthetic_audio(number, int(seconds * rate), rate) for number, seconds in recordings]
    return _prepared(extractor, inputs, samples)


def _prepared(extractor: Any, inputs: Sequence[str], recordings: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Prepare each recording by itself: of several short ones together the extractor marks one as longer, at random."""
    return stacked([audio_cases.extract_features(extractor, [recording], inputs) for recording in recordings])


def _cases(feeds: Any) -> list[Case]:
    """Make cases of recordings alone, shorter and longer than ten seconds, and together, with either is_longer."""
    alone = [Case(feeds((n, length)), golden=n == 0, calibrates=True) for n, length in enumerate(_SECONDS)]
    longer = [Case(feeds((10 + number, length)), calibrates=True) for number, length in enumerate(_LONG)]
    together = [feeds((20, 2.0), (21, 5.5), (22, _LONG[0])), feeds((23, 9.9), (24, 1.2))]
    plain = [Case(_marked(case.feeds, longer=False)) for case in alone[:2] if "is_longer" in case.feeds]
    mixed = [Case(_marked(one, longer=True, last=False)) for one in together if "is_longer" in one]
    return [*alone, *longer, *(Case(one) for one in together), *plain, *mixed]


def _marked(feeds: Feeds, *, longer: bool, last: bool | None = None) -> dict[str, np.ndarray]:
    """Set is_longer of all recordings to `longer`, and of the last one to `last` if that is not None."""
    flags = np.full_like(feeds["is_longer"], longer)
    if last is not None:
        flags[-1] = last
    return {**feeds, "is_longer": flags}


def _user_cases(checkpoint: Checkpoint, extractor: Any, inputs: Sequence[str]) -> list[Case]:
    """Make a case of each of the user's own recordings."""
    folder = checkpoint.calibration
    if folder is None:
        return []
    recordings = audio_cases.user_audio(folder, extractor.sampling_rate)
    return [Case(_prepared(extractor, inputs, [recording]), calibrates=True) for recording in recordings]


@contextlib.contextmanager
def _fused(model: Any) -> Iterator[None]:
    """Encode every recording both ways and select by is_longer; the original picks the longer ones out of the batch."""
    tower = model.audio_model.audio_encoder
    known: dict[str, Any] = {}

    def noting(forward: Any, input_features: Any, is_longer: Any = None, **kwargs: Any) -> Any:
        known["longer"] = is_longer
        return forward(input_features, is_longer=is_longer, **kwargs)

    with (
        tracing.replaced(tower, "forward", partial(noting, tower.forward)),
        tracing.replaced(tower.patch_embed, "forward", partial(fuse_whole_and_cuts, tower.patch_embed, known)),
    ):
        yield


def fuse_whole_and_cuts(patches: Any, known: dict[str, Any], hidden_states: Any, is_longer_idx: Any = None) -> Any:
    """Compute the forward of a ClapAudioPatchEmbed with fusion.

    Args:
        patches: the module.
        known: `longer`: bool (batch, 1).
        hidden_states: (batch, 4, height, width): the whole recording and three cuts.
        is_longer_idx: rows that the original fuses; not used.
    """
    import torch

    whole = patches.proj(hidden_states[:, :1])
    cuts = patches.mel_conv2d(hidden_states[:, 1:].flatten(0, 1)[:, None])
    cuts = cuts.unflatten(0, (-1, hidden_states.shape[1] - 1)).permute(0, 2, 3, 1, 4).flatten(3)
    cuts = torch.nn.functional.pad(cuts, (0, whole.shape[-1] - cuts.shape[-1]))
    longer = known["longer"].reshape(-1, 1, 1, 1)
    embedded = torch.where(longer, patches.fusion_model(whole, cuts), whole)
    return patches.norm(embedded.flatten(2).transpose(1, 2) if patches.flatten else embedded)
