"""Daemons for the tests: spreadd, one that runs already, or a stub of one that a test scripts."""

import ctypes
import faulthandler
import itertools
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import spread

#: Seconds after which a test is taken to hang.
PATIENCE = 60

LITTLE_ENDIAN = 0x8000_0080

#: Of prctl(2).
PR_SET_PDEATHSIG = 1

_numbers = itertools.count()


class TestCase(unittest.TestCase):
    """A test that may not hang, with a daemon for its class."""

    @classmethod
    def setUpClass(cls):
        cls.address = os.environ.get("SPREAD_DAEMON")
        if not cls.address:
            daemon = Daemon()
            cls.addClassCleanup(daemon.stop)
            cls.address = daemon.address

    def run(self, result=None):
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            return super().run(result)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def connect(self, private_name="", membership=1, address=None):
        """A mailbox that is disconnected after the test."""
        mailbox = spread.connect(address or self.address, private_name, 0, membership)
        self.addCleanup(end, mailbox)
        return mailbox

    def group(self):
        """The name of a group that nobody else uses."""
        return f"py{os.getpid()}-{next(_numbers)}"

    def name(self):
        """A private name that nobody else uses."""
        return f"{os.getpid() % 100_000}-{next(_numbers)}"

    def members(self, count):
        """The name of a group, and so many of its members, who have seen all of them."""
        group = self.group()
        mailboxes = [self.connect() for _ in range(count)]
        for joined, mailbox in enumerate(mailboxes, 1):
            mailbox.join(group)
            for member in mailboxes[:joined]:
                self.assertEqual(len(member.receive().members), joined)
        return group, mailboxes

    def assert_fails(self, code, call, *arguments):
        """Asserts that the call raises SpreadError with this code and a text."""
        with self.assertRaises(spread.SpreadError) as raised:
            call(*arguments)
        self.assertEqual(raised.exception.args[0], code)
        self.assertIsInstance(raised.exception.args[1], str)
        return raised.exception


def end(mailbox):
    """Disconnects, whatever has become of the connection."""
    try:
        mailbox.disconnect()
    except spread.SpreadError:
        pass


def wait_until(condition):
    """Waits until the condition holds."""
    deadline = time.monotonic() + PATIENCE / 2
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to pass")
        time.sleep(0.002)


def waits(thread_id, process_id=None):
    """Whether a thread, by its native id, waits in poll(2)."""
    # poll and ppoll of x86-64, and ppoll of aarch64.
    polls = {"7", "271"} if os.uname().machine == "x86_64" else {"73"}
    return _system_call(thread_id, process_id) in polls


def waits_for_room(thread_id):
    """Whether a thread waits for room, in poll(2) or sendto(2)."""
    sendto = "44" if os.uname().machine == "x86_64" else "206"
    return waits(thread_id) or _system_call(thread_id) == sendto


def _system_call(thread_id, process_id=None):
    with open(f"/proc/{process_id or os.getpid()}/task/{thread_id}/syscall") as file:
        return file.read().split()[0]


class Daemon:
    """A spreadd at a free port; it demands the passwords of these users, if there are any."""

    def __init__(self, **passwords):
        self.folder = tempfile.mkdtemp(prefix="spread-python-")
        command = [program(), "--port", "0", "--unix-dir", self.folder]
        if passwords:
            users = os.path.join(self.folder, "users")
            for user, password in passwords.items():
                set_password = [program(), "passwd", users, user]
                subprocess.run(set_password, input=password, text=True, check=True)
            command += ["--passwords", users]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )
        line = self.process.stdout.readline()
        if " is ready at " not in line:
            self.stop()
            raise AssertionError(f"{command[0]} does not start: {line!r}")
        self.port = line.split(" is ready at ")[1].split("@")[0]
        self.address = f"{self.port}@localhost"

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_with_parent():
    """Lets this process be killed when its parent ends, also when a test has hung."""
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG) failed")


def program():
    """The program spreadd."""
    if "SPREADD" in os.environ:
        return os.environ["SPREADD"]
    workspace = os.path.join(os.path.dirname(__file__), "..", "..")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(workspace, "target"))
    for profile in "release", "debug":
        path = os.path.join(target, profile, "spreadd")
        if os.path.exists(path):
            return path
    return "spreadd"


class StubDaemon:
    """Accepts one client, and then does what a test says."""

    def __init__(self, test):
        self.test = test
        self.listener = socket.create_server(("127.0.0.1", 0))
        test.addCleanup(self.listener.close)
        self.address = f"{self.listener.getsockname()[1]}@127.0.0.1"
        self.client = None
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def connect(self):
        """The mailbox of the client."""
        mailbox = self.test.connect(address=self.address)
        self.thread.join()
        # Before the mailbox, which would wait for it.
        self.test.addCleanup(self.client.close)
        return mailbox

    def _accept(self):
        self.client, _ = self.listener.accept()
        self.client.recv(100)
        self.client.sendall(b"\x05NULL ")
        self.receive(90)
        self.client.sendall(b"\x01\x05\x00\x01\x0a#stub#test")

    def receive(self, count):
        data = b""
        while len(data) < count:
            more = self.client.recv(count - len(data))
            if not more:
                raise AssertionError("the client has ended the connection")
            data += more
        return data

    def receive_message(self):
        """The type, groups and data of the next frame."""
        header = struct.unpack("<I32siii", self.receive(48))
        kind, _sender, groups, _hint, length = header
        names = [self.receive(32).rstrip(b"\0").decode() for _ in range(groups)]
        return kind & ~LITTLE_ENDIAN & 0xFFFF_FFFF, names, self.receive(length)

    def send(self, kind, sender, groups=(), data=b"", message_type=0, order="<"):
        self.client.sendall(frame(kind, sender, groups, data, message_type, order))


def frame(kind, sender, groups=(), data=b"", message_type=0, order="<"):
    """A frame of the protocol in a byte order, that of the daemon; the client's is `<`."""
    mark = LITTLE_ENDIAN if order == "<" else 0
    hint = (message_type & 0xFFFF) << 8 | mark
    names = b"".join(group.encode().ljust(32, b"\0") for group in groups)
    sender = sender.encode().ljust(32, b"\0")
    header = struct.pack(order + "I32siIi", kind | mark, sender, len(groups), hint, len(data))
    return header + names + data


def view(group_id, mine, sets):
    """The body of a membership message; mine is the place of the client's set."""
    encoded = []
    for members in sets:
        names = b"".join(member.encode().ljust(32, b"\0") for member in members)
        encoded.append(struct.pack("<I", len(members)) + names)
    offset = len(b"".join(encoded[:mine]))
    return struct.pack("<iiiII", *group_id, len(sets), offset) + b"".join(encoded)
