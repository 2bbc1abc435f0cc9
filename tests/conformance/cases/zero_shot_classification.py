"""Calls of zero-shot-classification, as transformers documents ZeroShotClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed

HEAD = "nli"
TEXTS = [
    "The government passed a new law about taxes.",
    "The team won the match after scoring three goals.",
    "Scientists discovered a new planet.",
]
LABELS = ["politics", "sports", "science"]
LONG = " ".join(["The government passed a new law about taxes, education and public health."] * 15)
TEMPLATE = "The topic is {}."


def _case(name: str, *args: object, head: str = HEAD, core: bool = False, **kwargs: object) -> Case:
    return Case(name, head, args, kwargs, core=core)


CASES = (
    _case("str", TEXTS[0], candidate_labels=LABELS, core=True),
    _case("list", TEXTS, candidate_labels=LABELS, core=True),
    _case("list of one", TEXTS[:1], candidate_labels=LABELS),
    _case("tuple", tuple(TEXTS), candidate_labels=LABELS),
    _case("list in a list", [TEXTS], candidate_labels=LABELS),
    _case("positional labels", TEXTS[0], LABELS),
    _case("one label", TEXTS[0], candidate_labels=["politics"]),
    _case("labels in a str", TEXTS[0], candidate_labels="politics, sports ,, science,"),
    _case("one label in a str", TEXTS[0], candidate_labels="politics"),
    _case("labels in a tuple", TEXTS[0], candidate_labels=tuple(LABELS)),
    _case("the same label twice", TEXTS[0], candidate_labels=["sports", "sports", "science"]),
    _case("multi_label", TEXTS[0], candidate_labels=LABELS, multi_label=True, core=True),
    _case("multi_label, list", TEXTS, candidate_labels=LABELS, multi_label=True),
    _case("template", TEXTS[0], candidate_labels=LABELS, hypothesis_template=TEMPLATE, core=True),
    _case(
        "template with braces", TEXTS[0], candidate_labels=LABELS, hypothesis_template="{} {{x}} {0}".replace("{0}", "")
    ),
    _case(
        "accents", "Montréal, déjà vu 东京", candidate_labels=["café", "Länder 😀"], hypothesis_template="C'est {} !"
    ),
    _case("entailment first", TEXTS[0], candidate_labels=LABELS, head="entail-first"),
    _case("entailment first, multi_label", TEXTS[0], candidate_labels=LABELS, head="entail-first", multi_label=True),
    _case("no entailment label", TEXTS[0], candidate_labels=LABELS, head="classify"),
    _case("no entailment label, multi_label", TEXTS[0], candidate_labels=LABELS, head="classify", multi_label=True),
    _case("long text", LONG, candidate_labels=LABELS, core=True),
    Case("labels at construction", HEAD, (TEXTS[0],), ctor={"candidate_labels": LABELS}),
    Case(
        "everything at construction",
        HEAD,
        (TEXTS[0],),
        ctor={"candidate_labels": "sports, science", "hypothesis_template": TEMPLATE, "multi_label": True},
    ),
    Case(
        "labels at both", HEAD, (TEXTS[0],), {"candidate_labels": ["sports", "oil"]}, ctor={"candidate_labels": LABELS}
    ),
    _case("generator", Generator(TEXTS), candidate_labels=LABELS),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text"), candidate_labels=LABELS),
    *(_case(f"batch_size {size}", TEXTS, candidate_labels=LABELS, batch_size=size, core=size == 4) for size in BATCHES),
    Case("batch_size at construction", HEAD, (TEXTS, LABELS), ctor={"batch_size": 4}),
    _case("empty labels", TEXTS[0], candidate_labels=[]),
    _case("empty labels in a str", TEXTS[0], candidate_labels=" , "),
    _case("empty text", "", candidate_labels=LABELS),
    _case("empty text in a list", ["", TEXTS[0]], candidate_labels=LABELS),
    Case("no labels", HEAD, (TEXTS[0],), message=False),
    Case("none", HEAD, (None,), {"candidate_labels": LABELS}, message=False),
    _case("template without a place", TEXTS[0], candidate_labels=LABELS, hypothesis_template="no place"),
    Case("template none", HEAD, (TEXTS[0], LABELS), {"hypothesis_template": None}, message=False),
    _case("extra positionals", TEXTS[0], LABELS, 3),
    _case("labels twice", TEXTS[0], LABELS, candidate_labels=LABELS),
    Case("multi_class", HEAD, (TEXTS[0], LABELS), {"multi_class": True}, dropped=True),
    Case("multi_class False", HEAD, (TEXTS[0], LABELS), {"multi_class": False}, dropped=True),
    Case("empty list", HEAD, ([], LABELS), dropped=True),
)
