#!/usr/bin/env bash
# TLS: its own tests at a spreadd with TLS, and the parts of the end-to-end suite that run over each
# transport, with TLS for TCP.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -p spreadd -p spreadctl --features spreadd/tls,spreadctl/tls
cargo test -p spread-toolkit --features tls --lib tls
cargo test -p spreadd --features tls -- its_help its_man_page
cargo test --features tls --test tls
# One test is of the options of a TCP socket, which the mailbox's is not over TLS.
SPREAD_TRANSPORT=tls cargo test --features tls --test native tcp:: -- \
    --skip a_dead_daemon_is_noticed_within_a_minute
