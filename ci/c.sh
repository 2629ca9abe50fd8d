#!/usr/bin/env bash
# Runs the programs of libspread/tests/c over our library: suite.c over the shared
# and the static one, the tests of the others over the shared one, one process each;
# under valgrind, but for races.c, since valgrind runs one thread at a time. If
# SPREAD_DIR is set, suite.c and the tests that Spread's own library passes run over
# that, too. The daemon is that of SPREAD_DAEMON, or one started here.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
daemon_pid=
finish() {
    [ -z "$daemon_pid" ] || kill "$daemon_pid"
    rm -rf "$work"
}
trap finish EXIT

libspread/install.sh --destdir "$work"
ours=$work/usr/local
export PKG_CONFIG_PATH=$ours/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work
compile() { # program, include, library and options
    "${CC:-cc}" -g -O1 -Wall -Wextra -Werror -o "$work/$1" "${@:2}"
}
sources=libspread/tests/c
suite=$sources/suite.c
programs=(traps cancel forked races)
compile shared -DOURS "$suite" $(pkg-config --cflags --libs spread) \
    -Wl,-rpath,"$ours/lib" -lpthread -ldl
for name in tspread-core spread-core; do
    compile "$name" -DOURS "$suite" -I"$ours/include" -L"$ours/lib" "-l$name" -lpthread -ldl
done
for program in "${programs[@]}"; do
    compile "$program" -DOURS "$sources/$program.c" "$sources/common.c" \
        $(pkg-config --cflags --libs spread) -Wl,-rpath,"$ours/lib" -lpthread
done
compile static -DOURS "$suite" $(pkg-config --cflags spread) "$ours/lib/libspread.a" \
    $(pkg-config --static --libs-only-l spread | sed 's/-lspread//') -lpthread -ldl

if [ -z "${SPREAD_DAEMON-}" ]; then
    cargo build --package spreadd
    target=$(cargo metadata --format-version 1 --no-deps |
        sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    "$target/debug/spreadd" --port 0 >"$work/daemon" 2>&1 &
    daemon_pid=$!
    until SPREAD_DAEMON=$(grep -aoE '[0-9]+@[^ ]+' "$work/daemon" | head -n 1) &&
        [ -n "$SPREAD_DAEMON" ]; do
        kill -0 "$daemon_pid" || { cat "$work/daemon" >&2; exit 1; }
    done
fi

run_each() { # program, command before it
    local test
    for test in $("$work/$1"); do
        "${@:2}" "$work/$1" "$SPREAD_DAEMON" "$test" 2>"$work/log" || {
            echo "$1 $test failed:"
            cat "$work/log"
            exit 1
        } >&2
    done
}

check=(valgrind --quiet --error-exitcode=9 --leak-check=full)
"${check[@]}" "$work/shared" "$SPREAD_DAEMON" "$ours/lib/libspread.so.3"
"${check[@]}" "$work/static" "$SPREAD_DAEMON" "$work/static"
for program in traps cancel; do
    run_each "$program" "${check[@]}"
done
# The child of a fork leaves alone what belongs to threads of its parent.
run_each forked "${check[@]}" --leak-check=no
run_each races
if [ -n "${SPREAD_DIR-}" ]; then
    system=(-I"$SPREAD_DIR/include" -L"$SPREAD_DIR/lib" -lspread
        -Wl,-rpath,"$SPREAD_DIR/lib" -lpthread -ldl)
    compile system "$suite" "${system[@]}"
    "$work/system" "$SPREAD_DAEMON" "$SPREAD_DIR/lib/libspread.so"
    for program in traps forked; do
        compile "$program" "$sources/$program.c" "$sources/common.c" "${system[@]}"
        run_each "$program"
    done
fi
