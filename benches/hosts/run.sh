#!/bin/bash
# Measures three daemons over Corosync beside three of Spread, each on a host of its own: the
# network namespaces of ci/cluster/net.sh. For root, with corosync, iproute2 and nftables;
# nothing else should use the machine meanwhile.
#
#     benches/hosts/run.sh DIR ROUNDS
#     benches/hosts/summary.py DIR/runs.csv
#
# Adds to DIR/runs.csv; DIR may be of an earlier run. SPREAD_DIR is where Spread is installed,
# SPREADD the program, SYSTEMS what takes turns in a round (spread udpu knet, or other names
# before a hyphen: udpu-rr runs with SCHED_RR=yes), CASES the workloads, as in the table below.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(readlink -f "$1") rounds=$2
spread_dir=${SPREAD_DIR:-/opt/spread}
net=$PWD/ci/cluster/net.sh node=$PWD/ci/cluster/node.sh
if [ -z "${SPREADD-}" ]; then
    cargo build --quiet --release -p spreadd
    SPREADD=$(readlink -f "${CARGO_TARGET_DIR:-target}/release/spreadd")
fi
export SPREADD
mkdir -p "$dir"
bench=$dir/bench_c
"${CC:-cc}" -O2 -Wall -Wextra -o "$bench" benches/c/bench.c \
    -I"$spread_dir/include" -L"$spread_dir/lib" -lspread -Wl,-rpath,"$spread_dir/lib"

# name: bytes, senders, service, messages of each sender
declare -A cases=(
    [64]='64 1 agreed 150000' [64x3]='64 3 agreed 60000'
    [1024]='1024 1 agreed 60000' [1024x3]='1024 3 agreed 25000'
    [16384]='16384 1 agreed 8000' [16384x3]='16384 3 agreed 3000'
    [safe]='64 1 safe 80000' [ping]='64 0 agreed 6000' [ping-safe]='64 0 safe 3000'
)
read -ra chosen <<<"${CASES:-64 64x3 1024 1024x3 16384 16384x3 safe ping ping-safe}"
read -ra systems <<<"${SYSTEMS:-spread udpu knet}"
pids=()

on() { ip netns exec "c$1" "${@:2}"; }

start_spread() {
    local n
    {
        echo 'Spread_Segment 10.78.0.255:4803 { d1 10.78.0.1 d2 10.78.0.2 d3 10.78.0.3 }'
        printf 'DaemonUser = spread\nDaemonGroup = spread\nSocketPortReuse = ON\n'
    } >"$dir/spread5.conf"
    for n in 1 2 3; do
        # Its socket is in /tmp, which must be its own.
        ip netns exec c$n unshare -m bash -c "mount -t tmpfs -o mode=1777 tmpfs /tmp
            exec $spread_dir/sbin/spread -c $dir/spread5.conf -n d$n" >"$dir/spread5-$n.log" 2>&1 &
        pids+=($!)
    done
    for n in 1 2 3; do
        until on $n bash -c ": </dev/tcp/10.78.0.$n/4803" 2>/dev/null; do sleep 0.1; done
    done
}

start_ours() { # transport
    local n
    export TRANSPORT=$1
    [ "$1" = udpu ] || export TOKEN=1000
    "$node" conf "$dir"
    for n in 1 2 3; do "$node" corosync $n "$dir"; done
    for n in 1 2 3; do "$node" spreadd $n "$dir"; done
    for n in 1 2 3; do pids+=("$(cat "$dir/corosync$n.pid")" "$(cat "$dir/spreadd$n.pid")"); done
    unset TRANSPORT TOKEN
}

stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.05
        done
        kill -9 "$pid" 2>/dev/null || true
    done
    pids=()
}
trap 'stop; "$net" down' EXIT
trap 'exit 130' INT TERM

# CPU time of all daemons, in ticks of 10 ms.
cpu() {
    local pid sum=0 stat
    for pid in "${pids[@]}"; do
        read -r stat <"/proc/$pid/stat"
        read -ra stat <<<"${stat##*) }"
        sum=$((sum + stat[11] + stat[12]))
    done
    echo "$sum"
}

# Waits until the three daemons are one configuration: a group has a member on each.
ready() {
    run 8 3 agreed 10 >/dev/null
}

# value KEY: from a line of results.
value() { sed -n "s/.* $1=\([0-9.]*\).*/\1/p"; }

# run BYTES SENDERS SERVICE COUNT: prints rate, CPU us of daemons and of clients, p50, p99.
run() {
    local n before seconds clients waiting=()
    local group
    group=$(date +%s%N)
    local common=(--group "g$group" --size "$1" --service "$3" --count "$4" --warm-up $(($4 / 10)))
    before=$(cpu)
    if [ "$2" = 0 ]; then
        on 2 "$bench" client pong --daemon 4803@10.78.0.2 "${common[@]}" >"$dir/out2" &
        waiting=($!)
        until grep -q ready "$dir/out2"; do sleep 0.02; done
        on 1 "$bench" client ping --daemon 4803@10.78.0.1 --peer "$(sed -n 's/ready //p' "$dir/out2")" \
            "${common[@]}" >"$dir/out1"
        wait "${waiting[0]}"
        echo ",,,$(value p50 <"$dir/out1"),$(value p99 <"$dir/out1")"
        return
    fi
    for n in 1 2 3; do
        on $n timeout 60 "$bench" client member --daemon "4803@10.78.0.$n" --receivers 3 --senders "$2" \
            --index $((n - 1)) --window 200 "${common[@]}" >"$dir/out$n" &
        waiting+=($!)
    done
    for n in "${waiting[@]}"; do wait "$n"; done
    seconds=$(cat "$dir"/out[123] | value seconds | sort -g | tail -1)
    clients=$(sed -n 's/.*client_cpu=\([0-9.]*\).*/\1/p' "$dir"/out[123] | paste -sd+)
    # The daemons' time is that of the warm-up, too.
    echo "$2 $4 $seconds $(($(cpu) - before)) $clients" | awk '{
        split($5, c, "+"); m = $1 * $2
        printf "%.0f,%.2f,%.2f,,\n", m / $3, $4 * 1e4 / (m * 1.1), (c[1] + c[2] + c[3]) * 1e6 / m }'
}

"$net" up
[ -e "$dir/runs.csv" ] || echo 'round,system,case,rate,daemons,clients,p50,p99' >"$dir/runs.csv"
for _ in $(seq "$rounds"); do
    round=$(date +%s)
    for system in "${systems[@]}"; do
        case $system in
        spread) start_spread ;;
        *-rr) SCHED_RR=yes start_ours "${system%-rr}" ;;
        *) start_ours "$system" ;;
        esac
        ready
        for case in "${chosen[@]}"; do
            read -ra arguments <<<"${cases[$case]}"
            echo "$round,$system,$case,$(run "${arguments[@]}")" | tee -a "$dir/runs.csv"
        done
        stop
    done
done
