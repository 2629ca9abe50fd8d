#!/usr/bin/env bash
# The envelope of the Python package dividere, written there and read here and the other way
# round, by Python's protobuf package; equal bytes. With REQUIRE_ALL=1 nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import google.protobuf' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    # What they print is no name of a Python.
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet protobuf; } >&2 || return 0
    echo "$venv/bin/python"
}

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python=$(find_python)
if [ -z "$python" ]; then
    echo "$0: SKIPPED: there is no Python with the package protobuf, and it could not be installed" >&2
    [ -z "${REQUIRE_ALL-}" ] || exit 1
    exit 0
fi
# With all of the workspace, so that what the test command compiles serves.
DIVIDERE_PYTHON=$python cargo test --workspace --test dividere -- --include-ignored
