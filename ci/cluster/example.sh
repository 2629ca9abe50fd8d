#!/bin/bash
# Plays examples/cluster.sh through: two chats on two hosts, a partition and a merge. For
# root, as test.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=examples/cluster.sh
work=$(mktemp -d)
export CLUSTER_DIR=$work/cluster
clean_up() {
    exec 3>&- 4>&-
    $cluster down
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    echo "ci/cluster/example.sh: $*" >&2
    exit 1
}

# heard FILE TEXT: waits until a chat has told so.
heard() {
    for _ in $(seq 300); do
        grep -q -- "$2" "$1" && return
        sleep 0.1
    done
    fail "no '$2' in: $(cat "$1")"
}

# sees TEXT: a daemon sees this configuration.
sees() {
    $cluster status >"$work/status"
    grep -q "^$1\$" "$work/status" || fail "no '$1' in: $(cat "$work/status")"
}

# refuses TEXT, variables...: `up` fails and says this.
refuses() {
    if env "${@:2}" $cluster up 2>"$work/refused"; then fail "up does not say '$1'"; fi
    grep -qF -- "$1" "$work/refused" || fail "no '$1' in: $(cat "$work/refused")"
}

# stays_usable SIGNAL: `up` that is interrupted as soon as there is a folder leaves one that `down`
# removes.
stays_usable() {
    local up
    # In a group of its own, as at a terminal; a shell ignores SIGINT for what it starts in the
    # background.
    setsid env --default-signal=INT,TERM bash "$cluster" up >/dev/null 2>&1 &
    up=$!
    until [ -d "$CLUSTER_DIR" ]; do
        kill -0 "$up" || fail 'up ends without a folder'
    done
    kill "-$1" -- "-$up"
    if wait "$up"; then fail "up has not noticed SIG$1"; fi
    $cluster down
    [ ! -e "$CLUSTER_DIR" ] || fail "$CLUSTER_DIR is left over after SIG$1"
}

# rejects TEXT, arguments...: the example fails and says this.
rejects() {
    if $cluster "${@:2}" 2>"$work/rejected"; then fail "it takes: ${*:2}"; fi
    grep -qF -- "$1" "$work/rejected" || fail "no '$1' in: $(cat "$work/rejected")"
}

# Another folder is neither written to nor removed.
mkdir "$CLUSTER_DIR"
echo mine >"$CLUSTER_DIR/file"
refuses "$CLUSTER_DIR cannot be made"
$cluster down
[ "$(ls "$CLUSTER_DIR")" = file ] || fail 'a folder that up has not made is changed'
rm -r "$CLUSTER_DIR"
# What has failed leaves its folder.
refuses "the logs are in $CLUSTER_DIR" SPREADD=/bin/false
[ -d "$CLUSTER_DIR" ] || fail 'the logs are gone'
[ ! -e /run/netns/c0 ] || fail 'hosts are left over'
$cluster down
stays_usable INT
stays_usable TERM
$cluster up
refuses 'there are hosts already'
rejects 'which of the hosts' partition foo
rejects 'which of the hosts' partition 1 2 7
rejects 'which of the hosts' partition '1 2' '2 3'
rejects 'which of the hosts' partition
rejects 'which program: run 1 COMMAND' run 1
# shellcheck disable=SC2016
said=$($cluster run 2 bash -c 'echo "$SPREAD_DAEMON"')
[ -S "$said" ] || fail "run names no socket in SPREAD_DAEMON: $said"
mkfifo "$work/in1" "$work/in3"
# Not in the background before they are built.
cargo build --quiet --example tokio_chat
$cluster chat 1 anna <"$work/in1" >"$work/anna" 2>&1 &
anna=$!
exec 3>"$work/in1"
heard "$work/anna" '1 here'
$cluster chat 3 carl <"$work/in3" >"$work/carl" 2>&1 &
carl=$!
exec 4>"$work/in3"
heard "$work/anna" '2 here'
sees 'configuration: d1 d2 d3'
: >"$work/anna"
$cluster partition '1 2' 3
heard "$work/anna" '1 here'
sees 'configuration: d1 d2; absent: d3'
: >"$work/carl"
$cluster merge
heard "$work/carl" '2 here'
echo 'hello from host 1' >&3
heard "$work/carl" 'anna: hello from host 1'
exec 3>&- 4>&-
wait "$anna" || fail 'the chat of anna has failed'
wait "$carl" || fail 'the chat of carl has failed'
$cluster down
for n in 0 1 2 3; do
    [ ! -e "/run/netns/c$n" ] || fail "c$n is left over"
done
[ ! -e "$CLUSTER_DIR" ] || fail "$CLUSTER_DIR is left over"
echo 'examples/cluster.sh has come up, parted, merged and gone'
