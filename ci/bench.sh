#!/usr/bin/env bash
# Runs each workload of spreadctl bench for a moment, with its own clients and with
# those in C, to see that they work: the figures say nothing. With arguments it
# measures, and what it prints counts:
#     ci/bench.sh --versus 4803
# The clients in C are the second side. They are linked with the Spread of
# SPREAD_DIR, or with our own library.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
spread=${SPREAD_DIR-}
if [ -z "$spread" ]; then
    spread=$work/spread
    libspread/install.sh --prefix "$spread"
fi
"${CC:-cc}" -O2 -Wall -Wextra -Werror -o "$work/bench_c" benches/c/bench.c \
    -I"$spread/include" -L"$spread/lib" -lspread -Wl,-rpath,"$spread/lib"

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
if [ $# = 0 ]; then
    # With all of the workspace, so that what the test command compiles serves.
    cargo test --workspace --test program --no-run
    spreadctl=$target/debug/spreadctl
    set -- --count 2000 --warm-up 200 --runs 1 --groups 1,20 --deadline 20 --plot "$work/plot.svg"
else
    cargo build --release -p spreadctl
    spreadctl=$target/release/spreadctl
fi
"$spreadctl" bench --versus-client "$work/bench_c" "$@"
