"""Calls of document-question-answering, as transformers documents DocumentQuestionAnsweringPipeline."""

from __future__ import annotations

from typing import Any

from conformance.cases.common import BATCHES, Case, Generator, Image, Keyed, PipeImageProcessor, case_of
from conformance.cases.images import PHOTO, at_construction
from zoo.documents import receipt

TASK = "document-question-answering"
_case = case_of(TASK)
QUESTION = "What is the total?"
WORDS = receipt().word_boxes
FEW = WORDS[10:22]
_ROW: dict[str, Any] = {"image": PHOTO, "question": QUESTION, "word_boxes": FEW}
ROWS = [
    _ROW,
    {"image": Image("second"), "question": "When was it, and where?", "word_boxes": WORDS},
    {"image": Image("third"), "question": "Who?", "word_boxes": FEW[:3]},
    {"image": PHOTO, "question": "How much was the bread?", "word_boxes": WORDS[::-1]},
]
#: Windows that are far shorter than the page.
_SHORT = {"max_seq_len": 40, "doc_stride": 8}


def _together(name: str, size: int, core: bool = False) -> Case:
    why = "transformers cannot pad boxes, so it takes rows one by one"
    return Case(name, TASK, (ROWS,), {"top_k": 2, "batch_size": size}, core=core, reference={"top_k": 2}, why=why)


CASES = (
    _case("image, question, words", PHOTO, QUESTION, FEW, core=True),
    _case("by name", image=PHOTO, question=QUESTION, word_boxes=FEW),
    _case("dict", _ROW),
    _case("list", ROWS, core=True),
    _case("list of one", ROWS[:1]),
    _case("generator", Generator(ROWS)),
    _case("dataset", Keyed([{"row": row} for row in ROWS], "row")),
    _case("words in lists", PHOTO, QUESTION, [list(pair) for pair in FEW]),
    _case("words and boxes in tuples", PHOTO, QUESTION, tuple((word, tuple(box)) for word, box in FEW)),
    _case("a path", Image("jpeg", "path"), QUESTION, FEW),
    _case("a grey image", Image("grey"), QUESTION, FEW),
    _case("blanks in the question", PHOTO, "  What is   the total ?\n", FEW),
    _case("a long page in windows", PHOTO, QUESTION, WORDS, top_k=3, core=True),
    _case("short windows", PHOTO, QUESTION, WORDS, top_k=5, **_SHORT, core=True),
    _case("windows without overlap", PHOTO, QUESTION, WORDS, top_k=5, max_seq_len=60, doc_stride=0),
    _case("padded windows", PHOTO, QUESTION, WORDS, top_k=3, padding="max_length", **_SHORT),
    _case("no answer", PHOTO, QUESTION, FEW, handle_impossible_answer=True, top_k=20, core=True),
    _case("no answer in windows", PHOTO, QUESTION, WORDS, handle_impossible_answer=True, top_k=50, **_SHORT),
    *(_case(f"top_k {k}", PHOTO, QUESTION, FEW, top_k=k) for k in (1, 2, 10, 5000)),
    *(_case(f"max_answer_len {n}", PHOTO, QUESTION, WORDS, top_k=4, max_answer_len=n) for n in (1, 3, 60)),
    _case("no words", PHOTO, QUESTION, []),
    _case("one word", PHOTO, QUESTION, FEW[:1], top_k=3),
    _case(
        "edges of the page", PHOTO, QUESTION, [("a", [0, 0, 1000, 1000]), ("b", [1000] * 4), ("c", [0] * 4)], top_k=3
    ),
    *(_together(f"batch_size {size}", size, core=size == 4) for size in BATCHES),
    at_construction(TASK, "top_k and windows", {"top_k": 3, **_SHORT}, PHOTO, QUESTION, WORDS),
    _case("timeout", PHOTO, QUESTION, FEW, timeout=3.0),
    _case("top_k 0", PHOTO, QUESTION, FEW, top_k=0, message=False),
    _case("max_answer_len 0", PHOTO, QUESTION, FEW, max_answer_len=0, message=False),
    _case("neither image nor words", None, QUESTION),
    _case("an image that is none", "no such picture", QUESTION, FEW, message=False),
)

WITHOUT_IMAGE = (
    _case("no image", None, QUESTION, FEW, top_k=2),
    _case("no image, dicts", [{"question": QUESTION, "word_boxes": words} for words in (FEW, WORDS)], top_k=2),
)
"""Calls for models that do not look at the image."""

WITH_IMAGE = (
    Case("own image processor", TASK, (PHOTO, QUESTION, FEW), ctor={"image_processor": PipeImageProcessor()}),
    _case("another image", Image("second"), QUESTION, FEW, top_k=3),
    _case("the image in every window", Image("large"), QUESTION, WORDS, top_k=4, **_SHORT),
)
"""Calls for models that do. transformers' pipeline loses their image: the suite hands it to the model."""
