#!/usr/bin/env bash
# Each crate is packed as for crates.io, with its readme and its licences, and builds from
# the archives alone.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo package --workspace --exclude spread-workspace --allow-dirty
target=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
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
