"""Calls of text-classification, as transformers documents TextClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed, KeyedPair

HEAD = "nli"
TEXTS = ["We love this movie!", "Do not buy this phone.", "The food was good but the service was slow.", "ok"]
PAIR = {"text": "Sarah lives in London.", "text_pair": "Where does Sarah live?"}
PAIRS = [PAIR, {"text": "I hated the film", "text_pair": "This example is about politics."}]
LONG = " ".join(["We love this movie but the story was boring."] * 25)
_ROWS = [{"text": one, "other": other} for one, other in zip(TEXTS, reversed(TEXTS))]


def _case(name: str, *args: object, head: str = HEAD, core: bool = False, **kwargs: object) -> Case:
    return Case(name, head, args, kwargs, core=core)


NESTING = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("keyword inputs", inputs=TEXTS[0]),
    _case("dict", PAIR, core=True),
    _case("dict without pair", {"text": TEXTS[0]}),
    _case("list of dicts", PAIRS),
    _case("list of one dict", PAIRS[:1]),
    _case("legacy pair", [[[TEXTS[0], TEXTS[1]]]]),
    _case("tuple", tuple(TEXTS[:1])),
    Case("tuple of two", HEAD, (tuple(TEXTS[1:3]),), message=False),
    Case("dicts in a tuple", HEAD, (tuple(PAIRS),), message=False),
    *(_case(f"top_k {k} str", TEXTS[0], top_k=k, core=k is None) for k in (1, 2, None, 9)),
    *(_case(f"top_k {k} list", TEXTS[:2], top_k=k) for k in (1, 2, None)),
    _case("top_k dict", PAIR, top_k=2),
    *(Case(f"top_k {k} at construction, str", HEAD, (TEXTS[0],), ctor={"top_k": k}) for k in (1, 2, None)),
    *(Case(f"top_k {k} at construction, list", HEAD, (TEXTS[:2],), ctor={"top_k": k}) for k in (1, 2, None)),
    Case("top_k at construction, dict", HEAD, (PAIR,), ctor={"top_k": 2}),
    Case("top_k at both", HEAD, (TEXTS[0],), {"top_k": 1}, ctor={"top_k": 3}),
    _case("generator", Generator(TEXTS)),
    _case("generator with top_k", Generator(TEXTS), top_k=2),
    _case("dataset", Keyed(_ROWS, "text")),
    _case("dataset of pairs", KeyedPair(_ROWS, "text", "other")),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case("batch_size and top_k", TEXTS, batch_size=2, top_k=2),
    _case("batches of dicts", PAIRS * 2, batch_size=4),
    _case("batches of a dataset", Keyed(_ROWS, "text"), batch_size=3),
    Case("batch_size at construction", HEAD, (TEXTS,), ctor={"batch_size": 2}),
)

FUNCTIONS = (
    *(
        _case(f"function {name}", TEXTS[0], function_to_apply=name)
        for name in ("sigmoid", "softmax", "none", "SoftMax")
    ),
    _case("function none, all labels", TEXTS[0], function_to_apply="none", top_k=None, core=True),
    Case("function at construction", HEAD, (TEXTS[0],), ctor={"function_to_apply": "sigmoid"}),
    Case("function at both", HEAD, (TEXTS[0],), {"function_to_apply": "none"}, ctor={"function_to_apply": "sigmoid"}),
    _case("multi-label", TEXTS[0], head="multilabel"),
    _case("multi-label, all labels", TEXTS, head="multilabel", top_k=None),
    _case("multi-label, softmax", TEXTS[0], head="multilabel", function_to_apply="softmax", top_k=None),
    _case("regression", TEXTS, head="regression"),
    _case("regression, sigmoid", TEXTS[0], head="regression", function_to_apply="sigmoid"),
    _case("one label", TEXTS, head="rank"),
    _case("one label, pair", PAIR, head="rank", top_k=None),
    _case("one label, none", TEXTS[0], head="rank", function_to_apply="none"),
)

TOKENIZER = (
    _case("truncation", LONG, truncation=True, core=True),
    _case("truncation, max_length", TEXTS, truncation=True, max_length=5),
    _case("truncation only_first", {"text": LONG, "text_pair": TEXTS[0]}, truncation="only_first"),
    _case("truncation longest_first", {"text": LONG, "text_pair": LONG}, truncation="longest_first", max_length=31),
    _case("padding to max_length", TEXTS[0], padding="max_length", max_length=20, truncation=True, top_k=None),
    _case("add_special_tokens", TEXTS[2], add_special_tokens=False),
    Case("truncation at construction", HEAD, (LONG,), ctor={"truncation": True, "max_length": 16}),
    _case("unicode", "Ünïcödé 😀 déjà vu, 东京!\n\ttabs  and spaces "),
    _case("empty str", ""),
)

ERRORS = (
    _case("list in a list", [[TEXTS[0], TEXTS[1]]]),
    _case("mixed list", [TEXTS[0], [TEXTS[1]]]),
    Case("unknown function", HEAD, (TEXTS[0],), {"function_to_apply": "bad"}, message=False),
    Case("none", HEAD, (None,), message=False),
    Case("int", HEAD, (3,), message=False),
    Case("dict without text", HEAD, ({"text_pair": "x"},), message=False),
)

DROPPED = (
    Case("return_all_scores", HEAD, (TEXTS[0],), {"return_all_scores": True}, dropped=True),
    Case("return_all_scores, list", HEAD, (TEXTS,), {"return_all_scores": True}, dropped=True),
    Case("return_all_scores, dict", HEAD, (PAIR,), {"return_all_scores": True}, dropped=True),
    Case("return_all_scores False", HEAD, (TEXTS[0],), {"return_all_scores": False}, dropped=True),
    Case("return_all_scores at construction", HEAD, (TEXTS[0],), ctor={"return_all_scores": True}, dropped=True),
    Case("return_all_scores and top_k", HEAD, (TEXTS[0],), {"return_all_scores": True, "top_k": 1}, dropped=True),
    Case("empty list", HEAD, ([],), dropped=True),
)

CASES = (*NESTING, *FUNCTIONS, *TOKENIZER, *ERRORS, *DROPPED)
