#!/bin/sh
# Each `paper` preset for some steps on one GPU: speed, peak memory, loss and the time of the whole recipe, as a table.
# Without a GPU one step of each is counted: weights, operations, memory.
#   scripts/gpu_check.sh [--data DATA] [--steps 40] [--seconds 30] [--count] [METHOD ...]
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=${PYTHON:-python3}
exec "$python" scripts/gpu_check.py "$@"
