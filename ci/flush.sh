#!/usr/bin/env bash
# Members of groups of Flush Spread that are written in C over our library, installed, and if
# SPREAD_DIR is set over Spread's own, are members beside spread::flush::Mailbox. The daemon is
# that of SPREAD_DAEMON, or one started here.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/c/setup.sh

sources=(libspread/tests/c/flush_peer.c libspread/tests/c/common.c)
compile ours "${sources[@]}" $(pkg-config --cflags --libs spread) -Wl,-rpath,"$ours/lib" -lpthread
FLUSH_PEERS=$work/ours:$work/ours
if [ -n "${SPREAD_DIR-}" ]; then
    compile original "${sources[@]}" -I"$SPREAD_DIR/include" -L"$SPREAD_DIR/lib" -lspread \
        -Wl,-rpath,"$SPREAD_DIR/lib" -lpthread -ldl
    FLUSH_PEERS+=:$work/original
fi
export FLUSH_PEERS SPREAD_DAEMON
for library in native sys; do
    # With all of the workspace, so that what the test command compiles serves.
    SPREAD_LIBRARY=$library cargo test --workspace --test e2e programs_in_c_are_members -- --ignored | tee "$work/log"
    # A filter that matches no test is refused.
    grep -q '^test result: ok. 1 passed' "$work/log"
done
