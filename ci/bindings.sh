#!/usr/bin/env bash
# Checks that spread-sys/src/bindings.rs is what bindgen makes of sp.h.
# With --update, makes it so. Needs libclang.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
cargo build --package spread-sys --features bindgen --target-dir "$target"
generated=("$target"/debug/build/spread-sys-*/out/bindings.rs)
if [ "${1-}" = --update ]; then
    cp "${generated[0]}" spread-sys/src/bindings.rs
else
    diff -u spread-sys/src/bindings.rs "${generated[0]}"
fi
