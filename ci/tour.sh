#!/usr/bin/env bash
# The README's first command, with nobody to help it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --example tour </dev/null
