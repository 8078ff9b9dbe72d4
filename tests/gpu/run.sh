#!/bin/sh
# What a machine with one GPU must show, in eight minutes: see README.md beside this. Options are those of report.py.
set -eu
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD/src:$PWD/tests/benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" tests/gpu/report.py "$@"
