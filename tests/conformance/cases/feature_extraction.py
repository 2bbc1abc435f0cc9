"""Calls of feature-extraction, as transformers documents FeatureExtractionPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed

HEAD = "base"
TEXTS = ["This is a simple test.", "London", "Sarah Johansson lives in London, near the bridge.", "déjà vu 东京"]
LONG = " ".join(["The bridge was built by Sir John Wolfe Barry."] * 20)
_UNPADDED = "the reference's batches keep the rows of padding; ours do not depend on the neighbours"

CASES = (
    Case("str", HEAD, (TEXTS[0],), core=True),
    Case("list", HEAD, (TEXTS,), core=True),
    Case("list of one", HEAD, (TEXTS[:1],)),
    Case("empty str", HEAD, ("",)),
    Case("return_tensors", HEAD, (TEXTS[0],), {"return_tensors": True}, core=True),
    Case("return_tensors in a list", HEAD, (TEXTS[:2],), {"return_tensors": True}),
    Case("return_tensors at construction", HEAD, (TEXTS[0],), ctor={"return_tensors": True}),
    Case("truncation", HEAD, (LONG,), {"truncation": True}, core=True),
    Case("truncation at construction", HEAD, (LONG,), ctor={"truncation": True}),
    Case("tokenize_kwargs", HEAD, (LONG,), {"tokenize_kwargs": {"truncation": True, "max_length": 9}}),
    Case("tokenize_kwargs at construction", HEAD, (TEXTS[0],), ctor={"tokenize_kwargs": {"add_special_tokens": False}}),
    Case(
        "tokenize_kwargs padded",
        HEAD,
        (TEXTS[1],),
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 6}, "return_tensors": True},
    ),
    Case("truncation twice", HEAD, (TEXTS[0],), {"truncation": True, "tokenize_kwargs": {"truncation": True}}),
    Case("tuple", HEAD, (("one", "two"),)),
    Case("generator", HEAD, (Generator(TEXTS),)),
    Case("dataset", HEAD, (Keyed([{"text": text} for text in TEXTS], "text"),)),
    Case("none", HEAD, (None,), message=False),
    *(
        Case(
            f"batch_size {size}",
            HEAD,
            (TEXTS,),
            {"batch_size": size},
            core=size == 4,
            reference={"batch_size": 1},
            why=_UNPADDED,
        )
        for size in BATCHES
    ),
)
