#!/bin/bash
# Runs spread-daemon/tests/hosts on three hosts made of network namespaces, each with
# Corosync and spreadd; cleans up after itself. For root, with corosync, iproute2 and
# nftables; sends nothing to any other network. Arguments are those of the test.
#
# A long run: SPREAD_CHAOS=1000000 SPREAD_CHAOS_SECONDS=600 RELEASE=yes ci/cluster/test.sh chaos
#
# That the checks see what labels are for is a test of the model: cluster/remote/model.rs.
set -e
here=$(dirname "$(readlink -f "$0")")
cd "$here/../.."
options=(-q)
[ -z "${RELEASE-}" ] || options+=(--release)
# With all of the workspace, so that what the test command compiles serves.
cargo test "${options[@]}" --workspace --test program --test hosts --no-run
folder=debug
[ -z "${RELEASE-}" ] || folder=release
SPREADD=$(readlink -f "${CARGO_TARGET_DIR:-target}/$folder/spreadd")
# The chaos has clients that flood others, which are not to be disconnected for it.
export SPREADD_ARGS='--max-session-messages 100000'
export SPREADD SPREAD_HOSTS=${SPREAD_HOSTS:-$(mktemp -d)}
clean_up() {
    for what in spreadd corosync; do
        for n in 1 2 3; do
            "$here/node.sh" stop $what $n "$SPREAD_HOSTS" 2>/dev/null || true
        done
    done
    "$here/net.sh" down
}
trap clean_up EXIT
"$here/net.sh" down
"$here/net.sh" up
"$here/node.sh" conf "$SPREAD_HOSTS"
for n in 1 2 3; do "$here/node.sh" corosync $n "$SPREAD_HOSTS"; done
for n in 1 2 3; do "$here/node.sh" spreadd $n "$SPREAD_HOSTS"; done
ip netns exec c0 cargo test "${options[@]}" --workspace --test hosts -- --ignored --test-threads=1 --nocapture "$@"
