"""Calls of fill-mask, as transformers documents FillMaskPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed, case_of

HEAD = "mlm"
TEXTS = ["Paris is the <> of France.", "My name is <>", "<> lives in London, near the old bridge.", "the <>"]
TWO = "The <> of Germany is <>."
LONG = " ".join(["The bridge was built by Sir John Wolfe Barry."] * 20)

_case = case_of(HEAD)


CASES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("tuple", tuple(TEXTS[:1])),
    _case("list in a list", [TEXTS[:2]]),
    _case("two masks", TWO, core=True),
    _case("two masks in a list", [TWO, TEXTS[0]]),
    _case("two masks, list of one", [TWO]),
    *(_case(f"top_k {k}", TEXTS[0], top_k=k, core=k == 2) for k in (1, 2, 12)),
    _case("top_k, two masks", TWO, top_k=1),
    Case("top_k at construction", HEAD, (TEXTS[0],), ctor={"top_k": 3}),
    Case("top_k at both", HEAD, (TEXTS[0],), {"top_k": 2}, ctor={"top_k": 3}),
    _case("targets", TEXTS[0], targets=["capital", "name"], core=True),
    _case("targets, one str", TEXTS[0], targets="city"),
    _case("targets, twice the same", TEXTS[0], targets=["the", "the", "city"]),
    _case("targets, unknown", TEXTS[0], targets=["zzqx", "capital"]),
    _case("targets, pieces", TEXTS[0], targets=["Johansson", "rainforest", "London"]),
    _case("targets, top_k", TEXTS[0], targets=["the", "city", "of", "and"], top_k=2),
    _case("targets, list", TEXTS, targets=["the", "city"]),
    _case("targets, two masks", TWO, targets=["the", "city", "of"]),
    Case("targets at construction", HEAD, (TEXTS[0],), ctor={"targets": ["the", "city"]}),
    _case("targets with a space", TEXTS[0], targets=[" capital", "▁capital", "Ġcapital"]),
    _case("targets, empty list", TEXTS[0], targets=[]),
    _case("targets, empty str", TEXTS[0], targets=[""]),
    _case("tokenizer_kwargs", f"{TEXTS[0]} {LONG}", tokenizer_kwargs={"truncation": True}, core=True),
    _case("tokenizer_kwargs, no special tokens", TEXTS[0], tokenizer_kwargs={"add_special_tokens": False}),
    Case(
        "tokenizer_kwargs at construction",
        HEAD,
        (f"{TEXTS[0]} {LONG}",),
        ctor={"tokenizer_kwargs": {"truncation": True}},
    ),
    _case("generator", Generator(TEXTS)),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text")),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("batches with two masks", [TWO, *TEXTS], batch_size=3, top_k=2),
    _case("accents", "déjà vu à <> 东京 😀"),
    _case("no mask", "There is nothing to fill."),
    _case("no mask in a list", [TEXTS[0], "nothing"]),
    _case("mask cut off", f"{LONG} <>", tokenizer_kwargs={"truncation": True}),
    _case("unknown argument", TEXTS[0], topk=3, message=False),
    Case("none", HEAD, (None,), message=False),
    Case("empty list", HEAD, ([],), dropped=True),
)
