# For the checks of the C side, which source it: installs our library below "$work", as
# "$ours", and starts a daemon unless SPREAD_DAEMON has the address of one.

work=$(mktemp -d)
daemon_pid=
finish() {
    # It may have ended.
    [ -z "$daemon_pid" ] || kill "$daemon_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

libspread/install.sh --destdir "$work"
ours=$work/usr/local
export PKG_CONFIG_PATH=$ours/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work
compile() { # program, include, library and options
    "${CC:-cc}" -g -O1 -Wall -Wextra -Werror -o "$work/$1" "${@:2}"
}

if [ -z "${SPREAD_DAEMON-}" ]; then
    cargo build --package spreadd
    target=$(cargo metadata --format-version 1 --no-deps |
        sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    "$target/debug/spreadd" --port 0 >"$work/daemon" 2>&1 &
    daemon_pid=$!
    until SPREAD_DAEMON=$(grep -aoE '[0-9]+@[^ ]+' "$work/daemon" | head -n 1) &&
        [ -n "$SPREAD_DAEMON" ]; do
        kill -0 "$daemon_pid" 2>/dev/null || { cat "$work/daemon" >&2; exit 1; }
        sleep 0.05
    done
fi
