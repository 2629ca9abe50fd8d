//! One member of three does jobs, and no job is in the ledger twice, whatever happens to that
//! member.
//!
//! The leader of a group with voters writes each job that it does into a ledger, with the fence of
//! its term. A new leader first shows its fence to the ledger, which from then on refuses the
//! former one, and then reads which job was the last. In this order nothing can come between: what
//! the former leader has done is in the ledger, and what it has not done it cannot do any more.
//!
//! A job here is its entry in the ledger. What a job does elsewhere can happen twice: that place has
//! to check the fence, too, or be idempotent.
//!
//! Here the daemon of the first leader crashes, and the host of the second one is parted from the
//! others. The program has three daemons of its own.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::{Error, Fence, Node, VotedGroup};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The members and their daemons.
const MEMBERS: [(&str, &str); 3] = [("ann", "d1"), ("bob", "d2"), ("cid", "d3")];
/// Jobs that are done before the next thing happens.
const JOBS: usize = 10;

/// Storage that checks fences. In earnest it is a table: one transaction compares and writes.
#[derive(Default)]
struct Ledger {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The greatest fence that was seen.
    seen: Option<Fence>,
    /// Whose it is.
    leader: &'static str,
    /// Who has done each job.
    done: Vec<&'static str>,
    /// How many jobs there are to do.
    ordered: usize,
    /// Whether there will be no more.
    is_closed: bool,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses smaller fences from now on; returns how many jobs are done. `None` if this fence is
    /// of the past.
    fn take_over(&self, fence: Fence, who: &'static str) -> Option<usize> {
        let mut state = self.lock();
        if state.seen > Some(fence) {
            return None;
        }
        (state.seen, state.leader) = (Some(fence), who);
        self.changed.notify_all();
        Some(state.done.len())
    }

    /// Does the job: appends it; returns whether the fence is not of the past.
    fn append(&self, fence: Fence, who: &'static str) -> bool {
        let mut state = self.lock();
        let is_new = state.seen <= Some(fence);
        if is_new {
            state.done.push(who);
            self.changed.notify_all();
        }
        is_new
    }

    /// Waits while something is so.
    fn wait_while(&self, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| is_so(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a job of this number; `false` if there will be none.
    fn wait_for_job(&self, number: usize) -> bool {
        !self.wait_while(|state| state.ordered <= number && !state.is_closed).is_closed
    }

    /// Orders more jobs, and waits until they are done; returns who leads.
    fn order(&self, jobs: usize) -> &'static str {
        self.lock().ordered += jobs;
        self.changed.notify_all();
        self.wait_while(|state| state.done.len() < state.ordered).leader
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}

/// Does jobs whenever this member leads, until it leaves the group.
fn work(name: &'static str, jobs: &VotedGroup, ledger: &Ledger) -> Result {
    loop {
        let term = match jobs.leadership().term().wait() {
            Ok(term) => term,
            Err(Error::Closed { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(mut number) = ledger.take_over(term.fence(), name) else {
            continue;
        };
        println!("{name} leads, {number} jobs are done");
        // It does not look whether its term is revoked: the ledger has the last word.
        while ledger.wait_for_job(number) {
            if !ledger.append(term.fence(), name) {
                println!("{name} is refused by the ledger");
                break;
            }
            number += 1;
        }
    }
}

fn main() -> Result {
    let cluster = Cluster::builder().daemons(MEMBERS.map(|(_, daemon)| daemon)).start()?;
    let ledger = Arc::new(Ledger::default());
    let (mut nodes, mut threads) = (Vec::new(), Vec::new());
    for (name, daemon) in MEMBERS {
        let node = Node::connect(Mailbox::builder(cluster.address(daemon)?))?;
        let voters = MEMBERS.map(|(name, _)| name);
        let jobs = node.group("jobs")?.voters(voters).votes_as(name).join()?;
        let ledger = ledger.clone();
        threads.push(thread::spawn(move || work(name, &jobs, &ledger)));
        nodes.push(node);
    }
    let daemon_of = |name| MEMBERS[usize::from(name != "ann") + usize::from(name == "cid")].1;

    let first = ledger.order(JOBS);
    println!("the daemon of {first} crashes");
    cluster.crash(daemon_of(first))?;
    drop(ledger.wait_while(|state| state.leader == first));
    let second = ledger.order(JOBS);
    println!("the host of {second} is parted from the others");
    cluster.restart(daemon_of(first))?;
    let others = MEMBERS.map(|(_, daemon)| daemon).into_iter();
    let others: Vec<&str> = others.filter(|daemon| *daemon != daemon_of(second)).collect();
    cluster.partition(&[&[daemon_of(second)], &others])?;
    drop(ledger.wait_while(|state| state.leader == second));
    let third = ledger.order(JOBS);
    cluster.merge()?;

    let done = ledger.lock().done.clone();
    println!("{} jobs were done, by {first}, {second} and {third}", done.len());
    assert_eq!(done, [[first; JOBS], [second; JOBS], [third; JOBS]].concat());
    ledger.close();
    nodes.into_iter().try_for_each(|node| node.shutdown(Duration::from_secs(5)))?;
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a member panicked")?)
}
