"""Threads, signals and forks."""

import os
import signal
import subprocess
import sys
import threading
import unittest

import spread

from support import StubDaemon, TestCase, wait_until, waits


class Waiter(threading.Thread):
    """Calls a function that waits; ends with its result or its exception."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.result, self.error = call, None, None
        self.start()

    def run(self):
        try:
            self.result = self.call()
        except Exception as error:
            self.error = error

    def wait_for_it_to_wait(self):
        wait_until(lambda: waits(self.native_id))


class Threads(TestCase):
    def test_other_threads_send_while_one_receives(self):
        mailbox = self.connect()
        waiter = Waiter(mailbox.receive)
        waiter.wait_for_it_to_wait()
        mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
        waiter.join()
        self.assertEqual(waiter.result.message, b"data")

    def test_several_threads_send_and_receive(self):
        mailbox = self.connect(membership=0)
        group, senders, each = mailbox.private_group, 4, 500
        received = []

        def send(number):
            for place in range(each):
                mailbox.multicast(spread.FIFO_MESS, group, b"%d %d" % (number, place))

        def receive():
            mine = []
            while (message := mailbox.receive().message) != b"end":
                mine.append(tuple(map(int, message.split())))
            received.append(mine)

        receivers = [Waiter(receive) for _ in range(3)]
        threads = [Waiter(lambda number=number: send(number)) for number in range(senders)]
        for thread in threads:
            thread.join()
            self.assertIsNone(thread.error)
        for _ in receivers:
            mailbox.multicast(spread.FIFO_MESS, group, b"end")
        for receiver in receivers:
            receiver.join()
            self.assertIsNone(receiver.error)
        # Every message has come to one of them, and to each in the order of its sender.
        everything = [message for mine in received for message in mine]
        expected = [(number, place) for number in range(senders) for place in range(each)]
        self.assertEqual(sorted(everything), expected)
        for mine in received:
            for number in range(senders):
                places = [place for sender, place in mine if sender == number]
                self.assertEqual(places, sorted(places))

    def test_a_disconnect_ends_receives_that_wait(self):
        mailbox = self.connect()
        waiters = [Waiter(mailbox.receive) for _ in range(3)]
        for waiter in waiters:
            waiter.wait_for_it_to_wait()
        mailbox.disconnect()
        for waiter in waiters:
            waiter.join()
            self.assertEqual(waiter.error.args[0], spread.ILLEGAL_SESSION)

    def test_a_disconnect_ends_a_send_that_waits(self):
        daemon = StubDaemon(self)
        mailbox = daemon.connect()

        def send():
            while True:
                mailbox.multicast(spread.FIFO_MESS, "group", bytes(100_000))

        waiter = Waiter(send)
        waiter.wait_for_it_to_wait()
        # The stub does not take the rest, nor does it end the connection.
        with self.assertRaises(spread.SpreadError):
            mailbox.disconnect()
        waiter.join()
        self.assertIsInstance(waiter.error, spread.SpreadError)

    def test_different_mailboxes_are_independent(self):
        one, two = self.connect(), self.connect()
        waiter = Waiter(one.receive)
        waiter.wait_for_it_to_wait()
        two.multicast(spread.FIFO_MESS, two.private_group, b"two")
        self.assertEqual(two.receive().message, b"two")
        two.disconnect()
        self.assertTrue(waiter.is_alive())
        one.multicast(spread.FIFO_MESS, one.private_group, b"one")
        waiter.join()
        self.assertEqual(waiter.result.message, b"one")


class Signals(TestCase):
    def test_ctrl_c_ends_a_receive(self):
        program = (
            "import signal, sys, spread\n"
            # A shell has its background processes ignore ctrl-c.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "mailbox = spread.connect(sys.argv[1])\n"
            "print('ready', flush=True)\n"
            "try:\n"
            "    mailbox.receive()\n"
            "except KeyboardInterrupt:\n"
            "    mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b'data')\n"
            "    print(mailbox.receive().message.decode())\n"
        )
        command = [sys.executable, "-c", program, self.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            self.addCleanup(process.kill)
            self.assertEqual(process.stdout.readline(), "ready\n")
            wait_until(lambda: waits(process.pid, process.pid))
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.stdout.read(), "data\n")
            self.assertEqual(process.wait(), 0)

    def test_a_handler_that_returns_lets_the_receive_go_on(self):
        mailbox, handled = self.connect(), threading.Event()
        former = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
        self.addCleanup(signal.signal, signal.SIGUSR1, former)
        main = threading.main_thread()

        def interrupt():
            wait_until(lambda: waits(main.native_id))
            signal.pthread_kill(main.ident, signal.SIGUSR1)
            handled.wait()
            mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")

        thread = Waiter(interrupt)
        self.assertEqual(mailbox.receive().message, b"data")
        self.assertTrue(handled.is_set())
        thread.join()
        self.assertIsNone(thread.error)

    def test_a_signal_ends_a_send_that_waits_and_no_message_is_torn(self):
        daemon = StubDaemon(self)
        mailbox, main = daemon.connect(), threading.main_thread()

        def stop(*_):
            raise InterruptedError("stop")

        former = signal.signal(signal.SIGUSR1, stop)
        self.addCleanup(signal.signal, signal.SIGUSR1, former)

        def interrupt():
            wait_until(lambda: waits(main.native_id))
            signal.pthread_kill(main.ident, signal.SIGUSR1)

        thread = Waiter(interrupt)
        sent = 0
        with self.assertRaises(InterruptedError):
            while True:
                mailbox.multicast(spread.FIFO_MESS, "group", bytes([sent]) * 100_000)
                sent += 1
        thread.join()
        self.assertIsNone(thread.error)
        rest = Waiter(lambda: mailbox.multicast(spread.FIFO_MESS, "group", b"last"))
        received = []
        while not received or received[-1] != b"last":
            received.append(daemon.receive_message()[2])
        rest.join()
        self.assertEqual(rest.result, 4)
        # The one that was interrupted has been sent whole, or not at all.
        whole = [bytes([number]) * 100_000 for number in range(len(received) - 1)]
        self.assertEqual(received[:-1], whole)
        self.assertIn(len(whole), (sent, sent + 1))


class Forks(TestCase):
    def test_the_child_of_a_fork_is_refused(self):
        mailbox = self.connect()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            codes = []
            for call in (
                mailbox.receive,
                mailbox.try_receive,
                mailbox.poll,
                mailbox.fileno,
                mailbox.disconnect,
                lambda: mailbox.join("group"),
                lambda: mailbox.multicast(spread.FIFO_MESS, "group", b""),
            ):
                try:
                    call()
                    codes.append(None)
                except spread.SpreadError as error:
                    codes.append(error.args[0])
            del mailbox
            os.write(writer, repr(codes).encode())
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as file:
            self.assertEqual(file.read().decode(), repr([spread.ILLEGAL_SESSION] * 7))
        os.waitpid(child, 0)
        # The parent's connection is as it was.
        mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
        self.assertEqual(mailbox.receive().message, b"data")


if __name__ == "__main__":
    unittest.main()
