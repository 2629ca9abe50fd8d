#!/usr/bin/env bash
# TLS: its own tests at a spreadd with TLS, and the parts of the end-to-end suite that run over each
# transport, with TLS for TCP.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -p spreadd -p spreadctl --features spreadd/tls,spreadctl/tls
cargo test -p spread-toolkit --features tls --lib tls
cargo test -p spreadd --features tls help man_page
cargo test --features tls --test tls
SPREAD_TRANSPORT=tls cargo test --features tls --test native tcp::
