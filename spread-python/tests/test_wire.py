"""What a daemon of one host does not send, from a stub: network changes, other byte orders."""

import os
import select
import socket
import struct
import threading
import unittest

import spread

from support import StubDaemon, TestCase, frame, view, wait_until

ME, FRIEND, OTHER = "#stub#test", "#friend#test", "#other#far"


class Stubbed(TestCase):
    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.daemon = StubDaemon(self)
        self.mailbox = self.daemon.connect()

    def test_a_network_change_tells_who_came_along(self):
        body = view((1, 2, 3), 1, [[OTHER], [ME, FRIEND]])
        kind = spread.REG_MEMB_MESS | spread.CAUSED_BY_NETWORK
        self.daemon.send(kind, "group", [ME, FRIEND, OTHER], body)
        message = self.mailbox.receive()
        self.assertEqual(message.reason, spread.CAUSED_BY_NETWORK)
        self.assertEqual(message.members, [ME, FRIEND, OTHER])
        self.assertEqual(message.extra, [ME, FRIEND])
        self.assertEqual(message.orig_members, [[OTHER], [ME, FRIEND]])
        self.assertEqual(repr(message.group_id), "<group_id 00000001:00000002:00000003>")

    def test_a_transitional_message_has_no_reason_and_no_members(self):
        self.daemon.send(spread.TRANSITION_MESS, "group", (), b"\1\0\0\0\2\0\0\0\3\0\0\0")
        message = self.mailbox.receive()
        self.assertIs(type(message), spread.MembershipMsgType)
        self.assertEqual((message.reason, message.group), (0, "group"))
        self.assertEqual((message.members, message.extra), ([], []))
        self.assertIsNone(message.orig_members)
        self.assertEqual(repr(message.group_id), "<group_id 00000001:00000002:00000003>")

    def test_a_sender_of_another_byte_order_is_told(self):
        self.daemon.send(spread.FIFO_MESS, OTHER, ["group"], b"data", -2, ">")
        message = self.mailbox.receive()
        self.assertEqual(message.endian, 1)
        self.assertEqual((message.msg_type, message.message), (-2, b"data"))

    def test_a_message_that_was_rejected_is_an_error_without_a_number(self):
        header = frame(spread.REJECT_MESS, ME, ["group"], b"data")
        old_type = (spread.AGREED_MESS).to_bytes(4, "little")
        self.daemon.client.sendall(header[:48] + old_type + header[48:])
        with self.assertRaises(spread.SpreadError) as raised:
            self.mailbox.receive()
        (text,) = raised.exception.args
        self.assertIn("rejected a message of type 0x10 to group", text)
        # The mailbox is as it was.
        self.daemon.send(spread.FIFO_MESS, OTHER, ["group"], b"data")
        self.assertEqual(self.mailbox.receive().message, b"data")

    def test_a_name_that_is_no_text_can_be_sent_back(self):
        name = b"#caf\xe9#far".decode("utf-8", "surrogateescape")
        header = bytearray(frame(spread.FIFO_MESS, "#caf?#far", ["group"], b""))
        header[header.index(b"?")] = 0xE9
        self.daemon.client.sendall(header)
        self.assertEqual(self.mailbox.receive().sender, name)

    def test_what_breaks_the_protocol_is_an_error(self):
        self.daemon.client.sendall(b"\xff" * 200)
        self.assert_fails(spread.ILLEGAL_MESSAGE, self.mailbox.receive)
        self.mailbox.disconnect()

    def test_a_part_of_a_message_is_not_received(self):
        message = frame(spread.FIFO_MESS, OTHER, ["group"], bytes(5000))
        self.daemon.client.sendall(message[:1000])
        select.select([self.mailbox], [], [])
        self.assertIsNone(self.mailbox.try_receive())
        self.daemon.client.sendall(message[1000:])
        received = []
        wait_until(lambda: received.append(self.mailbox.try_receive()) or received[-1])
        self.assertEqual(received[-1].message, bytes(5000))

    def test_what_had_come_is_polled_and_received_after_the_end(self):
        for number in range(3):
            self.daemon.send(spread.FIFO_MESS, OTHER, ["group"], b"%d" % number)
        self.daemon.client.close()
        for number in range(3):
            wait_until(lambda: self.mailbox.poll() == 1)
            self.assertEqual(self.mailbox.receive().message, b"%d" % number)
        self.assert_fails(spread.CONNECTION_CLOSED, self.mailbox.poll)
        self.assert_fails(spread.CONNECTION_CLOSED, self.mailbox.receive)

    def test_what_was_read_ahead_is_polled_and_received_after_a_reset(self):
        messages = [frame(spread.FIFO_MESS, OTHER, ["group"], b"%d" % n) for n in range(3)]
        self.daemon.client.sendall(b"".join(messages))
        self.assertEqual(self.mailbox.receive().message, b"0")
        # Closing without lingering resets the connection, which discards what is unread.
        linger = struct.pack("ii", 1, 0)
        self.daemon.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.daemon.client.close()
        for data in b"1", b"2":
            wait_until(lambda: self.mailbox.poll() == 1)
            self.assertEqual(self.mailbox.receive().message, data)
        self.assert_fails(spread.CONNECTION_CLOSED, self.mailbox.poll)
        self.assert_fails(spread.CONNECTION_CLOSED, self.mailbox.receive)

    def test_a_message_without_room_is_completed_later(self):
        size, sent = 100_000, 0
        while self.mailbox.try_multicast(spread.FIFO_MESS, "group", bytes([sent]) * size):
            sent += 1
        self.assertGreater(sent, 0)
        self.assertFalse(self.mailbox.try_flush())
        for number in range(sent):
            kind, groups, data = self.receive_while_flushing()
            self.assertEqual((kind, groups), (spread.FIFO_MESS, ["group"]))
            self.assertEqual(data, bytes([number]) * size)
        self.assertTrue(self.mailbox.try_flush())

    def test_a_send_that_returns_has_sent_everything(self):
        # Room for a part of a message.
        shared = socket.socket(fileno=os.dup(self.mailbox.fileno()))
        self.addCleanup(shared.close)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        received = []

        def receive():
            for _ in range(5):
                received.append(self.daemon.receive_message()[2])

        thread = threading.Thread(target=receive)
        thread.start()
        for number in range(5):
            self.mailbox.multicast(spread.FIFO_MESS, "group", bytes([number]) * 100_000)
            wait_until(lambda: len(received) > number)
        thread.join()
        self.assertEqual(received, [bytes([number]) * 100_000 for number in range(5)])

    def receive_while_flushing(self):
        """The next frame; flushes whenever the client has room and the stub has nothing."""
        receive = self.daemon.receive

        def flush_and_receive(count):
            data = b""
            while len(data) < count:
                readable, _, _ = select.select([self.daemon.client], [], [], 0.01)
                if readable:
                    data += self.daemon.client.recv(count - len(data))
                self.mailbox.try_flush()
            return data

        self.daemon.receive = flush_and_receive
        try:
            return self.daemon.receive_message()
        finally:
            self.daemon.receive = receive


if __name__ == "__main__":
    unittest.main()
