"""Switch Transformers' experts, run on every token, mix what the original mixes of the tokens that chose them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from onnxpipe_export.graphs.seq2seq.experts import traceable_experts  # noqa: E402
from tolerances import MODEL  # noqa: E402


def test_every_expert_gives_what_chosen_ones_give() -> None:
    torch.manual_seed(0)
    config = transformers.SwitchTransformersConfig(
        vocab_size=50,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        num_experts=4,
        expert_capacity=3,
        num_sparse_encoder_layers=1,
    )
    model = transformers.SwitchTransformersEncoderModel(config).eval()
    ids = torch.randint(3, 50, (2, 17))  # more tokens than the experts have room for
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
        with traceable_experts(model):
            found = model(input_ids=ids).last_hidden_state
    assert sum(type(each).__name__ == "SwitchTransformersExperts" for each in model.modules()) > 0
    torch.testing.assert_close(found, expected, atol=MODEL, rtol=MODEL)
