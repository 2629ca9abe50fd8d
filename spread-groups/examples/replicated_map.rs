//! A map that is the same at all members, through a late join, a partition and a merge.
//!
//! Ann fills the map before Bob joins, who gets it as a whole. Then the network parts: Ann and
//! Bob go on with one map, and Cid with his own. At the merge the larger side stands. Cid's
//! put is taken back and submitted again, behind the others: what it had set only if the key was
//! not there loses against Ann's value now. That is the price of going on without a majority.
//!
//! The program has a cluster of three daemons of its own, since it parts them.

use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::{Error, Group, Map, MapEvent, MapWatch, Node};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    let cluster = Cluster::builder().daemons(["d1", "d2", "d3"]).start()?;
    let (_ann, ann) = join(&cluster, "d1")?;
    for (key, value) in [("boiler/max", "80"), ("boiler/min", "20"), ("pump/max", "5")] {
        limits(&ann).put(key, &value.into()).send().wait()?;
    }

    let (_bob, bob) = join(&cluster, "d2")?;
    show("bob has joined and has", &bob)?;
    let (_cid, cid) = join(&cluster, "d3")?;
    let mut watch = limits(&cid).watch("boiler/");
    for _ in 0..2 {
        println!("cid sees {}", next(&mut watch)?);
    }

    // Of two that set a value from the same one, one succeeds.
    let revision = limits(&ann).get("boiler/max")?.ok_or("no value")?.revision;
    limits(&ann).put("boiler/max", &"85".into()).if_revision(revision).send().wait()?;
    match limits(&bob).put("boiler/max", &"90".into()).if_revision(revision).send().wait() {
        Err(Error::Conflict { .. }) => println!("bob is told that ann was first"),
        other => return Err(format!("{other:?}").into()),
    }
    println!("cid sees {}", next(&mut watch)?);

    cluster.partition(&[&["d1", "d2"], &["d3"]])?;
    wait_for(&ann, 2)?;
    wait_for(&cid, 1)?;
    println!("the network has parted");
    limits(&ann).put("boiler/test", &"ann's".into()).if_absent().send().wait()?;
    limits(&cid).put("boiler/test", &"cid's".into()).if_absent().send().wait()?;
    show("ann has", &ann)?;
    show("cid has", &cid)?;
    println!("cid sees {}", next(&mut watch)?);

    cluster.merge()?;
    println!("the network has merged");
    for _ in 0..4 {
        println!("cid sees {}", next(&mut watch)?);
    }
    show("cid has", &cid)
}

fn join(cluster: &Cluster, daemon: &str) -> Result<(Node, Group)> {
    let node = Node::connect(Mailbox::builder(cluster.address(daemon)?))?;
    let group = node.group("plant")?.join()?;
    group.ready().wait()?;
    Ok((node, group))
}

fn limits(group: &Group) -> Map<String> {
    group.map("limits")
}

/// Waits until the group has so many members, no more and no less.
fn wait_for(group: &Group, members: usize) -> Result {
    let events = group.events();
    while group.members().len() != members {
        events.recv()?;
    }
    Ok(())
}

fn next(watch: &mut MapWatch<String>) -> Result<String> {
    Ok(match watch.next().ok_or("the member has left")? {
        MapEvent::Put { key, value, .. } => format!("{key} = {}", value.value),
        MapEvent::Removed { key, why, .. } => format!("{key} gone: {why:?}"),
        MapEvent::Gap => String::from("a gap, after which all values come again"),
        other => return Err(format!("{other:?}").into()),
    })
}

fn show(what: &str, group: &Group) -> Result {
    let entries = limits(group).entries("")?;
    let entries: Vec<String> =
        entries.into_iter().map(|(key, value)| format!("{key} = {}", value.value)).collect();
    println!("{what}: {}", entries.join(", "));
    Ok(())
}
