"""Calls of table-question-answering, as transformers documents TableQuestionAnsweringPipeline, on TAPAS."""

from __future__ import annotations

from conformance.cases.common import Case, case_of, constructed

HEAD = "tables"
TABLE = {
    "Repository": ["Transformers", "Datasets", "Tokenizers"],
    "Stars": ["36542", "4512", "3934"],
    "Contributors": ["651", "77", "34"],
    "Programming language": ["Python", "Python", "Rust, Python and NodeJS"],
}
PEOPLE = {
    "actors": ["brad pitt", "leonardo di caprio", "george clooney"],
    "age": ["56", "45", "59"],
    "date of birth": ["7 february 1967", "10 june 1996", "28 november 1967"],
    "notes": ["", "n/a", "née café, 東京"],
}
LONG = {
    "City": [f"City number {i} of the country" for i in range(90)],
    "Inhabitants": [f"{7919 * i % 1000},000" for i in range(90)],
    "Founded": [str(1700 + 37 * i % 300) for i in range(90)],
}
QUESTION = "How many stars does the transformers repository have?"
QUESTIONS = [QUESTION, "Which repositories have less than 100 contributors?", "What is the sum of stars?", "Rust?"]
ASKED = [
    {"table": TABLE, "query": QUESTION},
    {"table": PEOPLE, "query": "Who was born after 1970?"},
    {"table": TABLE, "query": QUESTIONS[1]},
]
SEQUENCE = {"table": PEOPLE, "query": ["age?", "and the oldest?", "born when?"]}

_case = case_of(HEAD)
_at = constructed(HEAD, TABLE, QUESTION)

SHAPES = (
    _case("table and question", TABLE, QUESTION),
    _case("by name", table=TABLE, query=QUESTION),
    _case("dict", ASKED[1]),
    _case("list of dicts", ASKED),
    _case("list of one dict", ASKED[:1]),
    _case("questions", TABLE, QUESTIONS),
    _case("one question in a list", TABLE, [QUESTION]),
    _case("dict of questions", {"table": PEOPLE, "query": ["Who is the oldest?", "born in June 1996 or before"]}),
    _case("list of dicts of questions", [{"table": TABLE, "query": QUESTIONS[:2]}, ASKED[1]]),
    *(_case(f"question {number}", PEOPLE, question) for number, question in enumerate(
        ("How old is Brad Pitt?", "Which actor is 45 or 59 years old?", "average age", "???", "10 June 1996", "n/a")
    )),
)  # fmt: skip

OPTIONS = (
    _case("sequential", TABLE, QUESTIONS, sequential=True),
    _case("sequential, one question", TABLE, QUESTION, sequential=True),
    _case("sequential, list of dicts", [SEQUENCE, ASKED[0]], sequential=True),
    _at("sequential at construction", {"sequential": True}, TABLE, QUESTIONS),
    _case("long table", LONG, "Which city has more than 900,000 inhabitants?"),
    _case("long table, questions", LONG, ["How many cities were founded before 1750?", "City number 3"]),
    _case("drop_rows_to_fit", LONG, "Inhabitants of city number 2", truncation="drop_rows_to_fit"),
    _case("truncation", LONG, "Inhabitants of city number 2", truncation=True),
    _case("do_not_truncate", TABLE, QUESTION, truncation="do_not_truncate"),
    _case("no padding", TABLE, QUESTION, padding=False),
    _case("padding to the longest", TABLE, QUESTIONS, padding="longest"),
)  # fmt: skip

ERRORS = (
    _case("no table"),
    _case("none"),
    _case("no question", {"table": TABLE, "query": None}, message=False),
    _case("empty question", TABLE, ""),
    _case("empty question in a dict", [ASKED[0], {"table": TABLE, "query": ""}], message=False),
    _case("empty table", {"City": [], "Country": []}, QUESTION, message=False),
    _case("columns of different lengths", {"City": ["Lyon", "Oslo"], "Country": ["France"]}, QUESTION, message=False),
    _case("too many rows", LONG, QUESTION, truncation="do_not_truncate", message=False),
    _case("unknown truncation", TABLE, QUESTION, truncation="only_first", message=False),
)

CELLS = {
    "What": [
        "One TWO three four five six seven eight nine ten eleven twelve thirteen",
        "fifteen",
        "É" * 9,
        "",
        "a b c",
    ],
    "Note": ["x", "  ", "日本語の長い文章です", "1,234.50", ""],
}
"""Cells that TAPEX cuts to 15 tokens, blank ones, and an empty one at the end of the table."""

_tapex = case_of(HEAD, dropped=True)

TAPEX = (
    _tapex("table and question", TABLE, QUESTION),
    _tapex("by name", table=TABLE, query=QUESTION),
    _tapex("dict", ASKED[1]),
    _tapex("list of dicts", ASKED),
    _tapex("questions", TABLE, QUESTIONS),
    _tapex("long, blank and empty cells", CELLS, "Which One?"),
    *(_tapex(f"cells of {n} tokens", {"a": ["z " * n, "Y " * n]}, "How many?") for n in (13, 14, 15, 16)),
    _tapex("no padding", TABLE, QUESTION, padding=False),
    _tapex("no question", {"table": TABLE, "query": ""}),
)  # fmt: skip
"""Calls on TAPEX, whose tokenizer transformers 5 has no more."""

CASES: tuple[Case, ...] = (*SHAPES, *OPTIONS, *ERRORS)
