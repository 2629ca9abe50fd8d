#!/usr/bin/env bash
# Uses of libspread that are easy to get wrong, each by a test of libspread/tests/c: on our
# library, installed, where each has to pass, and if SPREAD_DIR is set on the original
# beside it. The daemon is that of SPREAD_DAEMON, or one started here.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/c/setup.sh

# What is shown, and the program and the test that show it.
cases() {
    cat <<'END'
a private name above 10 bytes is cut|traps a_long_private_name_is_cut
of private_group the name and a zero are written|traps only_the_name_is_written
blanks and a newline around an address|traps blanks_around_an_address_are_no_part_of_it
a sign before a port, a blank behind it|traps a_port_may_have_a_sign_and_a_blank_behind_it
SP_error between two printf is in its place|traps an_error_is_printed_in_its_place
errors have the same texts|traps errors_have_the_texts_of_the_original
a daemonised child goes on, its parent exits|forked the_parent_exits
a daemonised child goes on, its parent kills|forked the_parent_kills_its_mailbox
parent and child after a fork|forked the_parent_goes_on
pthread_cancel in SP_receive|cancel a_receive
pthread_cancel in a message that has come in part|cancel a_receive_of_half_a_message
pthread_cancel in SP_connect|cancel a_connect
pthread_cancel in SP_multicast|cancel a_multicast
pthread_cancel in SP_disconnect|cancel a_disconnect
pthread_cancel in E_handle_events|cancel a_loop_of_events
siglongjmp out of SP_receive|traps a_jump_out_of_a_receive
what is sent before a disconnect arrives|traps what_is_sent_before_a_disconnect_arrives
20 disconnects beside a stopped daemon: a second|disconnects twenty_disconnects_at_once_take_a_second
a disconnect and every other call at once|races disconnects_and_all_others
a kill and every other call at once|races kills_and_all_others
a receive and every other call at once|races receives_and_all_others
views come when all have flushed|flush a_message_comes_in_the_view_it_was_sent_in
subgroups of Flush Spread|flush a_subgroup_sees_who_got_the_message
any two calls of Flush Spread at once|flush_races two_calls_at_once
END
}

build() { # kind, options
    local program
    for program in traps forked cancel disconnects races flush flush_races; do
        compile "$1-$program" -DOURS "libspread/tests/c/$program.c" libspread/tests/c/common.c \
            "${@:2}" -lpthread
    done
}
build ours $(pkg-config --cflags --libs spread) -Wl,-rpath,"$ours/lib"
[ -z "${SPREAD_DIR-}" ] ||
    build original -I"$SPREAD_DIR/include" -L"$SPREAD_DIR/lib" -lspread \
        -Wl,-rpath,"$SPREAD_DIR/lib"

result() { # kind, program, test
    local patience=60
    [ "$1" = ours ] || patience=10
    if ROUNDS=10 timeout "$patience" "$work/$1-$2" "$SPREAD_DAEMON" "$3" >"$work/$1.log" 2>&1; then
        echo works
    else
        echo fails
    fi
}
failed=0
while IFS='|' read -r what test; do
    read -r program name <<<"$test"
    line=$(printf '%-50s %s' "$what" "$(result ours "$program" "$name")")
    case $line in
        *fails)
            failed=1
            cat "$work/ours.log" ;;
    esac
    [ -z "${SPREAD_DIR-}" ] || line="$line, the original $(result original "$program" "$name")"
    echo "$line"
done < <(cases)
exit $failed
