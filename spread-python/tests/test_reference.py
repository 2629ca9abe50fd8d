"""What the documentation of the interface says, one test a statement."""

import os
import select
import socket
import unittest

import spread

from support import Daemon, TestCase, wait_until


class Functions(TestCase):
    def test_version_is_a_triple_of_integers(self):
        major, minor, patch = spread.version()
        self.assertEqual((major, minor, patch), (5, 0, 1))

    def test_the_arguments_of_connect_are_positions_and_keywords(self):
        name = self.name()
        for connect in (
            lambda: spread.connect(self.address, name, 0, 1),
            lambda: spread.connect(
                spread_name=self.address, private_name=name, priority=0, membership=1
            ),
            lambda: spread.connect(daemon=self.address, name=name),
            lambda: spread.connect(self.address.encode(), name.encode(), 1, True),
        ):
            with connect() as mailbox:
                self.assertTrue(mailbox.private_group.startswith(f"#{name}#"))

    def test_all_arguments_of_connect_are_optional(self):
        # By default it goes to a port that only one daemon of the host can have.
        try:
            socket.create_connection(("localhost", spread.DEFAULT_SPREAD_PORT)).close()
        except OSError:
            self.assert_fails(spread.COULD_NOT_CONNECT, spread.connect)
        else:
            spread.connect().disconnect()

    def test_other_arguments_of_connect_are_type_errors(self):
        for arguments in (
            {"demon": self.address},
            {"spread_name": self.address, "daemon": self.address},
            {"private_name": "a", "name": "a"},
            {"spread_name": 4803},
        ):
            with self.subTest(arguments), self.assertRaises(TypeError):
                spread.connect(**arguments)

    def test_the_daemon_makes_a_name_up_by_default(self):
        one, two = spread.connect(self.address), spread.connect(self.address, "")
        self.assertNotEqual(one.private_group, two.private_group)
        one.disconnect()
        two.disconnect()

    def test_errors_of_connect_have_their_codes(self):
        mailbox = self.connect(self.name())
        name = mailbox.private_group.split("#")[1]
        nobody = socket.create_server(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]
        nobody.close()
        for code, arguments in (
            (spread.ILLEGAL_SPREAD, (" _._._42",)),
            (spread.COULD_NOT_CONNECT, (f"{closed}@127.0.0.1",)),
            (spread.REJECT_NOT_UNIQUE, (self.address, name)),
            (spread.REJECT_ILLEGAL_NAME, (self.address, "a b")),
            (spread.REJECT_ILLEGAL_NAME, (self.address, "x" * (spread.MAX_PRIVATE_NAME + 1))),
        ):
            with self.subTest(arguments):
                self.assert_fails(code, spread.connect, *arguments)

    def test_without_membership_no_membership_messages_come(self):
        mailbox, group = self.connect(membership=0), self.group()
        mailbox.join(group)
        mailbox.multicast(spread.AGREED_MESS, group, b"first")
        self.assertEqual(mailbox.receive().message, b"first")

    def test_the_error_is_one_exception_with_two_names(self):
        self.assertTrue(issubclass(spread.SpreadError, Exception))
        self.assertIs(spread.error, spread.SpreadError)


class Mailboxes(TestCase):
    def test_types_have_their_names(self):
        mailbox, group = self.connect(), self.group()
        self.assertIs(type(mailbox), spread.MailboxType)
        mailbox.join(group)
        self.assertIs(type(mailbox.receive()), spread.MembershipMsgType)
        mailbox.multicast(spread.FIFO_MESS, group, b"")
        self.assertIs(type(mailbox.receive()), spread.RegularMsgType)
        for kind in spread.MailboxType, spread.RegularMsgType, spread.MembershipMsgType:
            with self.subTest(kind), self.assertRaises(TypeError):
                kind()

    def test_a_regular_message_tells_what_was_sent(self):
        group, (sender, receiver) = self.members(2)
        self.assertEqual(sender.multicast(spread.SAFE_MESS, group, b"\0data\xff", -5), 6)
        message = receiver.receive()
        self.assertEqual(message.sender, sender.private_group)
        self.assertEqual(message.groups, [group])
        self.assertEqual(message.message, b"\0data\xff")
        self.assertIs(type(message.message), bytes)
        self.assertEqual(message.msg_type, -5)
        self.assertEqual(message.endian, 0)

    def test_every_service_is_delivered(self):
        group, (mailbox,) = self.members(1)
        services = (
            spread.UNRELIABLE_MESS,
            spread.RELIABLE_MESS,
            spread.FIFO_MESS,
            spread.CAUSAL_MESS,
            spread.AGREED_MESS,
            spread.SAFE_MESS,
        )
        for service in services:
            # One after the other: services of different kinds may overtake each other.
            mailbox.multicast(service, group, bytes([service]))
            message = mailbox.receive()
            self.assertEqual((message.message, message.msg_type), (bytes([service]), 0))

    def test_a_sender_can_discard_its_own_copy(self):
        group, (sender, receiver) = self.members(2)
        sender.multicast(spread.AGREED_MESS | spread.SELF_DISCARD, group, b"others")
        sender.multicast(spread.AGREED_MESS, group, b"all")
        self.assertEqual(sender.receive().message, b"all")
        self.assertEqual(receiver.receive().message, b"others")

    def test_illegal_services_are_refused(self):
        mailbox = self.connect()
        for service in (
            0,
            spread.SELF_DISCARD,
            spread.AGREED_MESS | spread.SAFE_MESS,
            spread.AGREED_MESS | spread.DROP_RECV,
            spread.AGREED_MESS | 0x80000,
            spread.REG_MEMB_MESS,
            -1,
            1 << 40,
        ):
            with self.subTest(service):
                self.assert_fails(
                    spread.ILLEGAL_SERVICE, mailbox.multicast, service, "group", b""
                )

    def test_a_message_is_bytes_or_has_a_buffer(self):
        group, (mailbox,) = self.members(1)
        for data in b"data", bytearray(b"data"), memoryview(b"-data-")[1:5]:
            self.assertEqual(mailbox.multicast(spread.FIFO_MESS, group, data), 4)
            self.assertEqual(mailbox.receive().message, b"data")
        view = memoryview(b"d-a-t-a-")[::2]
        self.assertEqual(mailbox.multicast(spread.FIFO_MESS, group, view), 4)
        self.assertEqual(mailbox.receive().message, b"data")

    def test_a_message_that_is_a_text_is_a_type_error_that_says_so(self):
        mailbox = self.connect()
        with self.assertRaisesRegex(TypeError, "bytes, not str: encode it"):
            mailbox.multicast(spread.FIFO_MESS, "group", "text")
        for other in None, 7, [1, 2]:
            with self.subTest(other), self.assertRaisesRegex(TypeError, "a message is bytes"):
                mailbox.multicast(spread.FIFO_MESS, "group", other)

    def test_a_message_type_has_16_bits(self):
        group, (mailbox,) = self.members(1)
        for number in -(2**15), 2**15 - 1:
            mailbox.multicast(spread.FIFO_MESS, group, b"", message_type=number)
            self.assertEqual(mailbox.receive().msg_type, number)
        for number in -(2**15) - 1, 2**15:
            with self.assertRaises(OverflowError):
                mailbox.multicast(spread.FIFO_MESS, group, b"", number)

    def test_a_message_to_several_groups_comes_once(self):
        one, two = self.group(), self.group()
        mailbox = self.connect(membership=0)
        mailbox.join(one)
        mailbox.join(two)
        for groups in (one, two), [one, two]:
            sent = mailbox.multigroup_multicast(spread.AGREED_MESS, groups, b"once", 3)
            self.assertEqual(sent, 4)
        for _ in range(2):
            message = mailbox.receive()
            self.assertEqual((message.groups, message.msg_type), ([one, two], 3))
        self.assertEqual(mailbox.poll(), 0)

    def test_a_message_to_private_groups_reaches_their_clients(self):
        mailboxes = [self.connect() for _ in range(12)]
        groups = tuple(mailbox.private_group for mailbox in mailboxes)
        mailboxes[0].multigroup_multicast(spread.FIFO_MESS, groups, b"1")
        for mailbox in mailboxes:
            self.assertEqual(mailbox.receive().groups, list(groups))

    def test_groups_are_a_tuple_of_names(self):
        mailbox = self.connect()
        for groups in "group", b"group", 7, (7,), None:
            with self.subTest(groups), self.assertRaises(TypeError):
                mailbox.multigroup_multicast(spread.FIFO_MESS, groups, b"")

    def test_illegal_groups_are_refused(self):
        mailbox = self.connect()
        for name in "", "a b", "x" * spread.MAX_GROUP_NAME, "grüppe", b"\xff":
            with self.subTest(name):
                self.assert_fails(spread.ILLEGAL_GROUP, mailbox.join, name)
                self.assert_fails(spread.ILLEGAL_GROUP, mailbox.leave, name)
                self.assert_fails(
                    spread.ILLEGAL_GROUP, mailbox.multicast, spread.FIFO_MESS, name, b""
                )
        self.assert_fails(
            spread.ILLEGAL_GROUP, mailbox.multigroup_multicast, spread.FIFO_MESS, (), b""
        )

    def test_names_can_be_bytes(self):
        mailbox, group = self.connect(), self.group()
        mailbox.join(group.encode())
        self.assertEqual(mailbox.receive().group, group)
        mailbox.multicast(spread.FIFO_MESS, group.encode(), b"")
        self.assertEqual(mailbox.receive().groups, [group])
        mailbox.multigroup_multicast(spread.FIFO_MESS, (group.encode(), group), b"")
        self.assertEqual(mailbox.receive().groups, [group, group])

    def test_a_large_message_needs_no_care(self):
        group, (mailbox,) = self.members(1)
        data = bytes(range(256)) * 400
        self.assertGreater(len(data), spread.DEFAULT_BUFFER_SIZE)
        mailbox.multicast(spread.SAFE_MESS, group, data)
        self.assertEqual(mailbox.receive().message, data)

    def test_many_groups_need_no_care(self):
        mailbox = self.connect()
        groups = tuple(mailbox.private_group for _ in range(43))
        self.assertGreater(len(groups), spread.DEFAULT_GROUPS_SIZE)
        mailbox.multigroup_multicast(spread.FIFO_MESS, groups, b"")
        self.assertEqual(mailbox.receive().groups, list(groups))

    def test_what_no_daemon_delivers_is_not_sent(self):
        mailbox = self.connect(membership=0)
        group, send = mailbox.private_group, mailbox.multigroup_multicast
        most = 143_151 - 32
        self.assert_fails(
            spread.MESSAGE_TOO_LONG, send, spread.FIFO_MESS, (group,), bytes(most + 1)
        )
        self.assert_fails(spread.MESSAGE_TOO_LONG, send, spread.FIFO_MESS, (group,) * 44, b"")
        mailbox.multicast(spread.FIFO_MESS, group, bytes(most))
        self.assertEqual(len(mailbox.receive().message), most)


class Views(TestCase):
    def test_a_join_names_members_and_who_joined(self):
        group, (one,) = self.members(1)
        two = self.connect()
        two.join(group)
        for message in one.receive(), two.receive():
            self.assertEqual(message.reason, spread.CAUSED_BY_JOIN)
            self.assertEqual(message.group, group)
            self.assertEqual(
                sorted(message.members), sorted([one.private_group, two.private_group])
            )
            self.assertEqual(message.extra, [two.private_group])
            self.assertEqual(message.orig_members, [[two.private_group]])

    def test_a_leave_names_who_left(self):
        group, (one, two) = self.members(2)
        two.leave(group)
        message = one.receive()
        self.assertEqual(message.reason, spread.CAUSED_BY_LEAVE)
        self.assertEqual(message.members, [one.private_group])
        self.assertEqual(message.extra, [two.private_group])

    def test_who_leaves_is_told_so_without_members(self):
        group, (mailbox,) = self.members(1)
        mailbox.leave(group)
        message = mailbox.receive()
        self.assertEqual((message.reason, message.group), (spread.CAUSED_BY_LEAVE, group))
        self.assertEqual((message.members, message.extra), ([], []))
        self.assertIsNone(message.group_id)
        self.assertIsNone(message.orig_members)

    def test_a_disconnect_names_who_disconnected(self):
        group, (one, two) = self.members(2)
        two.disconnect()
        message = one.receive()
        self.assertEqual(message.reason, spread.CAUSED_BY_DISCONNECT)
        self.assertEqual(message.members, [one.private_group])
        self.assertEqual(message.extra, [two.private_group])

    def test_a_mailbox_that_is_collected_disconnects(self):
        group, (one,) = self.members(1)
        two = spread.connect(self.address)
        two.join(group)
        self.assertEqual(len(one.receive().members), 2)
        del two
        self.assertEqual(one.receive().reason, spread.CAUSED_BY_DISCONNECT)

    def test_all_members_have_one_group_id_and_every_view_another(self):
        group, (one, two) = self.members(2)
        three = self.connect()
        three.join(group)
        ids = [mailbox.receive().group_id for mailbox in (one, two, three)]
        self.assertEqual(ids[0], ids[1])
        self.assertFalse(ids[0] != ids[1])
        self.assertEqual(len(set(ids)), 1)
        three.leave(group)
        after = one.receive().group_id
        self.assertNotEqual(after, ids[0])
        self.assertNotEqual(after, str(after))
        self.assertRegex(repr(after), r"^<group_id [0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}>$")


class Readiness(TestCase):
    def test_poll_tells_whether_there_is_a_message(self):
        mailbox = self.connect()
        self.assertEqual(mailbox.poll(), 0)
        mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"one")
        mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"two")
        wait_until(lambda: mailbox.poll() == 1)
        self.assertEqual(mailbox.receive().message, b"one")
        wait_until(lambda: mailbox.poll() == 1)
        self.assertEqual(mailbox.poll(), 1)
        self.assertEqual(select.select([mailbox], [], [], 0)[0], [mailbox])
        self.assertEqual(mailbox.receive().message, b"two")
        self.assertEqual(mailbox.poll(), 0)

    def test_the_descriptor_is_readable_while_messages_are_there(self):
        mailbox = self.connect()
        self.assertEqual(select.select([mailbox], [], [], 0)[0], [])
        for _ in range(100):
            mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
        for _ in range(100):
            self.assertEqual(select.select([mailbox.fileno()], [], [], 30)[0], [mailbox.fileno()])
            self.assertEqual(mailbox.receive().message, b"data")
        self.assertEqual(select.select([mailbox], [], [], 0)[0], [])

    def test_try_receive_does_not_wait(self):
        mailbox = self.connect()
        self.assertIsNone(mailbox.try_receive())
        mailbox.multicast(spread.FIFO_MESS, mailbox.private_group, b"data")
        received = []
        wait_until(lambda: received.append(mailbox.try_receive()) or received[-1])
        self.assertEqual(received[-1].message, b"data")

    def test_try_multicast_takes_one_group_or_several(self):
        mailbox = self.connect()
        group = mailbox.private_group
        self.assertTrue(mailbox.try_multicast(spread.FIFO_MESS, group, b"one"))
        self.assertTrue(mailbox.try_multicast(spread.FIFO_MESS, (group, group), b"two", 2))
        self.assertTrue(mailbox.try_flush())
        self.assertEqual(mailbox.receive().groups, [group])
        message = mailbox.receive()
        self.assertEqual((message.groups, message.msg_type), ([group, group], 2))


class TheEnd(TestCase):
    def test_after_a_disconnect_every_method_fails_but_another_disconnect(self):
        mailbox = self.connect()
        mailbox.disconnect()
        for call in (
            mailbox.receive,
            mailbox.try_receive,
            mailbox.poll,
            mailbox.fileno,
            mailbox.try_flush,
            lambda: mailbox.join("group"),
            lambda: mailbox.leave("group"),
            lambda: mailbox.multicast(spread.FIFO_MESS, "group", b""),
        ):
            self.assert_fails(spread.ILLEGAL_SESSION, call)
        mailbox.disconnect()
        self.assertTrue(mailbox.private_group)

    def test_a_block_disconnects(self):
        name = self.name()
        for _ in range(2):
            with spread.connect(self.address, name) as mailbox:
                self.assertEqual(mailbox.poll(), 0)
            self.assert_fails(spread.ILLEGAL_SESSION, mailbox.poll)

    def test_what_was_sent_before_a_disconnect_arrives(self):
        group, (receiver,) = self.members(1)
        with spread.connect(self.address, membership=0) as sender:
            for number in range(200):
                sender.multicast(spread.AGREED_MESS, group, b"%d" % number)
        for number in range(200):
            self.assertEqual(receiver.receive().message, b"%d" % number)

    @unittest.skipIf("SPREAD_DAEMON" in os.environ, "it ends the daemon")
    def test_a_daemon_that_ends_closes_the_connection(self):
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        mailbox = self.connect(address=daemon.address)
        daemon.process.kill()
        self.assert_fails(spread.CONNECTION_CLOSED, mailbox.receive)
        self.assert_fails(spread.CONNECTION_CLOSED, mailbox.poll)
        self.assert_fails(
            spread.CONNECTION_CLOSED, mailbox.multicast, spread.FIFO_MESS, "group", b""
        )
        mailbox.disconnect()


if __name__ == "__main__":
    unittest.main()
