#!/bin/bash
# Runs Corosync and the daemon that is named in DAEMON; ends when one of them does.
set -eu
conf=/etc/spread.conf
mkdir -p /etc/corosync /run/corosync
if [ -e /run/secrets/authkey ]; then
    cp /run/secrets/authkey /etc/corosync/authkey
    encrypt='s/# \(crypto_.*\)/\1/'
fi
spreadd corosync-conf "$conf" | sed -e "${encrypt-}" \
    -e 's/to_syslog: yes/to_syslog: no\n\tto_stderr: yes/' >/etc/corosync/corosync.conf
# Containers have no right to real-time scheduling, and their cores are shared.
printf 'system {\n\tsched_rr: no\n\tmove_to_root_cgroup: no\n}\n' >>/etc/corosync/corosync.conf
# The first process of a container ignores signals without a trap. The daemon ends first, so
# that clients are not cut off in the middle.
spreadd=
stopped=
trap 'stopped=yes; [ -z "$spreadd" ] || kill "$spreadd" 2>/dev/null' TERM INT
corosync -f &
corosync=$!

finish() { # exit code
    [ -z "$spreadd" ] || { kill "$spreadd" 2>/dev/null && wait "$spreadd"; } || true
    kill "$corosync" 2>/dev/null && wait "$corosync" || true
    [ -z "$stopped" ] || exit 0
    exit "$1"
}

tries=0
until corosync-cfgtool -s >/dev/null 2>&1; do
    [ -z "$stopped" ] || finish 0
    if ! kill -0 "$corosync" 2>/dev/null; then
        echo 'start.sh: corosync has ended' >&2
        finish 1
    fi
    tries=$((tries + 1))
    if [ "$tries" = 300 ]; then
        echo 'start.sh: corosync does not answer within 30 seconds' >&2
        finish 1
    fi
    sleep 0.1
done
spreadd -c "$conf" --corosync -n "$DAEMON" "$@" &
spreadd=$!
# The trap may have run before it was known.
[ -z "$stopped" ] || finish 0
wait -n "$corosync" "$spreadd" && code=0 || code=$?
finish "$code"
