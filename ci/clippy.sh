#!/usr/bin/env bash
# No warnings, with and without the features. With --all, the client has each combination of its
# features, otherwise none, each by itself and all; and the benches beside other servers are checked.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
cargo clippy --workspace --all-targets --features bench -- -D warnings
cargo clippy -p spread-daemon -- -D warnings
cargo clippy -p spreadd --no-default-features --all-targets -- -D warnings
# TLS, which is off by default, with its tests.
cargo clippy --features tls --test tls -- -D warnings
cargo clippy -p spreadd -p spreadctl --features spreadd/tls,spreadctl/tls --all-targets -- \
    -D warnings
cargo clippy -p spreadd --no-default-features --features tls -- -D warnings
cargo clippy -p libspread --features capi -- -D warnings
# With the checked-in bindings, so that no Spread needs to be installed.
DOCS_RS=1 cargo clippy -p spread-toolkit -p spread-sys --features system --all-targets -- -D warnings
# The codecs that can be left out.
for chosen in '' json dividere; do
    cargo clippy -p spread-groups --no-default-features --features "$chosen" -- -D warnings
done
cargo clippy -p spread-toolkit --no-default-features --features tls -- -D warnings
cargo clippy -p spread-toolkit --features tls,tokio,tracing --tests -- -D warnings
# The benches beside etcd and async-nats, which are not of the workspace and compile 200 crates more.
for beside in etcd nats; do
    [ "${1-}" = --all ] || continue
    cargo clippy --locked --manifest-path "benches/$beside/Cargo.toml" --target-dir "$target" \
        --all-targets -- -D warnings
done
# The client without features, with each by itself, and with all; with --all in each combination.
features=(sys mio tokio serde tracing)
all=$(((1 << ${#features[@]}) - 1))
for ((set = 0; set <= all; set++)); do
    ((set & (set - 1) && set != all)) && [ "${1-}" != --all ] && continue
    chosen=
    for place in "${!features[@]}"; do
        ((set >> place & 1)) && chosen+="${features[place]},"
    done
    cargo clippy -p spread-toolkit --no-default-features --features "$chosen" -- -D warnings
done
