#!/usr/bin/env bash
# Checks who may take messages off a session in all orders in which threads can go on.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
export CARGO_TARGET_DIR=$target/loom RUSTFLAGS="${RUSTFLAGS-} --cfg loom"
# They compute, and wait for nothing.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
export RUST_TEST_THREADS
cargo test --package libspread --lib models
