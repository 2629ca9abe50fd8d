//! Messages of several types come to handlers by their type, and to workers by their key.
//!
//! Orders of one customer are handled in their order, those of different customers at the
//! same time. A handler that panics ends nothing; a type that nobody handles is told; a timer
//! goes on meanwhile. The last message stops the reactor.
//!
//! Without `--daemon` the program has a daemon of its own.

use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::reactor::Failure;
use spread_groups::{Group, Message, Node, Postcard, Reactor};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const LONG: Duration = Duration::from_secs(30);
/// What is posted before the shop closes.
const MESSAGES: usize = 11;

/// A reactor with workers, and a member that posts to it.
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
struct Order {
    customer: String,
    number: u32,
}

impl Message for Order {
    const NAME: &'static str = "shop.Order";
    type Codec = Postcard;
}

#[derive(Debug, Serialize, Deserialize)]
struct Closes;

impl Message for Closes {
    const NAME: &'static str = "shop.Closes";
    type Codec = Postcard;
}

fn main() -> Result {
    let args = Args::parse();
    let daemon = match args.daemon {
        Some(_) => None,
        None => Some(Daemon::builder().start()?),
    };
    let address = args.daemon.or(daemon.as_ref().map(Daemon::address)).unwrap_or_default();
    let join = || {
        let node = Node::connect(Mailbox::builder(&address))?;
        let group = node.group(&args.group)?.join()?;
        group.ready().wait()?;
        Ok::<_, Box<dyn std::error::Error>>((node, group))
    };
    let (_shop, shop) = join()?;
    let (_street, street) = join()?;
    shop.wait_for_members(2, LONG)?;

    let (done, all_done) = mpsc::channel();
    let (unknown, failed) = (done.clone(), done.clone());
    let mut ticks = 0u64;
    let reactor = Reactor::new(&shop)
        .on(move |Order { customer, number }, _| {
            assert_ne!(number, 0, "nobody orders nothing");
            println!("{customer} orders {number}");
            done.send(()).expect("somebody waits");
        })
        .on(|Closes, cx| cx.stop())
        .otherwise(move |message, _| {
            println!("a type that nobody handles: {}", message.name());
            unknown.send(()).expect("somebody waits");
        })
        .membership(|change| println!("{} members", change.members.len()))
        .failures(move |failure| match failure {
            Failure::Panicked(what) => {
                println!("a handler of {what} has panicked");
                failed.send(()).expect("somebody waits");
            }
            other => println!("{other:?}"),
        })
        .every(Duration::from_millis(1), move |_| {
            ticks += 1;
            if ticks.is_power_of_two() {
                eprintln!("{ticks} ticks");
            }
        })
        // One key for all that is no order, so that they keep their order, too.
        .keyed_workers(4, |message, _| message.decode::<Order>().map(|order| order.customer).ok())
        .start()?;

    post(&street)?;
    // A stop drops what waits, and keys have no order between them.
    for _ in 0..MESSAGES {
        all_done.recv_timeout(LONG)?;
    }
    street.post(&Closes)?;
    let stats = reactor.join()?;
    println!("the reactor has handled {} messages", stats.handled);
    assert_eq!((stats.panicked, stats.unknown), (1, 1));
    Ok(())
}

fn post(street: &Group) -> Result {
    street.post(&Order { customer: String::from("dan"), number: 0 })?;
    street.post(&vec![1, 2, 3])?;
    for number in 1..=3 {
        for customer in ["ann", "bob", "cid"] {
            street.post(&Order { customer: customer.to_owned(), number })?;
        }
    }
    Ok(())
}
