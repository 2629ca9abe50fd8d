#!/usr/bin/env python3
"""How long clients of three hosts wait for a view: after host 3 is cut off, after the merge, and
after a daemon is killed. Medians with ranges, in seconds.

    TRANSPORT=knet TOKEN=1000 benches/hosts/changes.py DIR TIMES

For root, as run.sh; SPREADD is the program, SPREAD_DIR where Spread's library is installed.
"""

import ctypes
import os
import queue
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CLUSTER = os.path.join(HERE, "../../ci/cluster")
LIBRARY = os.path.join(os.environ.get("SPREAD_DIR", "/opt/spread"), "lib/libspread.so")
GROUP = b"changes"
PATIENCE = 60


def member(address):
    """Joins the group; prints for each view when it came and how many members it has."""
    spread = ctypes.CDLL(LIBRARY)
    mailbox, private = ctypes.c_int(), ctypes.create_string_buffer(32)
    code = spread.SP_connect(address.encode(), None, 0, 1, ctypes.byref(mailbox), private)
    assert code == 1, code
    spread.SP_join(mailbox, GROUP)
    regular_membership, length = 0x1000, 4000
    sender, groups, body = map(ctypes.create_string_buffer, (32, 32 * 20, length))
    while True:
        service, count, kind, endian = (ctypes.c_int(0) for _ in range(4))
        code = spread.SP_receive(
            mailbox, ctypes.byref(service), sender, 20, ctypes.byref(count), groups,
            ctypes.byref(kind), ctypes.byref(endian), length, body,
        )
        if code < 0:
            return
        if service.value & regular_membership:
            print(time.monotonic(), count.value, flush=True)


class Member:
    """A process of `member` on a host, and the views that it has told."""

    def __init__(self, host):
        command = ["ip", "netns", "exec", f"c{host}", sys.executable, __file__]
        command += ["member", f"4803@10.78.0.{host}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.views = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            at, count = line.split()
            self.views.put((float(at), int(count)))

    def wait(self, count):
        """Returns when a view with as many members came."""
        while True:
            at, members = self.views.get(timeout=PATIENCE)
            if members == count:
                return at

    def end(self):
        self.process.kill()
        self.process.wait()


def run(script, *arguments):
    subprocess.run([os.path.join(CLUSTER, script), *arguments], check=True)


def told(title, times):
    low, high = min(times), max(times)
    print(f"{title}: {statistics.median(times):.2f} ({low:.2f} to {high:.2f}), {len(times)} times")


def measure(folder, times):
    members = [Member(host) for host in (1, 2, 3)]
    for one in members:
        one.wait(3)
    losses, merges, kills = [], [], []
    for _ in range(times):
        begun = time.monotonic()
        run("net.sh", "part", "1 2", "3")
        losses.append(max(one.wait(2) for one in members[:2]) - begun)
        members[2].wait(1)
        # A partition that is healed at once is another case.
        time.sleep(2)
        begun = time.monotonic()
        run("net.sh", "merge")
        merges.append(max(one.wait(3) for one in members) - begun)
    for _ in range(times):
        begun = time.monotonic()
        run("node.sh", "kill", "spreadd", "3", folder)
        kills.append(max(one.wait(2) for one in members[:2]) - begun)
        members[2].end()
        run("node.sh", "spreadd", "3", folder)
        members[2] = Member(3)
        for one in members:
            one.wait(3)
    for one in members:
        one.end()
    told("view after a loss", losses)
    told("view after a merge", merges)
    told("view after the kill of a daemon", kills)


def main(folder, times):
    run("net.sh", "up")
    try:
        run("node.sh", "conf", folder)
        for what in ("corosync", "spreadd"):
            for host in "123":
                run("node.sh", what, host, folder)
        measure(folder, int(times))
    finally:
        for what in ("spreadd", "corosync"):
            for host in "123":
                run("node.sh", "stop", what, host, folder)
        run("net.sh", "down")


if sys.argv[1] == "member":
    member(sys.argv[2])
else:
    main(*sys.argv[1:])
