#!/usr/bin/env bash
# Each crate is packed as for crates.io, with its readme and its licences, and compiles from
# the archives alone.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
rm -rf "$target/package"
cargo package --workspace --exclude spread-workspace --allow-dirty --no-verify
for archive in "$target"/package/*-"$version".crate; do
    files=$(tar -tf "$archive")
    for file in README.md LICENSE-APACHE LICENSE-MIT; do
        grep -q "/$file\$" <<<"$files" || {
            echo "$0: $(basename "$archive") has no $file" >&2
            exit 1
        }
    done
    manifest=$(tar -xOf "$archive" --wildcards '*/Cargo.toml')
    for field in description documentation license readme; do
        grep -q "^$field = " <<<"$manifest" || {
            echo "$0: $(basename "$archive") does not say its $field" >&2
            exit 1
        }
    done
done

# One workspace of what the archives hold, in which each is found instead of on crates.io.
# Cargo would build one after the other, with all that they need each time.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n\n[patch.crates-io]\n'
    for archive in "$target"/package/*-"$version".crate; do
        tar -xf "$archive" -C "$work"
        name=$(basename "$archive" ".crate")
        echo "${name%-"$version"} = { path = \"$name\" }"
    done
    # What is compiled already serves here, too.
    sed -n '/^\[profile/,$p' Cargo.toml
} >"$work/Cargo.toml"
cp Cargo.lock "$work"
CARGO_TARGET_DIR=$target cargo check --manifest-path "$work/Cargo.toml" --workspace
