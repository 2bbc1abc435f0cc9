"""Try inputs on one target in this process, which may die of them: see `fuzz.run`.

    python -m fuzz.worker TARGET FOLDER SEED FIRST LAST     inputs by number
    python -m fuzz.worker TARGET FOLDER FILE...             files

Writes the current input to FOLDER/input, and its name and the counts to FOLDER/state.json, before it is tried, so that
they are known when the process dies. Prints a line of JSON for every finding.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import logging
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path

from fuzz.target import Target


def main(arguments: list[str]) -> None:
    """Try the inputs that the arguments name."""
    target, folder, rest = _target(arguments[0]), Path(arguments[1]), arguments[2:]
    warnings.simplefilter("ignore")
    logging.disable()
    seeds = target.seeds()
    for seed in seeds:  # so that all that is imported and allocated once is there before memory is bounded
        _try(target, seed, folder)
    limit_memory(target.memory)
    if len(rest) == 3 and all(each.isdigit() for each in rest):
        number, first, last = map(int, rest)
        inputs: Iterable[tuple[str, bytes]] = ((str(i), target.input(number, i, seeds)) for i in range(first, last))
    else:
        inputs = ((name, Path(name).read_bytes()) for name in rest)
    faulthandler.register(signal.SIGPROF, all_threads=False, chain=True)
    accepted = refused = 0
    for name, data in inputs:
        (folder / "input").write_bytes(data)
        (folder / "state.json").write_text(json.dumps({"name": name, "accepted": accepted, "refused": refused}))
        limit_work(target.cpu_seconds)
        error = _try(target, data, folder)
        limit_work(0)
        if error is None:
            accepted += 1
        elif target.refuses(error):
            refused += 1
        else:
            shown = "".join(traceback.format_exception(error, limit=-8))[-3000:]
            found = {"name": name, "error": repr(error)[:300], "place": _place(error), "traceback": shown}
            print(json.dumps(found), flush=True)
    (folder / "state.json").write_text(json.dumps({"name": None, "accepted": accepted, "refused": refused}))


def _target(name: str) -> Target:
    """Find the target of a name; the fuzzer's own tests name theirs as "module:attribute" in the environment."""
    module, _, attribute = os.environ.get("ONNXPIPE_FUZZ_TARGET", "").partition(":")
    if module:
        target = getattr(importlib.import_module(module), attribute)
        assert isinstance(target, Target)
        return target
    from fuzz.targets import TARGETS

    return TARGETS[name]


def _try(target: Target, data: bytes, folder: Path) -> BaseException | None:
    """Run one input in an empty folder; return the error, if there is one."""
    room = folder / "room"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    try:
        target.run(data, room)
    except BaseException as error:  # a panic of Rust is one, and so is sys.exit
        return error
    return None


def _place(error: BaseException) -> str:
    """Name the innermost function of the runtime that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "onnxpipe" in frame.filename]
    where = f"{frames[-1].filename.rsplit('onnxpipe/')[-1]}:{frames[-1].name}" if frames else "the target"
    return f"{type(error).__name__} in {where}"


def limit_work(seconds: int) -> None:
    """End the process, with a traceback on stderr, when it has worked for so long from now on; 0 for no limit.

    Only the processor's time counts, so a busy machine makes no difference; and as the kernel ends it, code in C is
    ended too.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


def limit_memory(more: int) -> None:
    """Let the process have at most so many bytes of address space more than now."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(sys.argv[1:])
