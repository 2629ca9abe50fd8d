//! The handle of a group with voters.

use std::ops::Deref;

use bytes::Bytes;

use crate::core::Input;
use crate::core::requests::OperationId;
use crate::core::roster::Incarnation;
use crate::core::voting::voters::{self, Voter, VoterChange};
use crate::leader::FencedLeadership;
use crate::lock::{Mutex, RwLock, Semaphore};
use crate::pending::Completion;
use crate::sequence::Sequence;
use crate::{Error, Group, Pending};

/// A group with [voters](crate::voters) that a node takes part in, made by
/// [`GroupBuilder::join`](crate::GroupBuilder::join) after
/// [`voters`](crate::GroupBuilder::voters).
///
/// It is a [`Group`], and can be used as one. Leaders, locks and sequences, which are advisory
/// there, are unique here, and leaders and locks have fences. `advisory_lock("x")` is the same lock
/// as `mutex("x")`, without a fence, and so are the other advisory locks; `advisory_sequence("x")`
/// is another one than `sequence("x")`. Pass `&VotedGroup` to functions that need one of them: as a
/// `&Group` it has the advisory ones only.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.voters(["ann"]).votes_as("ann").join()?;
/// let limits = plant.map::<String>("limits");
/// limits.put("boiler/max", &String::from("80")).send().wait()?;
/// let limit = plant.read_confirmed(move || limits.get("boiler/max")).wait()?;
/// assert_eq!(limit.unwrap().value, "80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct VotedGroup(Group);

impl Deref for VotedGroup {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.0
    }
}

impl From<VotedGroup> for Group {
    fn from(group: VotedGroup) -> Group {
        group.0
    }
}

impl VotedGroup {
    pub(crate) fn new(group: Group) -> VotedGroup {
        VotedGroup(group)
    }

    /// Returns the leadership of the group, with fences; see [`crate::leader`].
    pub fn leadership(&self) -> FencedLeadership {
        FencedLeadership::new(self.0.leadership())
    }

    /// Returns a mutex by its name; see [`crate::lock`].
    pub fn mutex(&self, name: &str) -> Mutex {
        Mutex::new(name, self.machines().locks.clone())
    }

    /// Returns a lock of many readers or one writer by its name; see [`crate::lock`].
    pub fn rw_lock(&self, name: &str) -> RwLock {
        RwLock::new(name, self.machines().locks.clone())
    }

    /// Returns a semaphore by its name and its number of permits, at least 1; see
    /// [`crate::lock`]. Programs have to agree on the number: semaphores of one name with
    /// different numbers are different semaphores.
    pub fn semaphore(&self, name: &str, permits: u32) -> Semaphore {
        Semaphore::new(name, permits, self.machines().locks.clone())
    }

    /// Returns a sequence of numbers by its name; see [`crate::sequence`]. It is another one than
    /// [`advisory_sequence`](Group::advisory_sequence) of the name.
    pub fn sequence(&self, name: &str) -> Sequence {
        Sequence::new(name, self.machines().sequences.clone())
    }

    /// Ends when all that was answered before, to anybody, is applied here: what is read
    /// then is not older than the call. It is an operation of its own.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoQuorum`] on a side without a majority, and with
    /// the errors of [`Replicated::submit`](crate::Replicated::submit).
    pub fn confirm(&self) -> Pending<()> {
        let (completion, pending) = Pending::of_bytes(|_| Ok(()));
        pending.of_operation(self.submit(|_| Bytes::new(), completion))
    }

    /// Reads after a [confirmation](VotedGroup::confirm), so that the read is linearizable: it sees
    /// all that was answered before the call, to anybody. `read` is called in the thread that
    /// waits, and may read a map, a state machine, or several of them. Each read is linearizable;
    /// several are not at one place.
    ///
    /// # Errors
    ///
    /// The pending result fails with the errors of [`confirm`](VotedGroup::confirm) and of `read`.
    pub fn read_confirmed<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        let (completion, pending) = Pending::of_bytes(|_| read());
        pending.of_operation(self.submit(|_| Bytes::new(), completion))
    }

    /// Sets a voter: adds it, replaces its incarnation, or changes its weight. `true` if that was
    /// done, and `false` if another change came first or is not committed yet, if the incarnation is a voter by another
    /// name, if a new voter is not in the roster or is an observer, if there would be more than 64
    /// voters, or if no majority of the voters after the change is in the roster. The incarnation is
    /// that of [`Group::incarnation`] at its node, or in the roster.
    ///
    /// It counts from its place in the log on. Until it is committed, a majority of the voters
    /// before it is needed, and one of those after it. A voter that has lost its state takes
    /// its place again by itself, if the majority has not and its program goes by this name
    /// ([`votes_as`](crate::GroupBuilder::votes_as)), which is not checked here.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::IllegalVoters`] if the name is not 1 to 64 bytes long
    /// or the weight is 0, and as that of [`confirm`](VotedGroup::confirm) does.
    pub fn set_voter(&self, name: &str, incarnation: Incarnation, weight: u32) -> Pending<bool> {
        if weight == 0 || !voters::is_legal(name) {
            return Pending::failed(Error::IllegalVoters);
        }
        self.change_voter(name, Voter { incarnation, weight })
    }

    /// Removes a voter. `true` if that was done, and `false` if another change came first or is not
    /// committed yet, if there is no voter of this name, or if no majority of the voters after the change is in the
    /// roster, or none would be left.
    ///
    /// A voter that was removed must not be started again with the list that founded the group:
    /// nodes that do not see the group found a second one as soon as all of that list are among
    /// them. Give it the list of the present voters.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`confirm`](VotedGroup::confirm) does.
    pub fn remove_voter(&self, name: &str) -> Pending<bool> {
        let incarnation = self.incarnation();
        self.change_voter(name, Voter { incarnation, weight: 0 })
    }

    fn change_voter(&self, name: &str, voter: Voter) -> Pending<bool> {
        let (completion, pending) = Pending::of_bytes(|verdict| Ok(verdict[..] == [1]));
        let name = name.to_owned();
        let change = move |version| VoterChange { version, name, voter }.encode();
        pending.of_operation(self.submit(change, completion))
    }

    /// Forms the group with the voters that are here, if this side has no majority of them. A node
    /// that goes by the name of a voter that is not here takes its place. *Names without a node
    /// here are dropped*: they do not vote until [`set_voter`](VotedGroup::set_voter) adds them
    /// again: forced with one member alone, the group has one voter. Ends when the group has
    /// formed.
    ///
    /// It is for an operator who knows that a majority of the voters has lost its state for
    /// good, and has stopped the others. *What they have committed and nobody here has is
    /// lost*, answered operations too; if they are alive, there are two primaries. This
    /// member has to have the newest log of those here; call it at all of them. When the others
    /// come back with a state, the state that was forced stands. They are told by
    /// [`Event::Rewound`](crate::Event::Rewound) which of their own operations are taken back, and
    /// these are submitted again. After a minute, or whatever the life of a session is, they are not;
    /// [`Event::Lost`](crate::Event::Lost) tells which. The page [`guide::three_hosts`](crate::guide::three_hosts) has
    /// the steps.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Unforced`], which says why nothing was forced, and
    /// with [`Error::Closed`] if the member has left the group.
    pub fn force_primary(&self) -> Pending<()> {
        let shared = self.parts().1.clone();
        let (completion, pending) = Pending::of_bytes(|_| Ok(()));
        self.parts().0.push(move |runner| {
            let Some(hosted) = runner.part(&shared) else {
                return completion(Err(Error::Closed { may_have_executed: false }));
            };
            hosted.wait_until_forced(completion);
            runner.input_to(&shared, Input::ForcePrimary);
        });
        pending
    }

    /// Submits an operation on the voters, made for their version.
    fn submit(
        &self,
        payload: impl FnOnce(u64) -> Bytes + Send + 'static,
        completion: Completion,
    ) -> OperationId {
        let (shared, id) = (self.parts().1.clone(), self.parts().1.next_operation());
        self.parts().0.push(move |runner| {
            let Some(hosted) = runner.part(&shared) else {
                return completion(Err(Error::Closed { may_have_executed: false }));
            };
            let version = hosted.core().quorum().map_or(0, |quorum| quorum.version);
            let payload = payload(version);
            hosted.wait_for(id, completion);
            let (channel, patient) = (voters::CHANNEL, false);
            runner.input_to(&shared, Input::Submit { id, channel, payload, patient });
        });
        id
    }
}
