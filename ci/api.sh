#!/usr/bin/env bash
# The public API of each crate that programs use is the one written in ci/api/. With --update,
# writes it there, so that a change of the API shows in the diff of its commit.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
changed=
check() { # package, library, options
    RUSTDOC=$PWD/ci/api/rustdoc cargo rustdoc --package "$1" --lib "${@:3}" -- \
        -Zunstable-options --output-format json
    CARGO_TARGET_DIR="$target/api" cargo run --quiet --manifest-path ci/api/Cargo.toml -- \
        "$target/doc/$2.json" >"$target/api/$1.txt"
    if [ "$mode" = --update ]; then
        cp "$target/api/$1.txt" "ci/api/$1.txt"
    else
        diff -u "ci/api/$1.txt" "$target/api/$1.txt" || changed+=" $1"
    fi
}

mode=${1-}
mkdir -p "$target/api"
check spread-toolkit spread --features mio,tokio,serde,tls,tracing
# What spread re-exports is listed here.
check spread-wire spread_wire
check spread-daemon spread_daemon --features passwords
check spread-groups spread_groups
if [ -n "$changed" ]; then
    echo "$0: the public API has changed:$changed; if it should, run ci/api.sh --update" >&2
    exit 1
fi
