//! Prices are published, and a late subscriber gets the last one first.
//!
//! Nobody sleeps to let the others come up: the publisher waits until two members subscribe,
//! and a topic that retains its last value has one for the third, which comes late. Each
//! value comes once, and all subscribers get the same order.
//!
//! Without `--daemon` the program has a daemon of its own.

use clap::Parser;
use serde::{Deserialize, Serialize};
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Group, Item, Message, Node, Postcard, RetainedTopic};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A publisher and three subscribers.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group
    #[arg(long, default_value = "shop")]
    group: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Price {
    item: String,
    cents: u64,
}

impl Message for Price {
    const NAME: &'static str = "shop.Price";
    type Codec = Postcard;
}

fn main() -> Result {
    let args = Args::parse();
    let daemon = match args.daemon {
        Some(_) => None,
        None => Some(Daemon::builder().start()?),
    };
    let address = args.daemon.or(daemon.as_ref().map(Daemon::address)).unwrap_or_default();
    let join = || join(&address, &args.group);

    let (_shop, shop) = join()?;
    let (_ann, ann) = join()?;
    let (_bob, bob) = join()?;
    let early = [("ann", prices(&ann).subscribe()), ("bob", prices(&bob).subscribe())];
    prices(&shop).subscribers().at_least(2).wait()?;
    println!("shop: two subscribe");
    for cents in [320, 330, 340] {
        publish(&shop, cents)?;
    }

    let (_cid, cid) = join()?;
    let late = ("cid", prices(&cid).subscribe());
    prices(&shop).subscribers().at_least(3).wait()?;
    println!("shop: three subscribe");
    publish(&shop, 350)?;

    for (name, subscription) in early.into_iter().chain([late]) {
        // They would go on until their members leave.
        for item in subscription {
            match item {
                Item::Message(Price { item, cents }, meta) => {
                    println!("{name}: {item} costs {cents}, says {}", meta.from);
                    if cents == 350 {
                        break;
                    }
                }
                Item::Gap(dropped) => println!("{name}: missed {dropped:?}"),
                Item::Undecodable(error, _) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn join(address: &str, group: &str) -> Result<(Node, Group)> {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group(group)?.join()?;
    group.ready().wait()?;
    Ok((node, group))
}

fn prices(group: &Group) -> RetainedTopic<Price> {
    group.topic("prices").retain_last()
}

fn publish(group: &Group, cents: u64) -> Result {
    prices(group).publish(&Price { item: "tea".into(), cents }).wait()?;
    Ok(())
}
