#!/usr/bin/env bash
# The documentation builds without warnings.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
# As on docs.rs, where no Spread is installed.
DOCS_RS=1 RUSTDOCFLAGS='-D warnings' cargo doc --no-deps \
    -p spread-toolkit -p spread-sys --features system,spread-toolkit/mio,spread-toolkit/tokio,spread-toolkit/serde,spread-toolkit/tls,spread-toolkit/tracing
