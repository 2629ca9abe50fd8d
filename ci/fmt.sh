#!/usr/bin/env bash
# The code is formatted as rustfmt does it.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
for apart in ci/proto benches/etcd benches/nats; do
    cargo fmt --manifest-path "$apart/Cargo.toml" --check
done
