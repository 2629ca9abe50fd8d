//! The daemons of several hosts, over Corosync.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use spread_corosync::{Event, Group, Member, Sent};

use crate::cluster::{MemberId, RingId, Told};
use crate::net::hosts::{Channel, GroupError, Membership};

/// The daemons of several hosts, which speak to each other over Corosync; for
/// [`Builder::corosync`](crate::Builder::corosync).
///
/// Each host runs Corosync and one daemon. The library `libcpg.so.4` is opened when the
/// daemon starts; nothing of Corosync is needed to build a program.
///
/// ```no_run
/// use spread_daemon::{Corosync, Daemon};
///
/// let daemons = Corosync::new(["d1", "d2", "d3"]);
/// let daemon = Daemon::builder().name("d2").corosync(daemons).start()?;
/// # Ok::<(), spread_daemon::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Corosync {
    names: Vec<String>,
    group: String,
}

impl Corosync {
    /// Takes the names of all daemons, at most 128. All of them must be given the same
    /// names in the same order; it is the first order of the members of a view.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Corosync {
        Corosync { names: names.into_iter().map(Into::into).collect(), group: "spread".to_owned() }
    }

    /// Sets the process group in which the daemons meet: 1 to 128 bytes. Default:
    /// `spread`.
    pub fn group(mut self, group: impl Into<String>) -> Corosync {
        self.group = group.into();
        self
    }

    pub(crate) fn membership(self) -> Membership {
        let Corosync { names, group } = self;
        let join =
            move || -> Result<Box<dyn Channel>, GroupError> { Ok(Box::new(Group::join(&group)?)) };
        Membership { names, join: Arc::new(join) }
    }
}

impl Channel for Group {
    fn fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    fn member(&self) -> MemberId {
        id(Group::member(self))
    }

    fn take(&mut self) -> Result<Option<Told>, GroupError> {
        let all = |members: Vec<Member>| members.into_iter().map(id).collect();
        Ok(self.dispatch()?.map(|event| match event {
            Event::Message { from, bytes } => Told::Message { from: id(from), bytes: bytes.into() },
            Event::Members { members, left, joined } => {
                Told::Members { members: all(members), left: all(left), joined: all(joined) }
            }
            Event::Ring(ring) => Told::Ring(RingId { node: ring.node, seq: ring.seq }),
        }))
    }

    fn send(&mut self, message: &[u8]) -> Result<bool, GroupError> {
        Ok(self.multicast(message)? == Sent::Yes)
    }
}

fn id(member: Member) -> MemberId {
    MemberId { node: member.node, pid: member.pid }
}
