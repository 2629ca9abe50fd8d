#!/usr/bin/env bash
# Checks that spread-groups/src/core/proto.rs is what prost makes of envelope.proto.
# With --update, makes it so.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CARGO_TARGET_DIR="$target/proto" cargo run --quiet --locked --manifest-path ci/proto/Cargo.toml -- \
    spread-groups/proto/envelope.proto "$work"
generated=$work/spread.groups.v1.rs
if [ "${1-}" = --update ]; then
    cp "$generated" spread-groups/src/core/proto.rs
else
    diff -u spread-groups/src/core/proto.rs "$generated"
fi
