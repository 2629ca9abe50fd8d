//! Groups with voters: what a majority has is committed, and nothing else is applied.
//!
//! Without voters a group goes on in every part of a partition, and a merge takes back what
//! one side has done. With voters only the side with a majority of them goes on: what was
//! answered survives as long as a majority of the voters lives, operations of all machines are
//! linearizable, and the index of a [`Place`](crate::Place) is never given twice, so that it
//! serves as a fence which storage can check.
//!
//! The state is in memory. If a majority of the voters ends at one time, it is gone: the group
//! says so ([`Why::StateLost`]) and waits for an operator ([`Group::force_primary`]). If all
//! voters end and no other member is left, the next ones found another group. So can voters that
//! have lost their state with a second node by the name of one that is away: give each name to one
//! node. What has to outlive that belongs in a database, or in a store that writes to disk, such as
//! etcd.
//!
//! Each voter has a name, which its node is configured with. The voters of the configuration found
//! the group, when all of them are there. From then on the *incarnation* of a voter counts, which
//! is new whenever its program starts: a voter that has started again has lost its state, and
//! counts once it has been given the state and the majority has agreed on it, which happens by
//! itself. All members give the same voters, those that do not vote, too; one with voters and
//! one without do not know each other.
//!
//! # What is guaranteed, and how far that has been tested
//!
//! Groups with voters are new and experimental: they have not been in use yet. As long as a
//! majority of the voters keeps its state, these hold:
//!
//! * At most one side of a partition commits: the *primary*, which has a majority of the voters.
//! * An operation is applied and answered once a majority of the voters has logged it. Then no
//!   merge takes it back.
//! * Elsewhere an operation fails with [`Error::NoQuorum`], which says whether it may have been
//!   executed.
//! * [`Group::confirm`] ends when all that was answered before is applied at this member.
//!
//! These are not guaranteed: leaders, locks and sequences are advisory as in groups without voters,
//! and are named so. A member that is cut off from the majority is not told that it leads no
//! more, or that another one has its lock.
//!
//! What this crate submits by itself and what waits without an end, such as the release of a lock,
//! the result of a job, a ballot or the claim of a term, does not fail with [`Error::NoQuorum`] but
//! waits for a majority.
//!
//! The state machine is tested by a simulation of three voters and two other members: random
//! schedules of partitions, crashes of daemons, lost connections, voters that start again and
//! delayed messages. It checks that one entry is committed at an index and one Form stands of a
//! number, that no answered operation is taken back, and that the histories of a map and of a lock
//! are linearizable. For each rule of the protocol there is a schedule which shows that the
//! simulation notices when the rule is broken. Other numbers of voters, weights and
//! [`Group::set_voter`] are not simulated. Histories of nodes on embedded daemons, with three and
//! with five voters, are judged in the same way; [`Group::set_voter`] is tested with daemons.
//!
//! # Without a majority
//!
//! Without a majority, operations fail with [`Error::NoQuorum`]; topics and calls go on among
//! those who see each other. Reads show the state as it was; [`Group::confirm`] before a read
//! makes it linearizable.
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
//! plant.confirm().wait()?;
//! println!("{:?}", limits.get("boiler/max")?);
//! if let Some(quorum) = plant.status().wait()?.quorum {
//!     assert!(matches!(quorum.standing, Standing::Primary(_)));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Group::force_primary`]: crate::Group::force_primary
//! [`Group::confirm`]: crate::Group::confirm
//! [`Group::set_voter`]: crate::Group::set_voter
//! [`Error::NoQuorum`]: crate::Error::NoQuorum

pub use crate::core::voting::standing::{Quorum, Standing, Voter, Why};
