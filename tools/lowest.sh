#!/usr/bin/env bash
# Run pytest with its arguments in an environment with the lowest versions that pyproject.toml allows, `runtime` or `export`. It is
# made once per list of versions and kept in .cache: tools/lowest.sh runtime tests/unit
set -euo pipefail
cd "$(dirname "$0")/.."
environment=$1
shift
pins=$(.venv/bin/python -m tools.lowest "$environment")
folder=.cache/lowest-$environment-$(printf '%s' "$pins" | sha256sum | cut -c1-12)
if [ ! -f "$folder/.done" ]; then
  rm -rf ".cache/lowest-$environment"-*
  .venv/bin/python -m venv "$folder"
  printf '%s\n' "$pins" > "$folder/pins.txt"
  "$folder/bin/pip" install -q --only-binary :all: -r "$folder/pins.txt"
  "$folder/bin/pip" install -q --no-deps -e .
  touch "$folder/.done"
fi
PYTHONPATH=runtime:export "$folder/bin/python" -m pytest "$@"
