"""The process in which one setting of a model is timed: it answers requests, a line of JSON each.

The first request says what to load: model, task, dtype, threads, device, input, params. Its answer comes after the
first call, so that its time is a cold start's. Each further one asks for a measurement.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from onnxpipe.cli.bench.measure import alone, arriving


def main() -> None:
    """Serve requests from stdin until it ends."""
    out = sys.stdout
    sys.stdout = sys.stderr  # what a library prints does not mix with the answers
    try:
        setting = json.loads(sys.stdin.readline())
        serve = _load(setting)
    except Exception as error:
        _say(out, {"error": f"{type(error).__name__}: {error}"})
        return
    _say(out, {"ready": True})
    for line in sys.stdin:
        try:
            _say(out, serve(json.loads(line)))
        except Exception as error:
            _say(out, {"error": f"{type(error).__name__}: {error}"})


def _load(setting: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Load the pipeline, answer once, and return what answers further requests."""
    from onnxpipe import pipeline
    from onnxpipe.cli.bench.inputs import sample
    from onnxpipe.tasks.registry import task_spec

    task = setting["task"]
    call = sample(task_spec(task), setting["input"], setting["params"])
    pipe = pipeline(
        task, model=setting["model"], dtype=setting["dtype"], threads=setting["threads"], device=setting["device"]
    )
    call = call.suited_to(pipe)
    warnings.simplefilter("ignore", FutureWarning)  # of forms of a call that transformers deprecates
    pipe(*call.arguments, **call.params)

    def serve(request: Mapping[str, Any]) -> dict[str, Any]:
        def one() -> object:
            return pipe(*call.arguments, **call.params)

        if request["do"] == "alone":
            return {"times": alone(one, request["seconds"])}
        if request["do"] == "rate":
            return {"times": arriving(one, request["rate"], request["seconds"])}
        if request["do"] == "batch":
            inputs = call.batch(request["size"])
            return {"times": alone(lambda: pipe(inputs, batch_size=len(inputs), **call.params), request["seconds"])}
        return {"memory": peak_memory(), "batches": call.can_batch, "words": call.words, "dtype": pipe.dtype}

    return serve


def peak_memory() -> float | None:
    """Return the most memory that this process has had, in MB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _say(out: Any, document: Mapping[str, Any]) -> None:
    print(json.dumps(document), file=out, flush=True)


if __name__ == "__main__":
    main()
