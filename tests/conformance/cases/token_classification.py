"""Calls of token-classification, as transformers documents TokenClassificationPipeline."""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed, case_of

HEAD = "ner"
TEXTS = [
    "My name is Sarah Johansson and I live in London",
    "Enzo works at the UN in Geneva, and Marie lives in Hamburg.",
    "Barack Obama was born in Honolulu",
    "Paris",
]
WORDS = ["My", "name", "is", "Sarah", "Johansson", ",", "from", "New-York", "!"]
OTHER = ["Transformers", "in", "Hamburg", "."]
LONG = " ".join(
    f"{name} Johansson lives in {city} and works for the company Wozniak & co."
    for name, city in zip(("Sarah", "Enzo", "Marie", "Angela") * 5, ("London", "Paris", "Hamburg", "Kyoto", "Rome") * 4)
)
ACCENTS = "Je m'appelle Jean-Baptiste et je vis à Montréal 😀 东京. María  Zzqx\tÜber"
STRATEGIES = ("none", "simple", "first", "average", "max")

_case = case_of(HEAD)


SHAPES = (
    _case("str", TEXTS[0], core=True),
    _case("list", TEXTS, core=True),
    _case("list of one", TEXTS[:1]),
    _case("tuple", tuple(TEXTS)),
    _case("tuple of one", tuple(TEXTS[:1])),
    _case("keyword inputs", inputs=TEXTS[0]),
    _case("generator", Generator(TEXTS)),
    _case("dataset", Keyed([{"text": text} for text in TEXTS], "text")),
    *(_case(f"batch_size {size}", TEXTS, batch_size=size, core=size == 4) for size in BATCHES),
    _case(
        "batches of a dataset", Keyed([{"t": text} for text in TEXTS], "t"), batch_size=2, aggregation_strategy="max"
    ),
    Case("batch_size at construction", HEAD, (TEXTS,), ctor={"batch_size": 2}),
)

STRATEGY = (
    *(_case(f"{strategy}", TEXTS, aggregation_strategy=strategy, core=True) for strategy in STRATEGIES),
    *(_case(f"{strategy}, accents", ACCENTS, aggregation_strategy=strategy) for strategy in STRATEGIES),
    *(
        _case(f"{strategy}, every label", TEXTS[0], aggregation_strategy=strategy, ignore_labels=[])
        for strategy in STRATEGIES
    ),
    *(
        Case(f"{strategy} at construction", HEAD, (TEXTS[1],), ctor={"aggregation_strategy": strategy})
        for strategy in ("simple", "max")
    ),
    Case(
        "strategy at both",
        HEAD,
        (TEXTS[1],),
        {"aggregation_strategy": "first"},
        ctor={"aggregation_strategy": "simple"},
    ),
    _case("upper case", TEXTS[1], aggregation_strategy="AVERAGE"),
)

LABELS = (
    _case("ignore nothing", TEXTS[0], ignore_labels=[]),
    _case("ignore one", TEXTS[0], ignore_labels=["O", "B-PER"]),
    _case("ignore a group", TEXTS[0], ignore_labels=["O", "PER"], aggregation_strategy="simple"),
    Case("ignore at construction", HEAD, (TEXTS[0],), ctor={"ignore_labels": ["I-LOC"]}),
)

SPLIT = (
    _case("words", WORDS, is_split_into_words=True, core=True),
    _case("lists of words", [WORDS, OTHER], is_split_into_words=True),
    *(
        _case(f"words, {strategy}", WORDS, is_split_into_words=True, aggregation_strategy=strategy)
        for strategy in STRATEGIES[1:]
    ),
    _case("words, delimiter", WORDS, is_split_into_words=True, delimiter="--", aggregation_strategy="simple"),
    _case("words, batches", [WORDS, OTHER, WORDS], is_split_into_words=True, batch_size=2),
    _case("words in a tuple", tuple(WORDS), is_split_into_words=True),
    _case("no words", [[]], is_split_into_words=True),
    _case("words without the flag", WORDS, core=False),
    _case("lists of words without the flag", [WORDS]),
    _case("str with the flag", TEXTS[0], is_split_into_words=True),
    Case("flag at construction only", HEAD, (TEXTS[0],), ctor={"is_split_into_words": True}),
)

OFFSETS = (
    _case("offset_mapping", "Sarah lives", offset_mapping=[(0, 0), (0, 5), (6, 11)] + [(0, 0)] * 9, ignore_labels=[]),
    _case("offset_mapping of a list", ["ok", "no"], offset_mapping=[[(0, 2)] * 6, [(0, 2)] * 6]),
    _case("offset_mapping of the wrong count", ["ok", "no"], offset_mapping=[[(0, 2)] * 6]),
)

STRIDE = (
    _case("long, truncated", LONG, aggregation_strategy="simple"),
    *(
        _case(f"stride, {strategy}", LONG, stride=12, aggregation_strategy=strategy, core=strategy == "simple")
        for strategy in STRATEGIES[1:]
    ),
    _case("stride 0", LONG, stride=0, aggregation_strategy="simple"),
    _case("stride, short text", TEXTS[0], stride=4, aggregation_strategy="simple"),
    _case("stride, list", [TEXTS[0], LONG, TEXTS[1]], stride=12, aggregation_strategy="first", batch_size=4),
    _case("stride without a strategy", LONG, stride=12),
    Case("stride at construction", HEAD, (LONG,), ctor={"stride": 12, "aggregation_strategy": "average"}),
    _case("stride too large", LONG, stride=128, aggregation_strategy="simple"),
    _case("stride with none", LONG, stride=12, aggregation_strategy="none"),
)

ERRORS = (
    _case("nothing", None),
    _case("empty str in a list", ["", TEXTS[3]]),
    _case("int", 3),
    _case("unknown strategy", TEXTS[0], aggregation_strategy="bad", message=False),
    _case("unknown argument", TEXTS[0], agregation_strategy="simple", message=False),
)

GROUPED = {
    "grouped_entities": {"grouped_entities": True},
    "grouped_entities False": {"grouped_entities": False},
    "grouped, ignore_subwords": {"grouped_entities": True, "ignore_subwords": True},
    "grouped, not ignore_subwords": {"grouped_entities": True, "ignore_subwords": False},
}

DROPPED = (
    *(
        Case(f"{name}, {text[:8]}", HEAD, (text,), kwargs, dropped=True)
        for text in TEXTS[:2]
        for name, kwargs in GROUPED.items()
    ),
    Case("grouped_entities at construction", HEAD, (TEXTS[0],), ctor={"grouped_entities": True}, dropped=True),
    Case("empty list", HEAD, ([],), dropped=True),
)

CASES = (*SHAPES, *STRATEGY, *LABELS, *SPLIT, *OFFSETS, *STRIDE, *ERRORS, *DROPPED)
