"""Users and their passwords."""

import asyncio
import os
import unittest

import spread
import spread.asyncio
from support import Daemon, TestCase


@unittest.skipIf("SPREAD_DAEMON" in os.environ, "it takes a daemon that demands passwords")
class Authentication(TestCase):
    @classmethod
    def setUpClass(cls):
        daemon = Daemon(ann="secret", zoë="pässwo")
        cls.addClassCleanup(daemon.stop)
        cls.address = daemon.address

    def assert_rejected(self, text, **arguments):
        """Asserts that a connect is REJECT_AUTH, for this reason."""

        def connect():
            spread.connect(self.address, **arguments)

        raised = self.assert_fails(spread.REJECT_AUTH, connect)
        self.assertIn(text, raised.args[1])
        self.assertNotIn("guess", raised.args[1])

    def test_who_knows_the_password_gets_in(self):
        for user, password in ("ann", "secret"), (b"ann", b"secret"), ("zoë", "pässwo"):
            mailbox = spread.connect(self.address, user=user, password=password)
            mailbox.join(self.group())
            self.assertEqual(mailbox.receive().members, [mailbox.private_group])
            mailbox.disconnect()

    def test_nobody_else_does(self):
        unknown = "does not know this user with this password"
        self.assert_rejected(unknown, user="ann", password="guess")
        self.assert_rejected(unknown, user="eve", password="secret")
        self.assert_rejected("PWORD")

    def test_what_is_too_long_is_not_sent(self):
        self.assert_rejected("at most 31 bytes", user="a" * 32, password="secret")
        self.assert_rejected("a password at most 8", user="ann", password="nine byte")

    def test_both_are_given_or_none(self):
        for arguments in {"user": "ann"}, {"password": "secret"}:
            with self.assertRaisesRegex(TypeError, "user and password together"):
                spread.connect(self.address, **arguments)
        with self.assertRaisesRegex(TypeError, "password must be str or bytes"):
            spread.connect(self.address, user="ann", password=1)
        with self.assertRaisesRegex(ValueError, "password is not UTF-8"):
            spread.connect(self.address, user="ann", password=b"\xff")

    def test_asyncio_has_them_too(self):
        async def run():
            connect = spread.asyncio.connect(self.address, user="ann", password="secret")
            async with await connect as mailbox:
                self.assertTrue(mailbox.private_group)
            with self.assertRaises(spread.SpreadError):
                await spread.asyncio.connect(self.address, user="ann", password="guess")

        asyncio.run(run())


class Unasked(TestCase):
    def test_a_daemon_without_passwords_permits_none(self):
        with self.assertRaises(spread.SpreadError) as raised:
            spread.connect(self.address, user="ann", password="secret")
        self.assertEqual(raised.exception.args[0], spread.REJECT_AUTH)


if __name__ == "__main__":
    unittest.main()
