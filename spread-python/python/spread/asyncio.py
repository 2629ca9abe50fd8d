"""Mailboxes for asyncio.

::

    async with await spread.asyncio.connect("4803@localhost", "alice") as mailbox:
        await mailbox.join("chat")
        await mailbox.multicast(spread.AGREED_MESS, "chat", b"hello")
        async for message in mailbox:
            print(message)

No method blocks the event loop. One task receives at a time, while any number of others send.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

from . import MailboxType, MembershipMsgType, RegularMsgType, SpreadError
from . import connect as _connect

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Mailbox", "connect"]

_Name = Union[str, bytes]
_Message = Union[RegularMsgType, MembershipMsgType]

#: Calls that did not have to wait, after which other tasks get their turn.
_BURST = 64


async def connect(
    spread_name: Optional[_Name] = None,
    private_name: Optional[_Name] = None,
    priority: int = 0,
    membership: int = 1,
    *,
    user: Optional[_Name] = None,
    password: Optional[_Name] = None,
) -> "Mailbox":
    """Connects as spread.connect() does, in a thread of the loop's default executor."""
    call = partial(
        _connect, spread_name, private_name, priority, membership, user=user, password=password
    )
    return Mailbox(await asyncio.get_running_loop().run_in_executor(None, call))


class Mailbox:
    """A mailbox whose methods are coroutines; `async for` iterates over its messages.

    It belongs to the event loop that runs when it is made, and works with loops that have
    add_reader() and add_writer().
    """

    def __init__(self, mailbox: MailboxType) -> None:
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox
        self._descriptor = mailbox.fileno()
        self._sending = asyncio.Lock()
        self._is_receiving = False
        self._is_disconnected = False
        self._burst = 0

    @property
    def private_group(self) -> str:
        """The name that the daemon knows this client by."""
        return self._mailbox.private_group

    def fileno(self) -> int:
        """See MailboxType.fileno()."""
        return self._mailbox.fileno()

    async def join(self, group: _Name) -> None:
        """Joins a group."""
        await self._request(self._mailbox.join, group)

    async def leave(self, group: _Name) -> None:
        """Leaves a group."""
        await self._request(self._mailbox.leave, group)

    async def multicast(
        self, service_type: int, group: _Name, message: "Buffer", message_type: int = 0
    ) -> int:
        """Sends a message to a group, and returns the number of its bytes.

        Waits while the daemon takes no more. A task that is cancelled meanwhile has sent all
        of the message or nothing: what has begun is completed with the next call.
        """
        return await self._send(service_type, group, message, message_type)

    async def multigroup_multicast(
        self,
        service_type: int,
        groups: Sequence[_Name],
        message: "Buffer",
        message_type: int = 0,
    ) -> int:
        """Sends a message to several groups; otherwise as multicast()."""
        return await self._send(service_type, groups, message, message_type)

    async def receive(self) -> _Message:
        """Waits for a message. No message is lost if the task is cancelled.

        Raises RuntimeError if another task receives.
        """
        if self._is_receiving:
            raise RuntimeError("another task receives from this mailbox")
        self._is_receiving = True
        try:
            await self._give_turn()
            while True:
                message = self._mailbox.try_receive()
                if message is not None:
                    return message
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
        finally:
            self._is_receiving = False

    async def disconnect(self) -> None:
        """Ends the connection once the daemon has taken everything, after a second at most.

        Iterations over the messages end, and calls that wait raise SpreadError.
        """
        self._is_disconnected = True
        await self._loop.run_in_executor(None, self._mailbox.disconnect)

    def __aiter__(self) -> "Mailbox":
        return self

    async def __anext__(self) -> _Message:
        try:
            return await self.receive()
        except SpreadError:
            if self._is_disconnected:
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> "Mailbox":
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.disconnect()

    async def _send(
        self,
        service_type: int,
        groups: Union[_Name, Sequence[_Name]],
        message: "Buffer",
        message_type: int,
    ) -> int:
        data = message if isinstance(message, (bytes, str)) else bytes(memoryview(message))
        await self._give_turn()
        async with self._sending:
            while not self._mailbox.try_multicast(service_type, groups, data, message_type):
                await self._wait_for_room()
            await self._flush()
        return len(data)

    async def _request(self, send: Callable[[_Name], None], group: _Name) -> None:
        async with self._sending:
            await self._flush()
            # Where there is room a join or leave, which is small, does not wait.
            await self._wait_for_room()
            send(group)

    async def _flush(self) -> None:
        while not self._mailbox.try_flush():
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        await self._wait(self._loop.add_writer, self._loop.remove_writer)

    async def _wait(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        """Waits until the descriptor is readable or writable."""
        self._burst = 0
        future = self._loop.create_future()
        add(self._descriptor, _wake, future)
        try:
            await future
        finally:
            remove(self._descriptor)

    async def _give_turn(self) -> None:
        """Lets other tasks run now and then, though nothing has to be waited for."""
        self._burst += 1
        if self._burst >= _BURST:
            self._burst = 0
            await asyncio.sleep(0)


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
