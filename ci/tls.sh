#!/usr/bin/env bash
# TLS: its own tests at a spreadd with TLS, and the parts of the end-to-end suite that run over each
# transport, with TLS for TCP.
set -euo pipefail
cd "$(dirname "$0")/.."

# The same packages each time, so that all is compiled once.
run() {
    cargo test -p spread-workspace -p spread-toolkit -p spreadctl -p spreadd --features tls "$@"
}
run --lib --bins -- tls its_help its_man_page
run --test program -- help man_page
run --test tls
# One test is of the options of a TCP socket, which the mailbox's is not over TLS.
SPREAD_TRANSPORT=tls run --test e2e tcp:: -- \
    --skip a_dead_daemon_is_noticed_within_a_minute
