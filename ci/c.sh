#!/usr/bin/env bash
# Runs the programs of libspread/tests/c over our library, installed: suite.c under each
# of its names, linked in each way, the tests of the others over the shared one, one
# process each; under valgrind, but for what depends on threads that run beside each other or
# on time, since valgrind runs one thread at a time, and not each of them when it could run.
# The examples of libspread/README.md are compiled and run, too; that with a password runs at a
# spreadd that demands one, if there is one here. If SPREAD_DIR is set,
# suite.c and the tests that Spread's own library passes run over that. The daemon is that
# of SPREAD_DAEMON, or one started here.
set -euo pipefail
cd "$(dirname "$0")/.."

. ci/c/setup.sh

sources=libspread/tests/c
suite=$sources/suite.c
programs=(traps cancel forked flush disconnects races flush_races)
for example in hello login; do
    sed -n "/(\`$example\.c\`)/,/^\`\`\`\$/p" libspread/README.md | sed '1,/^```c$/d; /^```$/d' \
        >"$work/$example.c"
done
shared=($(pkg-config --cflags --libs spread) -Wl,-rpath,"$ours/lib")
static=($(pkg-config --static --cflags --libs spread))
compile shared -DOURS "$suite" "${shared[@]}" -lpthread -ldl
compile hello "$work/hello.c" "${shared[@]}"
compile login "$work/login.c" "${shared[@]}"
compile hello-static -static "$work/hello.c" "${static[@]}"
compile cancel-static -static -DOURS "$sources/cancel.c" "$sources/common.c" "${static[@]}"
for name in tspread-core spread-core; do
    compile "$name" -DOURS "$suite" -I"$ours/include" -L"$ours/lib" "-l$name" -lpthread -ldl
    compile "hello-$name" "$work/hello.c" -I"$ours/include" "$ours/lib/lib$name.a"
    # As Spread's own library, under its name, which the loader replaces by ours.
    sed 's/.*/void &(void) {}/' libspread/symbols.txt |
        "${CC:-cc}" -shared -x c -o "$work/lib$name-1.so" - "-Wl,-soname,lib$name.so.3"
    compile "old-$name" "$work/hello.c" -I"$ours/include" -L"$work" "-l$name-1"
done
for program in "${programs[@]}"; do
    compile "$program" -DOURS "$sources/$program.c" "$sources/common.c" "${shared[@]}" -lpthread
done
compile archive -DOURS "$suite" -I"$ours/include" "$ours/lib/libspread.a" -lpthread -ldl

run_each() { # program, command before it
    local test tests
    # Without a test it has not begun.
    tests=$("$work/$1")
    [ -n "$tests" ] || { echo "$1 has no tests" >&2; exit 1; }
    for test in $tests; do
        "${@:2}" "$work/$1" "$SPREAD_DAEMON" "$test" 2>"$work/log" || {
            echo "$1 $test failed:"
            cat "$work/log"
            exit 1
        } >&2
    done
}

check=(valgrind --quiet --error-exitcode=9 --leak-check=full)
"${check[@]}" "$work/shared" "$SPREAD_DAEMON" "$ours/lib/libspread.so.3"
"${check[@]}" "$work/archive" "$SPREAD_DAEMON" "$work/archive"
for name in tspread-core spread-core; do
    LD_LIBRARY_PATH=$ours/lib "$work/$name" "$SPREAD_DAEMON" "$ours/lib/libspread.so.3"
done
for program in hello hello-static {hello,old}-{t,}spread-core; do
    [ "$(LD_LIBRARY_PATH=$ours/lib "$work/$program" "$SPREAD_DAEMON")" = '6 bytes: hello' ] || {
        echo "$program does not say hello" >&2
        exit 1
    }
done
if [ -x "${spreadd-}" ]; then
    printf 'secret\n' | "$spreadd" passwd "$work/users" ann
    start_daemon "$work/guarded" --passwords "$work/users" --unix-dir "$work"
    [ "$("$work/login" "$address" ann secret)" = 'ann is in' ]
    [ "$("$work/login" "$address" ann guess)" != 'ann is in' ]
fi
run_each cancel-static
for program in traps cancel flush; do
    run_each "$program" "${check[@]}"
done
# The child of a fork leaves alone what belongs to threads of its parent.
run_each forked "${check[@]}" --leak-check=no
for program in disconnects races flush_races; do
    run_each "$program"
done
if [ -n "${SPREAD_DIR-}" ]; then
    system=(-I"$SPREAD_DIR/include" -L"$SPREAD_DIR/lib" -lspread
        -Wl,-rpath,"$SPREAD_DIR/lib" -lpthread -ldl)
    compile system "$suite" "${system[@]}"
    "$work/system" "$SPREAD_DAEMON" "$SPREAD_DIR/lib/libspread.so"
    for program in traps forked flush; do
        compile "$program" "$sources/$program.c" "$sources/common.c" "${system[@]}"
        run_each "$program"
    done
fi
