"""Run the blocks of one page: Python blocks in this process, which keeps their names, and bash blocks in a shell.

python driver.py steps.json      # [{"language": "python" | "bash", "code": …, "name": "page.md:12"}, …]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

namespace: dict[str, object] = {"__name__": "__main__"}
for step in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
    print(f"-- {step['name']}", flush=True)
    if step["language"] == "python":
        exec(compile(step["code"], step["name"], "exec"), namespace)
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", step["code"]], check=True)
