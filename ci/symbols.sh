#!/usr/bin/env bash
# Checks that the shared library exports the functions of libspread/symbols.txt,
# and nothing else. With --update, writes the list.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
libspread/install.sh --destdir "$root"
exported() {
    nm --dynamic --defined-only "$root/usr/local/lib/libspread.so" | awk '{ print $3 }' | LC_ALL=C sort
}
if [ "${1-}" = --update ]; then
    exported >libspread/symbols.txt
else
    diff -u libspread/symbols.txt <(exported)
fi
# What the headers declare is what there is.
diff -u libspread/symbols.txt \
    <(cat libspread/include/*.h | grep -oE '\b(SP|FL|E)_[a-z_]+\(' | tr -d '(' | LC_ALL=C sort -u)
