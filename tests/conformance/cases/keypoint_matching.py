"""Calls of keypoint-matching, as transformers documents KeypointMatchingPipeline."""

from __future__ import annotations

from conformance.cases.common import Image, case_of
from conformance.cases.images import PHOTO

TASK = "keypoint-matching"
_case = case_of(TASK)
PAIR = [PHOTO, Image("mate")]
PAIRS = [PAIR, [Image("second"), Image("third")], [Image("square"), Image("square")]]

CASES = (
    _case("pair", PAIR, core=True),
    _case("pair in a tuple", tuple(PAIR)),
    _case("the same image twice", [PHOTO, PHOTO], core=True),
    _case("different sizes", [PHOTO, Image("odd")], core=True),
    _case("paths", [Image("jpeg", "path"), Image("webp", "path")]),
    _case("base64", [Image("odd", "base64"), Image("odd", "data")]),
    _case("list of pairs", PAIRS, core=True),
    _case("list of tuples", [tuple(pair) for pair in PAIRS]),
    _case("list of one pair", [PAIR]),
    *(_case(f"threshold {t}", PAIR, threshold=t, core=t == 0.3) for t in (0.0, 0.1, 0.3, 0.9)),
    _case("threshold, list", PAIRS, threshold=0.2),
    _case("timeout", PAIR, timeout=3.0),
    *(
        _case(f"pair with {name}", [PHOTO, Image(name)])
        for name in ("grey", "rgba", "palette", "cmyk", "exif 6", "one")
    ),
    _case("one image", PHOTO, message=False),
    _case("list of one image", [PHOTO], message=False),
    _case("three images", [PHOTO, PHOTO, PHOTO], message=False),
    _case("none", None),
    _case("text that is not an image", ["no", "picture"], message=False),
    _case("unknown argument", PAIR, thresholds=0.3, message=False),
)
