"""A client for the Spread toolkit: reliable, totally ordered group multicast with membership.

The interface is that of the Spread wrapper for Python: connect() returns a MailboxType, whose
receive() returns objects of RegularMsgType and MembershipMsgType. spread.asyncio has the same
for asyncio.
"""

from . import _spread
from ._spread import *  # noqa: F403

#: The name that the C module exports SpreadError under.
error = _spread.SpreadError

__all__ = [name for name in vars(_spread) if not name.startswith("_")] + ["error"]
