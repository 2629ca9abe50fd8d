#!/usr/bin/env bash
# Checks how spread-sys finds an installed libspread, and what it says if it does
# not. What is installed, in a folder of its own, is the library of this project; the
# end-to-end suite runs over it.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset SPREAD_DIR SPREAD_INCLUDE_DIR SPREAD_LIB_DIR SPREAD_STATIC DOCS_RS
libspread/install.sh --prefix "$work/spread"

build() { # variables…
    env PKG_CONFIG_PATH= "$@" cargo build --package spread-sys --no-default-features --features system
}
says() { # sentence, variables…
    if build "${@:2}" >"$work/log" 2>&1; then
        echo "$0: it was built with ${*:2}" >&2
        exit 1
    fi
    grep -qF "$1" "$work/log" || { cat "$work/log" >&2; exit 1; }
}

build PKG_CONFIG_PATH="$work/spread/lib/pkgconfig"
build SPREAD_INCLUDE_DIR="$work/spread/include" SPREAD_LIB_DIR="$work/spread/lib"
build SPREAD_DIR="$work/spread" SPREAD_STATIC=1
build DOCS_RS=1

says "looked for the header sp.h of an installed Spread in: $work/none/include" \
    SPREAD_DIR="$work/none"
mkdir "$work/empty"
says 'looked for libspread.so or libspread.a or libtspread-core.so' \
    SPREAD_DIR="$work/spread" SPREAD_LIB_DIR="$work/empty"
# The library without locks is none.
touch "$work/empty/libspread-core.so" "$work/empty/libspread-core.a"
says 'Set SPREAD_DIR to the folder' SPREAD_DIR="$work/spread" SPREAD_LIB_DIR="$work/empty"
for change in 's/define SAFE_MESS .*/define SAFE_MESS 7/' 's/long usec;/char usec;/'; do
    rm -rf "$work/wrong"
    cp -r "$work/spread/include" "$work/wrong"
    sed -i "$change" "$work/wrong"/*.h
    says 'is not the sp.h that spread-sys can bind to' \
        SPREAD_DIR="$work/spread" SPREAD_INCLUDE_DIR="$work/wrong"
done
says 'needs libclang: install it' SPREAD_DIR="$work/spread" LIBCLANG_PATH="$work/empty" \
    LD_LIBRARY_PATH= LLVM_CONFIG_PATH=/bin/false

# ci/system.sh runs all tests over it.
export SPREAD_DIR=$work/spread LD_LIBRARY_PATH=$work/spread/lib
SPREAD_LIBRARY=sys cargo test --workspace --features system --test both --test e2e
