#!/usr/bin/env bash
# Run the tests named in an environment with the lowest versions that pyproject.toml allows; made once per list of versions.
set -euo pipefail
cd "$(dirname "$0")/.."
pins=$(.venv/bin/python -m tools.lowest)
folder=.cache/lowest-$(printf '%s' "$pins" | sha256sum | cut -c1-12)
if [ ! -f "$folder/.done" ]; then
  rm -rf "$folder"
  .venv/bin/python -m venv "$folder"
  printf '%s\n' "$pins" > "$folder/pins.txt"
  "$folder/bin/pip" install -q --only-binary :all: -r "$folder/pins.txt"
  touch "$folder/.done"
fi
PYTHONPATH=runtime:export "$folder/bin/python" -m pytest -n auto "$@"
