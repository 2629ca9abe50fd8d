"""spread.asyncio, and plain mailboxes in an event loop."""

import asyncio
import fcntl
import functools
import os
import socket
import struct
import termios
import unittest

import spread
import spread.asyncio

from support import StubDaemon, TestCase, frame, wait_until


def in_loop(test):
    """Runs a test that is a coroutine."""

    @functools.wraps(test)
    def run(self):
        asyncio.run(test(self))

    return run


def unread(mailbox):
    """The number of bytes that have come and not been received."""
    return struct.unpack("i", fcntl.ioctl(mailbox, termios.FIONREAD, bytes(4)))[0]


class Asyncio(TestCase):
    async def open(self, membership=0):
        return await spread.asyncio.connect(self.address, "", 0, membership)

    @in_loop
    async def test_messages_are_iterated_over(self):
        group = self.group()
        async with await self.open(membership=1) as mailbox:
            await mailbox.join(group)
            self.assertEqual(await mailbox.multicast(spread.AGREED_MESS, group, b"one"), 3)
            await mailbox.multigroup_multicast(
                spread.AGREED_MESS, (group, mailbox.private_group), bytearray(b"two"), 2
            )
            await mailbox.leave(group)
            messages = []
            async for message in mailbox:
                messages.append(message)
                if len(messages) == 4:
                    break
        joined, one, two, left = messages
        self.assertEqual(joined.reason, spread.CAUSED_BY_JOIN)
        self.assertEqual((one.message, one.groups), (b"one", [group]))
        self.assertEqual((two.message, two.msg_type), (b"two", 2))
        self.assertEqual(left.reason, spread.CAUSED_BY_LEAVE)

    @in_loop
    async def test_a_thousand_messages_come_in_order(self):
        async with await self.open() as mailbox:

            async def send():
                for number in range(1000):
                    await mailbox.multicast(
                        spread.FIFO_MESS, mailbox.private_group, b"%d" % number
                    )

            sender = asyncio.create_task(send())
            for number in range(1000):
                self.assertEqual((await mailbox.receive()).message, b"%d" % number)
            await sender

    @in_loop
    async def test_a_disconnect_ends_an_iteration(self):
        mailbox = await self.open()
        waits = asyncio.Event()

        async def iterate():
            waits.set()
            return [message async for message in mailbox]

        task = asyncio.create_task(iterate())
        await waits.wait()
        await mailbox.disconnect()
        self.assertEqual(await task, [])
        with self.assertRaises(spread.SpreadError):
            await mailbox.receive()

    @in_loop
    async def test_a_cancelled_receive_loses_nothing(self):
        async with await self.open() as mailbox:
            task = asyncio.create_task(mailbox.receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.assertTrue(task.cancelled())
            await mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
            self.assertEqual((await mailbox.receive()).message, b"data")

    @in_loop
    async def test_one_task_receives_at_a_time(self):
        async with await self.open() as mailbox:
            task = asyncio.create_task(mailbox.receive())
            await asyncio.sleep(0)
            with self.assertRaisesRegex(RuntimeError, "another task"):
                await mailbox.receive()
            await mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
            self.assertEqual((await task).message, b"data")

    @in_loop
    async def test_other_tasks_get_their_turn_while_messages_are_there(self):
        daemon = StubDaemon(self)
        plain = daemon.connect()
        mailbox = spread.asyncio.Mailbox(plain)
        daemon.client.sendall(frame(spread.FIFO_MESS, "#other#test", ["group"], b"data") * 500)
        wait_until(lambda: unread(plain) == 500 * (48 + 32 + 4))
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(500):
            await mailbox.receive()
        task.cancel()
        self.assertGreaterEqual(turns, 500 // 64)

    @in_loop
    async def test_the_loop_does_not_watch_a_mailbox_that_nobody_waits_for(self):
        async with await self.open(membership=1) as mailbox:
            group, loop = self.group(), asyncio.get_running_loop()
            receive = asyncio.create_task(mailbox.receive())
            await mailbox.join(group)
            self.assertEqual((await receive).group, group)
            self.assertFalse(loop.remove_reader(mailbox.fileno()))
            self.assertFalse(loop.remove_writer(mailbox.fileno()))

    @in_loop
    async def test_errors_are_raised_where_they_are_awaited(self):
        with self.assertRaises(spread.SpreadError):
            await spread.asyncio.connect("no address")
        async with await self.open() as mailbox:
            with self.assertRaises(spread.SpreadError):
                await mailbox.join("a b")
            with self.assertRaisesRegex(TypeError, "encode it"):
                await mailbox.multicast(spread.FIFO_MESS, "group", "text")

    @in_loop
    async def test_a_send_that_waits_does_not_block_the_loop(self):
        daemon = StubDaemon(self)
        mailbox = spread.asyncio.Mailbox(daemon.connect())
        sent = 0

        async def send():
            nonlocal sent
            while True:
                await mailbox.multicast(spread.FIFO_MESS, "group", bytes([sent]) * 100_000)
                sent += 1

        sender = asyncio.create_task(send())
        before = -1
        while before != sent:
            # It waits once a hundred turns of the loop bring no further message.
            before = sent
            for _ in range(100):
                await asyncio.sleep(0)
        self.assertGreater(sent, 0)
        self.assertFalse(sender.done())
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        # What has begun is completed before the next message, and before the join.
        last = asyncio.create_task(mailbox.multicast(spread.FIFO_MESS, "group", b"last"))
        join = asyncio.create_task(mailbox.join("group"))
        received = []
        loop = asyncio.get_running_loop()
        while not received or received[-1][0] != 0x10000:
            received.append(await loop.run_in_executor(None, daemon.receive_message))
        await asyncio.gather(last, join)
        *whole, (_, _, data) = received[:-1]
        self.assertEqual(data, b"last")
        self.assertIn(len(whole), (sent, sent + 1))
        for number, (_, _, data) in enumerate(whole):
            self.assertEqual(data, bytes([number]) * 100_000)

    @in_loop
    async def test_a_send_that_returns_has_sent_everything(self):
        daemon = StubDaemon(self)
        plain = daemon.connect()
        # Room for a part of a message.
        shared = socket.socket(fileno=os.dup(plain.fileno()))
        self.addCleanup(shared.close)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        mailbox = spread.asyncio.Mailbox(plain)
        loop = asyncio.get_running_loop()
        for number in range(5):
            receive = loop.run_in_executor(None, daemon.receive_message)
            await mailbox.multicast(spread.FIFO_MESS, "group", bytes([number]) * 100_000)
            self.assertEqual((await receive)[2], bytes([number]) * 100_000)

    @in_loop
    async def test_add_reader_works_on_a_plain_mailbox(self):
        mailbox = self.connect(membership=0)
        loop, received = asyncio.get_running_loop(), asyncio.Queue()

        def readable():
            while (message := mailbox.try_receive()) is not None:
                received.put_nowait(message.message)

        loop.add_reader(mailbox.fileno(), readable)
        for number in range(100):
            mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"%d" % number)
        for number in range(100):
            self.assertEqual(await received.get(), b"%d" % number)
        loop.remove_reader(mailbox.fileno())


if __name__ == "__main__":
    unittest.main()
