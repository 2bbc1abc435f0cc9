"""Calls of keypoint-matching (contract 3.30)."""

from __future__ import annotations

from conformance.cases.common import Pic
from conformance.cases.images import PHOTO, case_of

TASK = "keypoint-matching"
_case = case_of(TASK)
PAIR = [PHOTO, Pic("mate")]
PAIRS = [PAIR, [Pic("second"), Pic("third")], [Pic("square"), Pic("square")]]

CASES = (
    _case("pair", PAIR, core=True),
    _case("pair in a tuple", tuple(PAIR)),
    _case("the same picture twice", [PHOTO, PHOTO], core=True),
    _case("unlike sizes", [PHOTO, Pic("odd")], core=True),
    _case("paths", [Pic("jpeg", "path"), Pic("webp", "path")]),
    _case("base64", [Pic("odd", "base64"), Pic("odd", "data")]),
    _case("list of pairs", PAIRS, core=True),
    _case("list of tuples", [tuple(pair) for pair in PAIRS]),
    _case("list of one pair", [PAIR]),
    *(_case(f"threshold {t}", PAIR, threshold=t, core=t == 0.3) for t in (0.0, 0.1, 0.3, 0.9)),
    _case("threshold, list", PAIRS, threshold=0.2),
    _case("timeout", PAIR, timeout=3.0),
    *(_case(f"pair with {name}", [PHOTO, Pic(name)]) for name in ("grey", "rgba", "palette", "cmyk", "exif 6", "one")),
    _case("one picture", PHOTO, message=False),
    _case("list of one picture", [PHOTO], message=False),
    _case("three pictures", [PHOTO, PHOTO, PHOTO], message=False),
    _case("none", None),
    _case("text that is no picture", ["no", "picture"], message=False),
    _case("unknown argument", PAIR, thresholds=0.3, message=False),
)
