#!/usr/bin/env bash
# Runs libspread/tests/c/suite.c: on our shared and our static library under
# valgrind, and on an installed Spread if SPREAD_DIR is set. The daemon is that of
# SPREAD_DAEMON, or one of its own.
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
    "${CC:-cc}" -g -Wall -Wextra -Werror -o "$work/$1" "${@:2}"
}
suite=libspread/tests/c/suite.c
compile shared -DOURS "$suite" $(pkg-config --cflags --libs spread) \
    -Wl,-rpath,"$ours/lib" -lpthread -ldl
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

check=(valgrind --quiet --error-exitcode=9 --leak-check=full)
"${check[@]}" "$work/shared" "$SPREAD_DAEMON" "$ours/lib/libspread.so.3"
"${check[@]}" "$work/static" "$SPREAD_DAEMON" "$work/static"
if [ -n "${SPREAD_DIR-}" ]; then
    compile system "$suite" -I"$SPREAD_DIR/include" -L"$SPREAD_DIR/lib" -lspread \
        -Wl,-rpath,"$SPREAD_DIR/lib" -lpthread -ldl
    "$work/system" "$SPREAD_DAEMON" "$SPREAD_DIR/lib/libspread.so"
fi
