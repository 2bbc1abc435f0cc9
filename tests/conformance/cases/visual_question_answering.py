"""Calls of visual-question-answering, as transformers documents VisualQuestionAnsweringPipeline.

transformers 5 dropped the task; its answers are those of 4.57.
"""

from __future__ import annotations

from dataclasses import replace

from conformance.cases.common import Case, Generator, Image, Keyed, PipeImageProcessor
from conformance.cases.images import PHOTO, PHOTOS

TASK = "visual-question-answering"
QUESTION = "How many cats are on the sofa?"
QUESTIONS = [QUESTION, "Is it raining?", "What is the colour of the small car behind the woman with the umbrella?"]
PAIRS = [{"image": image, "question": question} for image, question in zip(PHOTOS, QUESTIONS, strict=False)]
SAME = [{"image": image, "question": QUESTION} for image in (PHOTO, Image("mate"), Image("mate 2"), PHOTO)]
ODD = ("grey", "rgba", "exif 6", "palette", "wide")


def _case(name: str, *args: object, core: bool = False, message: bool = True, **kwargs: object) -> Case:
    return Case(name, TASK, args, kwargs, core=core, dropped=True, message=message)


CASES = (
    _case("image and question", PHOTO, QUESTION, core=True),
    _case("by name", image=PHOTO, question=QUESTION),
    _case("question by name", PHOTO, question=QUESTION),
    _case("path", Image("jpeg", "path"), QUESTION),
    _case("base64", Image("odd", "base64"), QUESTION),
    _case("dict", PAIRS[0], core=True),
    _case("list of dicts", PAIRS, core=True),
    _case("list of one dict", PAIRS[:1]),
    _case("several questions", PHOTO, QUESTIONS, core=True),
    _case("several images", PHOTOS, QUESTION, core=True),
    _case("several of both", PHOTOS[:2], QUESTIONS, core=True),
    _case("lists of one", PHOTOS[:1], QUESTIONS[:1]),
    _case("dataset of images", Keyed([{"image": image} for image in PHOTOS[:2]], "image"), QUESTION),
    _case("dataset of images, several questions", Keyed([{"image": i} for i in PHOTOS[:2]], "image"), QUESTIONS[:2]),
    _case("generator", Generator(PAIRS)),
    *(_case(f"batch_size {size}", SAME, batch_size=size, core=size == 4) for size in (1, 2, 4)),
    _case("batches of a generator", Generator(SAME), batch_size=2),
    *(_case(f"top_k {k}", PHOTO, QUESTION, top_k=k) for k in (1, 2, 99)),
    _case("timeout", PHOTO, QUESTION, timeout=3.0),
    _case("truncation", PHOTO, " ".join(QUESTIONS), truncation=True, core=True),
    *(_case(f"image, {name}", Image(name), QUESTION, core=name == "rgba") for name in ODD),
    _case("empty list", []),
    _case("text that is not an image", "no such picture", QUESTION, message=False),
    replace(_case("top_k at construction", PHOTO, QUESTION), ctor={"top_k": 2}),
    replace(_case("top_k at both", PHOTO, QUESTION, top_k=3), ctor={"top_k": 2}),
    replace(_case("own image processor", PHOTO, QUESTION), ctor={"image_processor": PipeImageProcessor()}),
    replace(_case("alias", PHOTO, QUESTION), task="vqa"),
)
