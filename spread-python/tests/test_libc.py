"""Clients over a C library that a test controls: one that lacks memory, or that is slow."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from support import TestCase

LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static int cut;
int failures;

/* Of the next send 1,000 bytes are taken; after that so many fail. */
void arm(int count) { cut = 1; failures = count; }

/* The next poll of this thread does not return before `holds` is 0. */
static __thread int hold_next;
volatile int holds;

void hold_poll(void) { hold_next = 1; }

static int hold(int result) {
    if (hold_next) {
        hold_next = 0;
        holds = 1;
        while (holds)
            usleep(1000);
    }
    return result;
}

int poll(struct pollfd *fds, nfds_t count, int timeout) {
    static int (*next)(struct pollfd *, nfds_t, int);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "poll");
    return hold(next(fds, count, timeout));
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask) {
    static int (*next)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "ppoll");
    return hold(next(fds, count, timeout, mask));
}

ssize_t send(int fd, const void *data, size_t len, int flags) {
    static ssize_t (*next)(int, const void *, size_t, int);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "send");
    if (cut) {
        cut = 0;
        return next(fd, data, len < 1000 ? len : 1000, flags);
    }
    if (failures > 0) {
        failures--;
        errno = ENOBUFS;
        return -1;
    }
    return next(fd, data, len, flags);
}
"""

MEMORY = """
import ctypes, signal, sys, spread
libc = ctypes.CDLL(None)
failures = ctypes.c_int.in_dll(libc, "failures")
mailbox = spread.connect(sys.argv[1], None, 0, 0)
data = bytes(range(250)) * 400

def multicast(message):
    return mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, message)

def receive(*messages):
    for message in messages:
        assert mailbox.receive().message == message
"""

JOIN = """
import ctypes, faulthandler, threading, types, spread
from support import PATIENCE, StubDaemon, wait_until, waits_for_room

# Also a thread that keeps the GIL cannot prevent it.
faulthandler.dump_traceback_later(PATIENCE / 2, exit=True)
libc = ctypes.CDLL(None)
holds = ctypes.c_int.in_dll(libc, "holds")
test = types.SimpleNamespace(addCleanup=lambda *_: None)
test.connect = lambda address: spread.connect(address)
daemon = StubDaemon(test)
mailbox = daemon.connect()

def join():
    libc.hold_poll()
    mailbox.join("group")

# It has seen room, and does not go on before another thread has taken it.
thread = threading.Thread(target=join, daemon=True)
thread.start()
wait_until(lambda: holds.value)
count = 0
while mailbox.try_flush():
    assert mailbox.try_multicast(spread.FIFO_MESS, "group", bytes(140_000))
    count += 1
holds.value = 0
wait_until(lambda: waits_for_room(thread.native_id))
assert not mailbox.try_flush()
kinds = [daemon.receive_message()[0] for _ in range(count + 1)]
assert kinds == [spread.FIFO_MESS] * count + [0x10000], kinds
thread.join()
"""


@unittest.skipUnless(shutil.which("cc"), "there is no C compiler here")
class Libc(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp(prefix="spread-python-")
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.library = os.path.join(folder, "libc.so")
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", cls.library, "-ldl"]
        subprocess.run(command, input=LIBRARY, text=True, check=True)

    def play(self, program):
        """Runs a program over the library."""
        command = [sys.executable, "-c", program, self.address]
        environment = {
            **os.environ,
            "LD_PRELOAD": self.library,
            "PYTHONPATH": os.path.dirname(__file__),
        }
        run = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_a_join_that_waits_for_room_lets_other_threads_run(self):
        self.play(JOIN)

    def test_a_message_that_has_begun_is_sent_once_there_is_memory(self):
        self.play(
            MEMORY
            + "libc.arm(4)\n"
            "assert multicast(data) == len(data)\n"
            "assert failures.value == 0\n"
            "multicast(b'end')\n"
            "receive(data, b'end')\n"
        )

    def test_a_signal_ends_the_wait_for_memory(self):
        self.play(
            MEMORY
            + "def stop(*_):\n"
            "    raise InterruptedError('stop')\n"
            "signal.signal(signal.SIGALRM, stop)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
            "libc.arm(1_000_000_000)\n"
            "try:\n"
            "    multicast(data)\n"
            "    raise AssertionError('it did not wait')\n"
            "except InterruptedError:\n"
            "    failures.value = 0\n"
            "multicast(b'end')\n"
            "receive(data, b'end')\n"
        )

    def test_attempts_do_not_wait_for_memory(self):
        self.play(
            MEMORY
            + "libc.arm(2)\n"
            "arguments = spread.FIFO_MESS, mailbox.private_group, data\n"
            "assert mailbox.try_multicast(*arguments)\n"
            "assert not mailbox.try_flush()\n"
            "while not mailbox.try_flush():\n"
            "    pass\n"
            "multicast(b'end')\n"
            "receive(data, b'end')\n"
        )

    def test_a_message_that_has_not_begun_is_refused_without_memory(self):
        self.play(
            MEMORY
            + "failures.value = 1\n"
            "try:\n"
            "    multicast(data)\n"
            "    raise AssertionError('it did not fail')\n"
            "except spread.SpreadError as error:\n"
            "    assert error.args[0] == spread.NET_ERROR_ON_SESSION\n"
            "multicast(b'end')\n"
            "receive(b'end')\n"
        )


if __name__ == "__main__":
    unittest.main()
