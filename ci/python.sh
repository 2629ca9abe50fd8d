#!/usr/bin/env bash
# The package for Python: the wheel is built, installed from its file into a fresh virtual
# environment, and tested there on embedded daemons. SPREAD_DAEMON tests on one that runs.
# PYTHON is the interpreter, python3 unless set. With REQUIRE_ALL=1 nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
# Cargo runs in two folders.
export CARGO_TARGET_DIR
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skip() {
    echo "!!! ci/python.sh: $1, so THE PACKAGE FOR PYTHON is NOT TESTED !!!"
    [ -z "${REQUIRE_ALL-}" ] || exit 1
    exit 0
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ||
    skip 'NO PYTHON 3.9 OR LATER HERE'
"$python" -m venv "$work/build" >/dev/null 2>&1 || skip "$python HAS NO venv"
maturin=$(command -v maturin) || {
    "$work/build/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.8,<2' ||
        skip 'NO maturin CAN BE HAD'
    maturin=$work/build/bin/maturin
}

(
    cd spread-python
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    "$maturin" build --locked --release --interpreter "$work/build/bin/python" --out "$work/wheels"
)
# With all of the workspace, so that what the test command compiles serves.
cargo test --workspace --test program --no-run
export SPREADD=$CARGO_TARGET_DIR/debug/spreadd

"$python" -m venv "$work/fresh"
"$work/fresh/bin/pip" install --quiet --disable-pip-version-check --no-index "$work"/wheels/*.whl
# Neither the folder of the sources nor anything installed for the user is imported.
cd spread-python/tests
"$work/fresh/bin/python" -bb -s -X dev -m unittest discover 2>&1 | tee "$work/log"
# Before Python 3.12 no tests are a success.
grep -qE '^Ran [1-9][0-9]* tests? ' "$work/log" || { echo "$0: there are no tests" >&2; exit 1; }
