#!/usr/bin/env bash
# The property models of spread-groups, of Flush Spread and of the cluster of several hosts,
# with 10,000 schedules each (16 hosts: 1,000), built for speed; and for each rule that is broken on
# purpose, the search for a schedule that shows it from the first seed on.
set -euo pipefail
cd "$(dirname "$0")/.."

# They compute, and wait for nothing.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(nproc)}
export RUST_TEST_THREADS

# play FILTERS...: a filter by which no test has passed is refused. All are compiled at once.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
play() {
    cargo test --release --lib -p spread-core -p spread-daemon -p spread-groups \
        --features spread-daemon/corosync -- "$@" | tee "$log"
    for filter in "$@"; do
        grep -q "^test .*$filter.* ok$" "$log" || {
            echo "$0: no test has passed for: $filter" >&2
            exit 1
        }
    done
}

PROPTEST_CASES=10000 play any_schedule_keeps_what_is_committed
seconds=$(sed -n 's/^test result: ok. 1 passed.* finished in \(.*\)s$/\1/p' "$log")
echo "== 10,000 schedules of groups with voters took $seconds s"
PROPTEST_CASES=10000 play messages_are_delivered any_schedule_keeps_the_members \
    any_schedule_with_changes any_schedule_with_forced any_schedule_keeps_extended three_hosts \
    five_hosts
PROPTEST_CASES=1000 play sixteen_hosts
PROPTEST_RNG_SEED=1 play is_caught are_caught is_found are_found a_schedule_breaks it_is_wrong
