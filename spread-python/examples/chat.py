#!/usr/bin/env python3
"""A chat: lines of standard input go to a group, and what comes from the group is printed.

    chat.py [--daemon 4803@localhost] [--group chat] NAME

One thread waits for both with select(), as the C module's documentation advises. The end of
the input leaves the group and ends the program.
"""

import argparse
import os
import select
import sys

import spread

REASONS = {
    spread.CAUSED_BY_JOIN: "joined",
    spread.CAUSED_BY_LEAVE: "left",
    spread.CAUSED_BY_DISCONNECT: "disconnected",
    spread.CAUSED_BY_NETWORK: "came along when the network changed",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--daemon", default=f"{spread.DEFAULT_SPREAD_PORT}@localhost")
    parser.add_argument("--group", default="chat")
    parser.add_argument("name")
    options = parser.parse_args()

    mailbox = spread.connect(options.daemon, options.name)
    mailbox.join(options.group)
    lines = b""
    is_over = False
    while not is_over:
        watched = [mailbox, sys.stdin]
        readable, _, _ = select.select(watched, [], [])
        if mailbox in readable:
            show(mailbox.receive())
        if sys.stdin in readable:
            # os.read(), because select() does not see what sys.stdin has buffered.
            read = os.read(sys.stdin.fileno(), 4096)
            *whole, lines = (lines + read).split(b"\n")
            for line in whole:
                mailbox.multicast(spread.AGREED_MESS, options.group, line)
            is_over = not read
    mailbox.leave(options.group)
    while not is_own_leave(message := mailbox.receive()):
        show(message)
    mailbox.disconnect()


def is_own_leave(message: object) -> bool:
    if not isinstance(message, spread.MembershipMsgType):
        return False
    return message.reason == spread.CAUSED_BY_LEAVE and not message.members


def show(message: object) -> None:
    if isinstance(message, spread.RegularMsgType):
        print(f"{message.sender}: {message.message.decode(errors='replace')}", flush=True)
    elif isinstance(message, spread.MembershipMsgType) and message.reason:
        who = ", ".join(message.extra)
        members = ", ".join(message.members)
        print(f"* {who} {REASONS[message.reason]}; members: {members}", flush=True)


if __name__ == "__main__":
    main()
