#!/usr/bin/env bash
# The property models of spread-groups, of Flush Spread and of the cluster of several hosts,
# with 10,000 schedules each (16 hosts: 1,000), built for speed.
set -euo pipefail
cd "$(dirname "$0")/.."

# model CASES FILTER: a filter that matches no test is refused. All are compiled at once.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
model() {
    PROPTEST_CASES=$1 cargo test --release --lib -p spread-core -p spread-daemon -p spread-groups \
        --features spread-daemon/corosync "$2" | tee "$log"
    grep -q '^test result: ok. [1-9]' "$log" || {
        echo "$0: there is no test for: $2" >&2
        exit 1
    }
}

model 10000 messages_are_delivered
model 10000 any_schedule
model 10000 three_hosts
model 10000 five_hosts
model 1000 sixteen_hosts
