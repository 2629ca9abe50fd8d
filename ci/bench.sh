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

if [ $# = 0 ]; then
    set -- --count 2000 --warm-up 200 --runs 1 --groups 1,20 --deadline 20 --plot "$work/plot.svg"
fi
cargo run --release -p spreadctl -- bench --versus-client "$work/bench_c" "$@"
