"""Calls of question-answering, as transformers documents QuestionAnsweringPipeline.

transformers 5 dropped the task: every reference is of 4.57.
"""

from __future__ import annotations

from conformance.cases.common import BATCHES, Case, Generator, Keyed, Squad, case_of

HEAD = "qa"
CONTEXT = "The bridge was built in 1894 by Sir John Wolfe Barry and it is 244 metres long."
QUESTION = "Who built the bridge?"
QUESTIONS = [QUESTION, "How long is it?", "When was the bridge built?"]
CONTEXTS = [CONTEXT, "Sarah Johansson lives in London.", "Paris is the capital of France, near Zzqx; déjà vu 东京."]
LONG = " ".join(
    f"{name} lives in {city}, near the old bridge, and works for the company."
    for name, city in zip(("Sarah", "Enzo", "Marie", "Angela") * 6, ("London", "Paris", "Hamburg", "Kyoto", "Rome") * 5)
)
LONG_QUESTION = " ".join(["Where does Sarah live and who built the bridge?"] * 5)
EXAMPLES = [{"question": question, "context": context} for question, context in zip(QUESTIONS, CONTEXTS)]
ONE = {"question": QUESTION, "context": CONTEXT}

_case = case_of(HEAD, dropped=True)


def _at(name: str, ctor: dict[str, object], **kwargs: object) -> Case:
    return Case(name, HEAD, (), kwargs or ONE, ctor=ctor, dropped=True)


SHAPES = (
    _case("question and context", core=True, **ONE),
    _case("dict", ONE),
    _case("list of dicts", EXAMPLES, core=True),
    _case("list of one dict", [ONE]),
    _case("SquadExample", Squad(QUESTION, CONTEXT), message=False),
    _case("list of SquadExample", [Squad(QUESTION, CONTEXT), Squad(QUESTIONS[1], CONTEXTS[1])], top_k=2),
    _case("two dicts", ONE, EXAMPLES[1]),
    _case("tuple of dicts", tuple(EXAMPLES)),
    _case("extra keys", {**ONE, "id": 3}),
    _case("two positional strings", QUESTION, CONTEXT),
    _case("questions, one context", question=QUESTIONS, context=CONTEXT),
    _case("questions and contexts", question=QUESTIONS, context=CONTEXTS),
    _case("lists of one", question=[QUESTION], context=[CONTEXT]),
    _case("data", data=EXAMPLES),
    _case("X", X=ONE),
    _case("generator", Generator(EXAMPLES)),
    _case("dataset", Keyed([{"row": example} for example in EXAMPLES], "row")),
    *(_case(f"batch_size {size}", EXAMPLES, batch_size=size, core=size == 4) for size in BATCHES),
    _at("batch_size at construction", {"batch_size": 2}, question=QUESTIONS, context=CONTEXTS),
)

ANSWERS = (
    *(_case(f"top_k {k}", top_k=k, core=k == 3, **ONE) for k in (1, 2, 3, 20)),
    _case("top_k, list", EXAMPLES, top_k=2),
    _case("topk", topk=2, **ONE),
    _at("top_k at construction", {"top_k": 3}),
    *(_case(f"max_answer_len {n}", max_answer_len=n, top_k=4, **ONE) for n in (1, 3, 50)),
    _case("not aligned to words", align_to_words=False, top_k=4, core=True, **ONE),
    _case("not aligned to words, accents", align_to_words=False, top_k=4, question=QUESTION, context=CONTEXTS[2]),
    _case("aligned to words, accents", top_k=4, question=QUESTION, context=CONTEXTS[2]),
    _case("impossible answers", handle_impossible_answer=True, top_k=3, core=True, **ONE),
    _case("impossible answers, one", handle_impossible_answer=True, question=QUESTIONS[1], context=CONTEXTS[1]),
    _at("impossible answers at construction", {"handle_impossible_answer": True, "top_k": 2}),
    _case("one word", question="Where?", context="Paris"),
    _case("one word, top_k", question="Where?", context="Paris", top_k=5),
)

WINDOWS = (
    _case("long context", question=QUESTION, context=LONG, core=True),
    _case("long context, top_k", question=QUESTION, context=LONG, top_k=4),
    _case("long context, impossible answers", question=QUESTION, context=LONG, handle_impossible_answer=True, top_k=3),
    _case("max_seq_len", question=QUESTION, context=LONG, max_seq_len=40, doc_stride=10, top_k=3, core=True),
    _case("max_seq_len alone", question=QUESTION, context=LONG, max_seq_len=50),
    _case("doc_stride", question=QUESTION, context=LONG, doc_stride=5, top_k=2),
    _case("windows in batches", question=QUESTION, context=LONG, max_seq_len=40, doc_stride=8, batch_size=4, top_k=3),
    _case(
        "long and short in batches",
        [ONE, {"question": QUESTIONS[1], "context": LONG}, EXAMPLES[1]],
        max_seq_len=40,
        doc_stride=8,
        batch_size=3,
    ),
    _case("padding", padding="max_length", max_seq_len=64, **ONE),
    _at("max_seq_len at construction", {"max_seq_len": 30, "doc_stride": 6}, question=QUESTION, context=LONG),
    _case("unknown argument is ignored", max_question_len=10, **ONE),
)

ERRORS = (
    _case("empty question", question="", context=CONTEXT),
    _case("empty context", question=QUESTION, context=""),
    _case("no context", question=QUESTION),
    _case("no question", context=CONTEXT),
    _case("nothing"),
    _case("none", question=None, context=CONTEXT),
    _case("different counts", question=QUESTIONS, context=CONTEXTS[:2]),
    _case("dict without context", {"question": QUESTION}),
    _case("dict of none", {"question": None, "context": CONTEXT}),
    _case("top_k 0", top_k=0, message=False, **ONE),
    _case("max_answer_len 0", max_answer_len=0, message=False, **ONE),
    _case("doc_stride above max_seq_len", max_seq_len=20, doc_stride=30, **ONE),
    _case("question longer than the window", question=LONG_QUESTION, context=CONTEXT, max_seq_len=20, message=False),
    _case("empty list", []),
)

CASES = (*SHAPES, *ANSWERS, *WINDOWS, *ERRORS)
