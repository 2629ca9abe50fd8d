"""The example chat, two of them."""

import os
import subprocess
import sys
import unittest

from support import TestCase

CHAT = os.path.join(os.path.dirname(__file__), "..", "examples", "chat.py")


class Chat(TestCase):
    def start(self, name):
        command = [sys.executable, CHAT, "--daemon", self.address, "--group", self.chat, name]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_two_chat(self):
        self.chat, one, two = self.group(), self.name(), self.name()
        alice = self.start(one)
        line = alice.stdout.readline()
        self.assertRegex(line, rf"^\* (#{one}#\S+) joined; members: \1\n$")
        bob = self.start(two)
        joined = alice.stdout.readline()
        self.assertRegex(joined, rf"^\* #{two}#\S+ joined; members: #\S+, #\S+\n$")
        self.assertEqual(bob.stdout.readline(), joined)

        alice.stdin.write("hello\ngrüße\n")
        for process in alice, bob:
            self.assertRegex(process.stdout.readline(), rf"^#{one}#\S+: hello\n$")
            self.assertRegex(process.stdout.readline(), rf"^#{one}#\S+: grüße\n$")
        bob.stdin.write("bye\n")
        bob.stdin.close()
        self.assertRegex(bob.stdout.readline(), rf"^#{two}#\S+: bye\n$")
        self.assertEqual(bob.stdout.read(), "")
        self.assertEqual(bob.wait(), 0)
        self.assertRegex(alice.stdout.readline(), rf"^#{two}#\S+: bye\n$")
        self.assertRegex(alice.stdout.readline(), rf"^\* #{two}#\S+ left; members: #{one}#\S+\n$")
        alice.stdin.close()
        self.assertEqual(alice.stdout.read(), "")
        self.assertEqual(alice.wait(), 0)


if __name__ == "__main__":
    unittest.main()
