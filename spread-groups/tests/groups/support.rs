//! What the tests share.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::{
    At, BadState, Group, GroupBuilder, Member, Node, Replicated, StateMachine, VotedGroup,
};

/// What never takes so long, unless something is wrong.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The daemons of a test. One that causes no faults takes [`daemons`], and runs at a real
/// one, too, where `SPREAD_DAEMON` names it; one that does takes [`cluster`].
pub(crate) trait Daemons {
    fn address(&self, daemon: &str) -> String;

    /// Returns the group that the members of the test join.
    fn group(&self) -> &str;
}

/// Daemons without faults: three embedded ones, or a real one for all three.
pub(crate) enum AnyDaemons {
    Embedded(Cluster),
    Real { address: String, group: String },
}

impl Daemons for AnyDaemons {
    fn address(&self, daemon: &str) -> String {
        match self {
            AnyDaemons::Embedded(cluster) => Daemons::address(cluster, daemon),
            AnyDaemons::Real { address, .. } => address.clone(),
        }
    }

    fn group(&self) -> &str {
        match self {
            AnyDaemons::Embedded(cluster) => cluster.group(),
            AnyDaemons::Real { group, .. } => group,
        }
    }
}

impl Daemons for Cluster {
    fn address(&self, daemon: &str) -> String {
        Cluster::address(self, daemon).unwrap()
    }

    fn group(&self) -> &str {
        "plant"
    }
}

/// The variable that names a real daemon, such as `4803@localhost`.
const REAL: &str = "SPREAD_DAEMON";

pub(crate) fn daemons() -> AnyDaemons {
    /// Tests run at the same time, and each needs a group of its own.
    static GROUPS: AtomicU32 = AtomicU32::new(0);
    match std::env::var(REAL) {
        Ok(address) => {
            let number = GROUPS.fetch_add(1, Ordering::Relaxed);
            AnyDaemons::Real { address, group: format!("g{}-{number}", std::process::id()) }
        }
        Err(_) => AnyDaemons::Embedded(embedded()),
    }
}

/// Daemons with faults. Where a real daemon is asked for, the test says that it is not
/// run there.
pub(crate) fn cluster() -> Cluster {
    if std::env::var_os(REAL).is_some() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Not captured, as what `eprintln` writes is.
        let line = format!("NOT AT {REAL}, because it needs faults: {test}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    embedded()
}

fn embedded() -> Cluster {
    Cluster::builder().daemons(["d1", "d2", "d3"]).start().unwrap()
}

/// Connects a node to a daemon.
pub(crate) fn node(daemons: &impl Daemons, daemon: &str) -> Node {
    Node::connect(Mailbox::builder(daemons.address(daemon))).unwrap()
}

/// Words that were added, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) BTreeMap<String, u64>);

impl StateMachine for Words {
    const NAME: &'static str = "test.Words";
    type Op = String;
    type Out = String;

    fn apply(&mut self, _: At, op: String) -> String {
        assert_ne!(op, "panic", "as it was told to");
        let times = self.0.entry(op).or_default();
        *times += 1;
        times.to_string()
    }

    fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap()
    }

    fn restore(state: &[u8]) -> Result<Words, BadState> {
        serde_json::from_slice(state).map(Words).map_err(|_| BadState)
    }
}

/// A member of a group with words.
pub(crate) struct Participant {
    pub(crate) node: Node,
    pub(crate) group: Group,
    pub(crate) words: Replicated<Words>,
    /// In a group with voters, which of them it is.
    voted: Option<(VotedGroup, u32)>,
}

impl Participant {
    /// A member of a group without voters.
    pub(crate) fn new(node: Node, group: Group, words: Replicated<Words>) -> Participant {
        Participant { node, group, words, voted: None }
    }

    /// Makes it a voter, if the group has voters.
    pub(crate) fn vote(&self) {
        if let Some((group, number @ 1..)) = &self.voted {
            let vote = group.set_voter(&number.to_string(), group.incarnation(), 1);
            assert!(vote.wait().unwrap());
        }
    }
}

thread_local! {
    /// How many members with voters the test of this thread has made; `None` without voters.
    static VOTERS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Runs a test whose members join groups with voters.
pub(crate) fn with_voters(test: fn()) {
    VOTERS.set(Some(0));
    test();
}

/// Runs tests in groups without voters, and again in groups with voters.
macro_rules! in_both_kinds_of_groups {
    ($($test:ident),* $(,)?) => {
        mod without_voters {
            $(#[test] fn $test() { super::$test(); })*
        }
        mod with_voters {
            $(#[test] fn $test() { crate::support::with_voters(super::$test); })*
        }
    };
}

/// Joins a group with words; does not wait.
pub(crate) fn member(daemons: &impl Daemons, daemon: &str) -> Participant {
    join(node(daemons, daemon), daemons.group(), |plant| plant)
}

/// Joins a group with words; does not wait. If it has voters, the first member of the test founds
/// it; the others [vote](Participant::vote) later.
pub(crate) fn join(
    node: Node,
    group: &str,
    configure: impl for<'a> FnOnce(GroupBuilder<'a>) -> GroupBuilder<'a>,
) -> Participant {
    let mut plant = configure(node.group(group).unwrap());
    let Some(number) = VOTERS.get() else {
        let words = plant.replicate(Words::default()).unwrap();
        let group = plant.join().unwrap();
        return Participant::new(node, group, words);
    };
    VOTERS.set(Some(number + 1));
    let words = plant.replicate(Words::default()).unwrap();
    let group = plant.voters(["0"]).votes_as(number.to_string()).join().unwrap();
    let voted = Some((group.clone(), number));
    Participant { node, group: group.into(), words, voted }
}

/// Joins at daemons, one after the other, and waits until all know each other and vote.
pub(crate) fn members_at<const N: usize>(
    daemons: &impl Daemons,
    at: [&str; N],
) -> [Participant; N] {
    let members = at.map(|daemon| {
        let member = member(daemons, daemon);
        member.group.ready().wait().unwrap();
        member.vote();
        member
    });
    for member in &members {
        member.group.wait_for_members(N, LONG).unwrap();
    }
    members
}

/// Joins at three daemons, one after the other, and waits until all know each other and vote.
pub(crate) fn three_members(daemons: &impl Daemons) -> [Participant; 3] {
    members_at(daemons, ["d1", "d2", "d3"])
}

/// Returns the private group of a member, as it knows it itself.
pub(crate) fn name(group: &Group) -> String {
    name_of(group, group)
}

/// Returns the private group of a member, as another one knows it.
pub(crate) fn name_of(group: &Group, other: &Group) -> String {
    let members = other.members();
    let is_it = |member: &&Member| member.incarnation == group.incarnation();
    members.iter().find(is_it).expect("a member").name.to_string()
}

/// Waits until what a member has submitted before is executed.
pub(crate) fn executed(member: &Participant) {
    member.words.submit(&String::from("executed")).wait().unwrap();
}

/// Waits until all that a member has sent so far is delivered: its node sends it in a thread of its
/// own, in the order of the calls.
pub(crate) fn sent(member: &Participant, cluster: &Cluster) {
    executed(member);
    cluster.settle().unwrap();
}

/// Polls a future until it has ended.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unparks(std::thread::Thread);
    impl std::task::Wake for Unparks {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unparks(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
