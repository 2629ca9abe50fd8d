from types import TracebackType
from typing import Final, List, Optional, Sequence, Tuple, Type, Union, final

from typing_extensions import Buffer

__all__ = [
    "SpreadError",
    "error",
    "connect",
    "version",
    "MailboxType",
    "RegularMsgType",
    "MembershipMsgType",
    "GroupIdType",
    "LOW_PRIORITY",
    "MEDIUM_PRIORITY",
    "HIGH_PRIORITY",
    "DEFAULT_SPREAD_PORT",
    "MAX_GROUP_NAME",
    "MAX_PRIVATE_NAME",
    "MAX_PROC_NAME",
    "ACCEPT_SESSION",
    "ILLEGAL_SPREAD",
    "COULD_NOT_CONNECT",
    "REJECT_QUOTA",
    "REJECT_NO_NAME",
    "REJECT_ILLEGAL_NAME",
    "REJECT_NOT_UNIQUE",
    "REJECT_VERSION",
    "CONNECTION_CLOSED",
    "REJECT_AUTH",
    "ILLEGAL_SESSION",
    "ILLEGAL_SERVICE",
    "ILLEGAL_MESSAGE",
    "ILLEGAL_GROUP",
    "BUFFER_TOO_SHORT",
    "GROUPS_TOO_SHORT",
    "MESSAGE_TOO_LONG",
    "NET_ERROR_ON_SESSION",
    "DEFAULT_BUFFER_SIZE",
    "DEFAULT_GROUPS_SIZE",
    "UNRELIABLE_MESS",
    "RELIABLE_MESS",
    "FIFO_MESS",
    "CAUSAL_MESS",
    "AGREED_MESS",
    "SAFE_MESS",
    "REGULAR_MESS",
    "SELF_DISCARD",
    "DROP_RECV",
    "REG_MEMB_MESS",
    "TRANSITION_MESS",
    "CAUSED_BY_JOIN",
    "CAUSED_BY_LEAVE",
    "CAUSED_BY_DISCONNECT",
    "CAUSED_BY_NETWORK",
    "MEMBERSHIP_MESS",
    "REJECT_MESS",
    "ENDIAN_RESERVED",
    "RESERVED",
    "SPREAD_VERSION",
]

_Name = Union[str, bytes]

class SpreadError(Exception): ...

error = SpreadError

def connect(
    spread_name: Optional[_Name] = None,
    private_name: Optional[_Name] = None,
    priority: int = 0,
    membership: int = 1,
    *,
    daemon: Optional[_Name] = None,
    name: Optional[_Name] = None,
    user: Optional[_Name] = None,
    password: Optional[_Name] = None,
) -> MailboxType: ...
def version() -> Tuple[int, int, int]: ...
@final
class MailboxType:
    @property
    def private_group(self) -> str: ...
    def join(self, group: _Name) -> None: ...
    def leave(self, group: _Name) -> None: ...
    def multicast(
        self, service_type: int, group: _Name, message: Buffer, message_type: int = 0
    ) -> int: ...
    def multigroup_multicast(
        self,
        service_type: int,
        groups: Sequence[_Name],
        message: Buffer,
        message_type: int = 0,
    ) -> int: ...
    def receive(self) -> Union[RegularMsgType, MembershipMsgType]: ...
    def poll(self) -> int: ...
    def fileno(self) -> int: ...
    def disconnect(self) -> None: ...
    def try_receive(self) -> Union[RegularMsgType, MembershipMsgType, None]: ...
    def try_multicast(
        self,
        service_type: int,
        groups: Union[_Name, Sequence[_Name]],
        message: Buffer,
        message_type: int = 0,
    ) -> bool: ...
    def try_flush(self) -> bool: ...
    def __enter__(self) -> MailboxType: ...
    def __exit__(
        self,
        exception_type: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None: ...

@final
class RegularMsgType:
    @property
    def sender(self) -> str: ...
    @property
    def groups(self) -> List[str]: ...
    @property
    def message(self) -> bytes: ...
    @property
    def msg_type(self) -> int: ...
    @property
    def endian(self) -> int: ...

@final
class MembershipMsgType:
    @property
    def reason(self) -> int: ...
    @property
    def group(self) -> str: ...
    @property
    def group_id(self) -> Optional[GroupIdType]: ...
    @property
    def members(self) -> List[str]: ...
    @property
    def extra(self) -> List[str]: ...
    @property
    def orig_members(self) -> Optional[List[List[str]]]: ...

@final
class GroupIdType:
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

LOW_PRIORITY: Final[int]
MEDIUM_PRIORITY: Final[int]
HIGH_PRIORITY: Final[int]
DEFAULT_SPREAD_PORT: Final[int]
MAX_GROUP_NAME: Final[int]
MAX_PRIVATE_NAME: Final[int]
MAX_PROC_NAME: Final[int]
ACCEPT_SESSION: Final[int]
ILLEGAL_SPREAD: Final[int]
COULD_NOT_CONNECT: Final[int]
REJECT_QUOTA: Final[int]
REJECT_NO_NAME: Final[int]
REJECT_ILLEGAL_NAME: Final[int]
REJECT_NOT_UNIQUE: Final[int]
REJECT_VERSION: Final[int]
CONNECTION_CLOSED: Final[int]
REJECT_AUTH: Final[int]
ILLEGAL_SESSION: Final[int]
ILLEGAL_SERVICE: Final[int]
ILLEGAL_MESSAGE: Final[int]
ILLEGAL_GROUP: Final[int]
BUFFER_TOO_SHORT: Final[int]
GROUPS_TOO_SHORT: Final[int]
MESSAGE_TOO_LONG: Final[int]
NET_ERROR_ON_SESSION: Final[int]
DEFAULT_BUFFER_SIZE: Final[int]
DEFAULT_GROUPS_SIZE: Final[int]
UNRELIABLE_MESS: Final[int]
RELIABLE_MESS: Final[int]
FIFO_MESS: Final[int]
CAUSAL_MESS: Final[int]
AGREED_MESS: Final[int]
SAFE_MESS: Final[int]
REGULAR_MESS: Final[int]
SELF_DISCARD: Final[int]
DROP_RECV: Final[int]
REG_MEMB_MESS: Final[int]
TRANSITION_MESS: Final[int]
CAUSED_BY_JOIN: Final[int]
CAUSED_BY_LEAVE: Final[int]
CAUSED_BY_DISCONNECT: Final[int]
CAUSED_BY_NETWORK: Final[int]
MEMBERSHIP_MESS: Final[int]
REJECT_MESS: Final[int]
ENDIAN_RESERVED: Final[int]
RESERVED: Final[int]
SPREAD_VERSION: Final[int]
