# For the checks of the C side, which source it: installs our library below "$work", as
# "$ours", and starts a daemon unless SPREAD_DAEMON has the address of one.

work=$(mktemp -d)
daemon_pids=()
finish() {
    # They may have ended.
    [ ${#daemon_pids[@]} = 0 ] || kill "${daemon_pids[@]}" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

libspread/install.sh --destdir "$work"
ours=$work/usr/local
export PKG_CONFIG_PATH=$ours/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work
compile() { # program, include, library and options
    "${CC:-cc}" -g -O1 -Wall -Wextra -Werror -o "$work/$1" "${@:2}"
}

# Starts a daemon at a free port, which logs to a file, and sets address.
start_daemon() { # log, options
    touch "$1"
    "$spreadd" --port 0 "${@:2}" >"$1" 2>&1 &
    local pid=$!
    daemon_pids+=("$pid")
    until address=$(grep -aoE '[0-9]+@[^ ]+' "$1" | head -n 1) && [ -n "$address" ]; do
        kill -0 "$pid" 2>/dev/null || { cat "$1" >&2; exit 1; }
        sleep 0.05
    done
}

if [ -z "${SPREAD_DAEMON-}" ]; then
    # With all of the workspace, so that what the test command compiles serves.
    cargo test --workspace --test program --no-run
    target=$(cargo metadata --format-version 1 --no-deps |
        sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    spreadd=$target/debug/spreadd
    start_daemon "$work/daemon"
    SPREAD_DAEMON=$address
fi
