//! Groups with voters: what a majority has is committed, and nothing else is applied.
//!
//! Without voters a group goes on in every part of a partition, and a merge takes back what
//! one side has done. With voters only the side with a majority of them goes on: what was
//! answered survives as long as a majority of the voters lives, operations of all machines are
//! linearizable, and leaders, locks and sequences are unique. [Form, log, entry and
//! session](crate#words) are explained with the crate.
//!
//! The state is in memory, and a voter that ends has lost it, also if it starts again. If the
//! voters that have it are no majority any more, because the others have ended at one time or one
//! after the other, the group stops. Once those are back without the state it says so
//! ([`Why::StateLost`]), and it waits for an operator ([`VotedGroup::force_primary`]). If all voters
//! have ended, the next ones found another group, unless a member that does not vote has the state
//! and says so first: then it is [`Why::StateLost`] there, too. Members wait a second for each
//! other, and no longer; one that is slower takes the state of the new group, and is told by
//! [`Event::Rewound`] what of its own was taken back. Two nodes with one voter's name
//! can found a second group while the first still runs: give each name to one node. What has to
//! outlive that belongs in a database, or in a store that writes to disk, such as etcd. The page
//! [`guide`](crate::guide) of the documentation says which tier is for what, and what can be lost
//! in each.
//!
//! Each voter has a name, which its node is configured with. The voters of the configuration found
//! the group, when all of them are there. From then on the *incarnation* of a voter counts, which
//! is new whenever its program starts: a voter that has started again has lost its state, and
//! counts once it has been given the state and the majority has agreed on it, which happens by
//! itself. Restart one voter at a time; the next when [`status().quorum`](crate::Status::quorum) is
//! [`Primary`](Standing::Primary) and shows the new incarnation with `present`. Look at a member
//! that has stayed, and whether the new one [has the state](crate::Member::holds), too: `present`
//! says only that it is in the roster. The page [`guide::three_hosts`](crate::guide::three_hosts) has
//! this as a function, and what an operator does.
//!
//! All members give the same list of voters, those that do not vote, too; one that joins later can
//! give the present voters instead. With another list it fails with
//! [`OtherVoters`](crate::JoinFailed::OtherVoters), and so does one without voters where the group has
//! some. The weights of the list count where it founds the group.
//!
//! A group has at most 64 voters and 256 members. A place is kept for each voter that is away, and
//! who would take it is refused ([`Refusal::Full`](crate::Refusal::Full)).
//!
//! Two groups that were founded separately never mix. Where voters of both meet, none of them forms
//! ([`Why::OtherGroup`]) and nothing is lost, until an operator has ended the members of the wrong
//! one.
//!
//! # What is guaranteed, and how far that has been tested
//!
//! Groups with voters are new: they have not been in use yet. These hold as long as a majority of
//! the voters keeps its state, and not after an end of all voters or after
//! [`force_primary`](VotedGroup::force_primary):
//!
//! * At most one side of a partition commits: the *primary*, which has a majority of the voters.
//! * An operation is applied and answered once a majority of the voters has logged it. Then no
//!   merge takes it back.
//! * Elsewhere an operation fails with [`Error::NoQuorum`], which says whether it may have been
//!   executed. A voter that hangs but is connected counts as there: operations wait until its
//!   daemon cuts it off. Use [`wait_timeout`](crate::Pending::wait_timeout).
//! * [`VotedGroup::confirm`] ends when all that was answered before is applied at this member; a
//!   [`read_confirmed`](VotedGroup::read_confirmed) is linearizable.
//! * A term has a [`Fence`](crate::Fence) greater than those of all terms before it, and the holder
//!   of a lock one greater than those of all former holders of that lock.
//! * No number of a [`sequence`](VotedGroup::sequence) is given twice. No job has two outcomes; its
//!   queue remembers the last 1,024, and a job that is submitted again by its id after that is done
//!   again.
//!
//! # In a minority
//!
//! A member is told that it is on a side without a majority ([`Event::Minority`]) when a view comes
//! in which no majority of the voters is, or when there is none after an exchange of three seconds.
//! Then its terms are [revoked](crate::Term::is_revoked) and its guards
//! [lost](crate::Guard::is_lost), as they are when its connection is lost or another member has
//! the grant. [`leadership().current()`](crate::FencedLeadership::current) is `None` there, nothing
//! is granted and no job assigned, and a vote that it has proposed ends with [`Error::NoQuorum`].
//! [`Event::Primary`] follows when a majority commits with it; terms and locks have to be requested
//! anew.
//!
//! Operations fail with [`Error::NoQuorum`] three seconds after there was a majority last, which is
//! three times as long as members wait for each other in an exchange; those that are submitted later fail at once.
//! It is the same without a connection, whose loss is told by [`Event::Minority`], too.
//! [`Replicated::submit`](crate::Replicated::submit) lists the errors; the other operations refer
//! to it. Before the group is founded operations wait for all voters, without this error as long as
//! there is a connection.
//!
//! **The majority does not wait until the minority has been told.** Each side learns of a partition
//! by itself, and a process that stalls learns of nothing: a former holder can act for a while
//! beside the next one. The fence is what tells storage which of the two is of the past.
//!
//! What this crate submits by itself and what waits without an end, such as the release of a lock,
//! the result of a job, a ballot or the claim of a term, does not fail with [`Error::NoQuorum`] but
//! waits for a majority.
//!
//! What waits for others waits on in a minority, once it is in the log: a request for a lock, a
//! job, a question to the leader. A partition that is healed costs it nothing then, unless the
//! majority went on without its member. It is the same with the recipes of etcd and ZooKeeper,
//! whose waiters keep their places until the session ends. What is not in the log yet fails with
//! [`Error::NoQuorum`]. The deadline is the caller's: call
//! [`wait_timeout`](crate::Pending::wait_timeout), and drop the pending result. That withdraws the
//! request for a lock; a job is done and a question answered all the same.
//!
//! # Tests
//!
//! The state machine is tested by a simulation of three voters and two other members: random
//! schedules of partitions, crashes of daemons, lost connections, voters that start again and
//! delayed messages. In one half of them an operator also sets voters, of other weights, too, and
//! forces primaries, and the group is founded again. It checks that one entry is committed at an
//! index and one majority forms an epoch, that no answered operation is taken back, unless its
//! member is told that a primary was forced or another group has been founded, that no voter comes
//! into another group, and that the histories of a map and of a lock are linearizable. For each rule
//! of the protocol there is a schedule which shows that the simulation notices when the rule is
//! broken. Histories of nodes on embedded daemons, with three and with five voters, are judged in
//! the same way, and so are those of a [`Mutex`](crate::Mutex) and a [`Sequence`](crate::Sequence).
//!
//! # Example
//!
//! Topics and calls go on without a majority among those who see each other.
//!
//! ```no_run
//! use spread::Mailbox;
//! use spread_groups::Node;
//! use spread_groups::voters::Standing;
//!
//! let node = Node::connect(Mailbox::builder("4803@localhost"))?;
//! let plant = node.group("plant")?.voters(["ann", "bob", "cid"]).votes_as("ann").join()?;
//! plant.ready().wait()?;
//! let limits = plant.map::<String>("limits");
//! limits.put("boiler/max", &String::from("80")).send().wait()?;
//! println!("{:?}", plant.read_confirmed(move || limits.get("boiler/max")).wait()?);
//! if let Some(quorum) = plant.status().wait()?.quorum {
//!     assert!(matches!(quorum.standing, Standing::Primary(_)));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Error::NoQuorum`]: crate::Error::NoQuorum
//! [`Event::Minority`]: crate::Event::Minority
//! [`Event::Primary`]: crate::Event::Primary
//! [`Event::Rewound`]: crate::Event::Rewound

#[cfg(doc)]
use crate::VotedGroup;

pub use crate::core::voting::standing::{Quorum, Standing, Unforced, Voter, Why};
