#!/bin/bash
# Corosync and spreadd on the hosts of net.sh.
#
#   node.sh conf DIR          writes DIR/spread.conf and DIR/corosync.conf
#   node.sh corosync N DIR    starts Corosync on host N
#   node.sh spreadd N DIR     starts spreadd on host N, as daemon dN
#   node.sh stop WHAT N DIR   ends corosync or spreadd; `kill` instead of `stop` kills it
#
# SPREADD is the program, with SPREADD_ARGS beside others. SCHED_RR=yes for real-time scheduling, which is the default of
# Corosync and slow when several of them share cores. TRANSPORT is udpu, or knet with
# TOKEN=1000: its threads look at the links every 200 ms, and with a shorter token it takes
# links for lost that are there.
set -eo pipefail
wait_for() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; return 1; }
case "$1" in
conf)
    dir=$2
    mkdir -p "$dir"
    echo 'Spread_Segment 10.78.0.255:4803 { d1 10.78.0.1 d2 10.78.0.2 d3 10.78.0.3 }' > "$dir/spread.conf"
    "${SPREADD:-spreadd}" corosync-conf "$dir/spread.conf" | sed \
        -e "s/transport: knet/transport: ${TRANSPORT:-udpu}\n\ttoken: ${TOKEN:-300}\n\ttoken_coefficient: 0\n\tmerge: 100/" \
        -e 's/to_syslog: yes/to_syslog: no\n\tto_stderr: yes/' > "$dir/corosync.conf"
    ;;
corosync)
    n=$2 dir=$3
    mkdir -p "$dir/state$n"
    (cat "$dir/corosync.conf"
     echo "system {"
     echo "	state_dir: $dir/state$n"
     echo "	sched_rr: ${SCHED_RR:-no}"
     echo "	move_to_root_cgroup: no"
     echo "}") > "$dir/corosync$n.conf"
    # Its pid file is in /run, which must be its own.
    ip netns exec "c$n" unshare -m bash -c \
        "mount -t tmpfs tmpfs /run; exec corosync -f -c $dir/corosync$n.conf" \
        > "$dir/corosync$n.log" 2>&1 < /dev/null &
    echo $! > "$dir/corosync$n.pid"
    wait_for ip netns exec "c$n" corosync-cfgtool -s
    ;;
spreadd)
    n=$2 dir=$3
    mkdir -p "$dir/unix$n"
    ip netns exec "c$n" "${SPREADD:-spreadd}" -c "$dir/spread.conf" --corosync -n "d$n" \
        --unix-dir "$dir/unix$n" ${SPREADD_ARGS-} \
        > "$dir/spreadd$n.log" 2>&1 < /dev/null &
    echo $! > "$dir/spreadd$n.pid"
    wait_for "${SPREADD:-spreadd}" health --unix-dir "$dir/unix$n"
    ;;
stop | kill)
    pid=$(cat "$4/$2$3.pid")
    # The number may belong to another process by now.
    is_there() { [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${name:0:15}" ]; }
    name=$2
    [ "$name" = corosync ] || name=$(basename "${SPREADD:-spreadd}")
    is_there || exit 0
    if [ "$1" = kill ]; then kill -9 "$pid"; else kill "$pid"; fi
    for _ in $(seq 200); do
        is_there || exit 0
        sleep 0.05
    done
    kill -9 "$pid"
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
