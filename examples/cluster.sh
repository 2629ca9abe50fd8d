#!/bin/bash
# Three hosts on this machine, to try how programs live through partitions: network
# namespaces, each with Corosync and spreadd. For root, on Linux.
#
#   examples/cluster.sh up                   three hosts, their daemons d1 d2 d3
#   examples/cluster.sh chat 1 anna          joins a chat on host 1, in each of two terminals:
#   examples/cluster.sh chat 3 carl          on host 3
#   examples/cluster.sh partition "1 2" 3    hosts that are named together see each other
#   examples/cluster.sh merge                all see each other again
#   examples/cluster.sh status               what each daemon sees
#   examples/cluster.sh run 2 COMMAND ...    runs a program on host 2; its daemon is in
#                                            SPREAD_DAEMON, which spreadctl takes, also for
#                                            status and kick, and at 4803@10.78.0.2
#   examples/cluster.sh down                 ends everything
#
# SPREADD and CHAT name the programs; otherwise cargo builds them. CLUSTER_DIR is the folder
# for configurations and logs, /var/lib/spread-cluster by default and not below /run: `up`
# makes it, `down` removes it. TRANSPORT and TOKEN are Corosync's.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
net=$root/ci/cluster/net.sh
node=$root/ci/cluster/node.sh
dir=${CLUSTER_DIR:-/var/lib/spread-cluster}
# In a folder that `up` has made.
marker=$dir/made-by-cluster.sh

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

needs() {
    [ "$(id -u)" = 0 ] || fail 'only root can make hosts of network namespaces'
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null ||
            fail "there is no $program here; it is in a package: corosync, iproute2, nftables or util-linux"
    done
}

is_host() {
    case "${1-}" in
    1 | 2 | 3) ip netns exec "c$1" true 2>/dev/null || fail "there are no hosts: first $0 up" ;;
    *) fail 'the hosts are 1, 2 and 3' ;;
    esac
}

# build VARIABLE PATH CARGO_ARGUMENTS...: sets the variable to a program, unless it is set.
build() {
    local name=$1 path=$2
    [ -z "${!name-}" ] || return 0
    (cd "$root" && cargo build --quiet "${@:3}")
    printf -v "$name" %s "$(cd "$root" && readlink -f "${CARGO_TARGET_DIR:-target}/debug/$path")"
    export "${name?}"
}

is_ours() {
    [ -O "$dir" ] && [ ! -L "$dir" ] && [ -O "$marker" ]
}

# Ends everything; the folder stays.
stop() {
    local what n
    if is_ours; then
        for what in spreadd corosync; do
            for n in 1 2 3; do
                [ ! -e "$dir/$what$n.pid" ] || "$node" stop "$what" "$n" "$dir" || true
            done
        done
    fi
    "$net" down
}

down() {
    stop
    if is_ours; then
        rm -rf "$dir"
    elif [ -e "$dir" ]; then
        echo "cluster.sh: $dir stays: $0 up has not made it" >&2
    fi
}

give_up() {
    is_ours || return 0
    stop
    echo "cluster.sh: it has failed; the logs are in $dir, until $0 down" >&2
}

# Whether all parts have hosts, each at most once.
are_parts() {
    local part hosts=
    for part in "$@"; do
        [[ $part =~ ^[[:space:]]*[123]([[:space:]]+[123])*[[:space:]]*$ ]] || return 1
        hosts+=" $part"
    done
    # shellcheck disable=SC2086
    [ $# -gt 0 ] && [ -z "$(printf '%s\n' $hosts | sort | uniq -d)" ]
}

# Waits until daemon 1 sees all.
form() {
    for _ in $(seq 300); do
        case $("$SPREADD" status --unix-dir "$dir/unix1") in
        *'configuration: d1 d2 d3'$'\n'*) return ;;
        esac
        sleep 0.1
    done
    fail 'the daemons do not find each other'
}

up() {
    needs corosync ip nft unshare sysctl
    unshare --net true 2>/dev/null || fail 'this root has no right to make namespaces'
    local n
    for n in 0 1 2 3; do
        [ ! -e "/run/netns/c$n" ] ||
            fail "there are hosts already, of this program or of ci/cluster/test.sh: $0 down"
    done
    build SPREADD spreadd -p spreadd
    [ ! -e "$dir" ] || fail "$dir cannot be made; if it is of an earlier $0 up: $0 down"
    trap 'code=$?; [ "$code" = 0 ] || give_up; exit "$code"' EXIT
    trap 'exit 130' INT TERM
    # Only for root, who also writes there, and made by nobody else before. No signal comes
    # between the two: `down` would not take the folder for its own.
    (trap '' INT TERM && mkdir -m 700 "$dir" && : >"$marker") || fail "$dir cannot be made"
    "$net" up
    "$node" conf "$dir"
    for n in 1 2 3; do "$node" corosync $n "$dir"; done
    for n in 1 2 3; do "$node" spreadd $n "$dir"; done
    form
    echo "Three hosts are up, with the daemons d1 d2 d3 at 4803@10.78.0.1 to 4803@10.78.0.3."
    echo "Next, in two terminals: $0 chat 1 anna, and $0 chat 3 carl;"
    echo "then $0 partition \"1 2\" 3; in the end $0 down"
}

command=${1-}
shift || true
case $command in
up) up ;;
chat)
    needs ip
    is_host "${1-}"
    build CHAT examples/tokio_chat --example tokio_chat
    exec ip netns exec "c$1" "$CHAT" --daemon "4803@10.78.0.$1" --name "${2:-host$1}"
    ;;
run)
    needs ip
    is_host "${1-}"
    [ $# -gt 1 ] || fail "which program: run $1 COMMAND ..."
    SPREAD_DAEMON=$dir/unix$1/4803 exec ip netns exec "c$1" "${@:2}"
    ;;
partition | merge)
    needs ip nft
    is_host 1
    [ "$command" = merge ] || are_parts "$@" ||
        fail 'which of the hosts 1, 2 and 3, each at most once: partition "1 2" 3'
    "$net" "${command/partition/part}" "$@"
    ;;
status)
    needs ip
    is_host 1
    build SPREADD spreadd -p spreadd
    for n in 1 2 3; do
        "$SPREADD" status --unix-dir "$dir/unix$n" || true
        echo
    done
    ;;
down)
    needs ip
    down
    ;;
*)
    sed -n '2,19s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
