#!/usr/bin/env bash
# The README's test command, and all of the end-to-end suite over libspread.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --workspace
SPREAD_LIBRARY=sys cargo test --workspace --test e2e
