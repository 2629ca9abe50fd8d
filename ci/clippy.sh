#!/usr/bin/env bash
# No warnings, with and without the features.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
cargo clippy -p spread-daemon -- -D warnings
cargo clippy -p libspread --features capi -- -D warnings
# With the checked-in bindings, so that no Spread needs to be installed.
DOCS_RS=1 cargo clippy -p spread -p spread-sys --features system --all-targets -- -D warnings
# Each feature of the client alone, and none.
cargo clippy -p spread --no-default-features -- -D warnings
for feature in sys mio tokio; do
    cargo clippy -p spread --no-default-features --features "$feature" -- -D warnings
done
