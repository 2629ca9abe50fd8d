//! Groups are bridged: in a ring, and to another daemon.
//!
//! What is published in one of three groups comes in all of them. The bridges are a ring, so
//! that one of them may fail; a message that comes by both ways is delivered once. A further
//! bridge leads to a daemon that knows nothing of the first one.
//!
//! Without `--daemon` the program has a daemon of its own; the other one it always has.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Parser;
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Bridge, Group, Item, Meta, Node, Subscription};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const LONG: Duration = Duration::from_secs(30);
const TOPIC: &str = "temperature";

/// Three groups in a ring of bridges, and one far away.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
}

fn join(node: &Node, name: &str) -> Result<Group> {
    let group = node.group(name)?.join()?;
    group.ready().wait()?;
    Ok(group)
}

fn next(heard: &mut Subscription<String>) -> Result<(String, Meta)> {
    match heard.next_timeout(LONG) {
        Some(Item::Message(text, meta)) => Ok((text, meta)),
        other => Err(format!("{other:?} instead of a message").into()),
    }
}

fn main() -> Result {
    let args = Args::parse();
    let daemon = match args.daemon {
        Some(_) => None,
        None => Some(Daemon::builder().start()?),
    };
    let address = args.daemon.or(daemon.as_ref().map(Daemon::address)).unwrap_or_default();
    let node = Node::connect(Mailbox::builder(&address))?;
    let names = ["plant", "office", "store"];
    let groups = [join(&node, names[0])?, join(&node, names[1])?, join(&node, names[2])?];
    let mut heard = groups.each_ref().map(|group| group.topic(TOPIC).subscribe());

    // Each bridge would have a program of its own; here all share a node.
    let lay = |one: usize, other: usize| {
        Bridge::between(&groups[one], &groups[other]).max_hops(4).start()
    };
    let ring = [lay(0, 1)?, lay(1, 2)?, lay(2, 0)?];

    groups[0].topic(TOPIC).publish(&String::from("20 degrees"))?;
    next(&mut heard[0])?;
    for (heard, name) in heard.iter_mut().zip(names).skip(1) {
        let (text, meta) = next(heard)?;
        println!("{name} hears: {text}, published by {}", meta.from);
    }

    for number in 0..10 {
        for (group, name) in groups.iter().zip(names) {
            group.topic(TOPIC).publish(&format!("{name} {number}"))?;
        }
    }
    for heard in &mut heard {
        let texts: BTreeSet<String> = (0..30).map(|_| Ok(next(heard)?.0)).collect::<Result<_>>()?;
        assert_eq!(texts.len(), 30);
    }
    println!("each of 3 groups has heard each of 30 messages once");
    for (bridge, ends) in
        ring.iter().zip(["plant and office", "office and store", "store and plant"])
    {
        println!("so far between {ends}: {:?}", bridge.stats());
    }

    let other = Daemon::builder().start()?;
    let far = Node::connect(Mailbox::builder(other.address()))?;
    let far = join(&far, "plant")?;
    let mut heard = far.topic(TOPIC).subscribe();
    let _bridge = Bridge::between(&groups[2], &far).start()?;
    groups[0].topic(TOPIC).publish(&String::from("20 degrees"))?;
    println!("another daemon hears: {}", next(&mut heard)?.0);
    Ok(())
}
