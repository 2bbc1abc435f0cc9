"""Find the recordings that a file holds one after another (`cat a.mp3 b.mp3`), and how much of each there really is.

libsndfile reads as many samples as a header counts, and only the first recording of a file. A count in a header is no
more than a hint: here the frames, pages and chunks of the file itself are looked at, and libsndfile gets each recording
with a header that says what there is. A count that is larger than that tells how much is missing.
"""

from onnxpipe.processing.audio.io.parts.find import find_parts
from onnxpipe.processing.audio.io.parts.part import Part, SplicedFile

__all__ = ["Part", "SplicedFile", "find_parts"]
