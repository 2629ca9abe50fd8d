#!/usr/bin/env bash
# The code is formatted as rustfmt does it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo fmt --manifest-path ci/proto/Cargo.toml --check
