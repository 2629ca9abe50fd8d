#!/usr/bin/env bash
# Checks that each header can be included alone, and all of them in any order, from
# C89 and from C++, without a warning; and that all macros can be used.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict=(-Wall -Wextra -Werror -pedantic -fsyntax-only -Ilibspread/include)

check() {
    "${CC:-cc}" -std=c89 "${strict[@]}" -Wstrict-prototypes -x c "$1"
    "${CC:-cc}" -std=c11 "${strict[@]}" -x c "$1"
    "${CXX:-c++}" -std=c++98 "${strict[@]}" -Wno-long-long -x c++ "$1"
    "${CXX:-c++}" -std=c++17 "${strict[@]}" -x c++ "$1"
}

for headers in 'sp.h' 'fl.h' 'fl.h sp.h' 'sp_events.h' 'sp_func.h' 'sp_func.h sp.h' 'sp_events.h sp.h sp_func.h'; do
    for header in $headers; do
        echo "#include <$header>"
    done >"$work/headers"
    cp "$work/headers" "$work/headers.c"
    echo 'sp_time when(void);' >>"$work/headers.c"
    check "$work/headers.c"
done

# Each macro, with an argument if it takes one.
{
    echo '#include <fl.h>'
    echo 'unsigned long all(int t);'
    echo 'unsigned long all(int t) {'
    echo '    unsigned long sum = 0;'
    sed -nE 's/^#define +([A-Z][A-Za-z_0-9]*)\(t\).*/    sum += (unsigned long) \1(t);/p' \
        libspread/include/*.h
    sed -nE 's/^#define +([A-Z][A-Z_0-9]*) .*/    sum += (unsigned long) \1;/p' libspread/include/*.h
    echo '    return sum;'
    echo '}'
} >"$work/macros.c"
grep -q 'Is_self_leave(t)' "$work/macros.c"
check "$work/macros.c"
