#!/usr/bin/env python3
"""Measures a client that sends messages to its own group and receives them.

    rate.py [--daemon 4803@localhost] [--count 100000] [--size 64] [--window 200] [--runs 5]

At most `window` messages are under way. Prints the rate of each run and the median. It runs on
the C module for Python 3, too.
"""

import argparse
import statistics
import time

import spread


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--daemon", default=f"{spread.DEFAULT_SPREAD_PORT}@localhost")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64, help="bytes of a message")
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()

    # The C module for Python 3 takes nothing but bytes.
    mailbox = spread.connect(options.daemon.encode(), b"", 0, 0)
    group = b"rate"
    mailbox.join(group)
    run(mailbox, group, options.count // 10, options)
    rates = [run(mailbox, group, options.count, options) for _ in range(options.runs)]
    print("messages/s:", *(f"{rate:,.0f}" for rate in rates))
    print(f"median: {statistics.median(rates):,.0f}")
    mailbox.disconnect()


def run(mailbox, group: bytes, count: int, options: argparse.Namespace) -> float:
    """Sends and receives; returns messages a second."""
    message = b"x" * options.size
    multicast, receive, service = mailbox.multicast, mailbox.receive, spread.AGREED_MESS
    begin = time.perf_counter()
    for _ in range(min(options.window, count)):
        multicast(service, group, message)
    for _ in range(count - min(options.window, count)):
        receive()
        multicast(service, group, message)
    for _ in range(min(options.window, count)):
        receive()
    return count / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
