//! A lock of a group with voters, and a valve that refuses whoever held the lock before.
//!
//! Ann holds the lock and stalls, as a process does that is stopped or swaps: it takes no note of
//! the world. Its host is parted from the others, which are a majority of the voters, so that bob
//! gets the lock. When ann goes on it still takes itself for the holder; no lock can prevent that.
//! The valve does: it keeps the greatest fence that it has seen, and ann's is smaller than bob's.
//!
//! The program has three daemons of its own.

use std::time::Duration;

use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::{Error, Event, Fence, FencedGuard, Node, VotedGroup};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the lock protects: storage, or a device that keeps a number.
#[derive(Default)]
struct Valve {
    /// The greatest fence that was seen.
    seen: Option<Fence>,
    percent: u32,
}

impl Valve {
    /// Compares the fence and changes the setting in one step.
    fn set(&mut self, who: &str, percent: u32, fence: Fence) -> bool {
        if self.seen > Some(fence) {
            println!("the valve refuses {who}, whose fence is of the past");
            return false;
        }
        (self.seen, self.percent) = (Some(fence), percent);
        println!("{who} sets the valve to {percent} %");
        true
    }
}

struct Member {
    node: Node,
    plant: VotedGroup,
}

impl Member {
    fn join(cluster: &Cluster, daemon: &str, name: &str) -> Result<Member> {
        let node = Node::connect(Mailbox::builder(cluster.address(daemon)?).private_name(name))?;
        let plant = node.group("plant")?.voters(["ann", "bob", "cid"]).votes_as(name).join()?;
        Ok(Member { node, plant })
    }

    /// Waits for the lock. If there is no majority for three seconds, as when daemons part, the
    /// request fails; it is made again when there is one.
    fn lock(&self) -> std::result::Result<FencedGuard, Error> {
        loop {
            let events = self.plant.events();
            match self.plant.mutex("valve").lock().wait() {
                Err(Error::NoQuorum { .. }) => {
                    events.iter().find(|event| matches!(event, Event::Primary(_)));
                }
                outcome => return outcome,
            }
        }
    }
}

fn main() -> Result {
    let cluster = Cluster::builder().daemons(["d1", "d2", "d3"]).start()?;
    let ann = Member::join(&cluster, "d1", "ann")?;
    let bob = Member::join(&cluster, "d2", "bob")?;
    let cid = Member::join(&cluster, "d3", "cid")?;
    let mut valve = Valve::default();

    let held = ann.lock()?;
    assert!(valve.set("ann", 40, held.fence()));

    println!("ann stalls, and its host is parted from the others");
    cluster.pause("#ann#d1")?;
    cluster.partition(&[&["d1"], &["d2", "d3"]])?;
    let next = bob.lock()?;
    assert!(valve.set("bob", 60, next.fence()));

    println!("ann goes on; has it lost the lock, as far as it knows? {}", held.is_lost());
    assert!(!valve.set("ann", 45, held.fence()));

    cluster.resume("#ann#d1")?;
    held.lost().wait()?;
    println!("ann is told that the lock is lost");
    cluster.merge()?;
    drop(next);
    let again = ann.lock()?;
    assert!(valve.set("ann", 50, again.fence()));
    for member in [ann, bob, cid] {
        member.node.shutdown(Duration::from_secs(5))?;
    }
    Ok(())
}
