#!/usr/bin/env bash
# Runs all tests over an installed libspread, that of SPREAD_DIR:
#     SPREAD_DIR=/opt/spread ci/system.sh [daemon…]
# on embedded daemons, and then on each daemon named, as in 4803@localhost.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${SPREAD_DIR:?set it to where Spread is installed}"

# Programs have the folder as their run path; doc tests have none.
export LD_LIBRARY_PATH="$SPREAD_DIR/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
cargo test --workspace --features system
SPREAD_LIBRARY=sys cargo test --workspace --features system --test e2e --test quota
for daemon in "$@"; do
    export SPREAD_DAEMON=$daemon
    cargo test --workspace --features system
    SPREAD_LIBRARY=sys cargo test --workspace --features system --test e2e
done
