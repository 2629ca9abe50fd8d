//! Votes, as controllers of a power grid have them: by majority, by all, and on an action that
//! all do at one time.
//!
//! Three controllers vote on setpoints; each has a limit of its own.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use clap::Parser;
use serde::{Deserialize, Serialize};
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{
    ActionResult, Ballot, Due, Group, Handling, Message, Node, Postcard, Rule, VoteResult,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Long enough for a vote.
const LONG: Duration = Duration::from_secs(30);

/// Controllers that vote on setpoints.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// How long after it is proposed the action is done, in milliseconds
    #[arg(long, default_value_t = 1000)]
    after: u64,
}

/// What a controller is to feed in.
#[derive(Debug, Serialize, Deserialize)]
struct Setpoint {
    kilowatts: u32,
}

impl Message for Setpoint {
    const NAME: &'static str = "example.Setpoint";
    type Codec = Postcard;
}

fn main() -> Result {
    let args = Args::parse();
    match &args.daemon {
        Some(address) => control(address, args.after),
        None => {
            let daemon = Daemon::builder().start()?;
            control(&daemon.address(), args.after)
        }
    }
}

/// A member of the group with its handlers.
struct Controller {
    node: Node,
    group: Group,
    _handlers: [Handling; 2],
}

impl Controller {
    fn join(address: &str, name: &'static str, limit: u32, done: Sender<()>) -> Result<Controller> {
        let node = Node::connect(Mailbox::builder(address))?;
        let group = node.group("grid")?.metadata(name).join()?;
        let vote = move |setpoint: Setpoint, _: &_| {
            let ballot = if setpoint.kilowatts <= limit { Ballot::Yes } else { Ballot::No };
            println!("{name}: {ballot:?} to {} kW", setpoint.kilowatts);
            ballot
        };
        let act = move |setpoint: Setpoint, due| {
            match due {
                Due::Now { late } => println!("{name}: {} kW, {late:?} late", setpoint.kilowatts),
                Due::Missed => println!("{name}: it was too late for {} kW", setpoint.kilowatts),
                other => println!("{name}: {other:?}"),
            }
            // The program may have ended.
            done.send(()).ok();
        };
        let handlers = [group.on_vote(vote)?, group.on_action(act)?];
        group.ready().wait()?;
        Ok(Controller { node, group, _handlers: handlers })
    }
}

fn control(address: &str, after: u64) -> Result {
    let (done, acted) = channel();
    let mut controllers = Vec::new();
    for (name, limit) in [("ann", 50), ("bob", 80), ("cid", 100)] {
        controllers.push(Controller::join(address, name, limit, done.clone())?);
    }
    let ann = &controllers[0].group;
    ann.wait_for_members(3, LONG)?;

    let vote =
        |kilowatts, rule| ann.vote(&Setpoint { kilowatts }).rule(rule).within(LONG).send().wait();
    println!("80 kW by majority: {:?}", vote(80, Rule::Majority)?.result);
    println!("80 kW by all: {:?}", vote(80, Rule::Unanimous)?.result);
    assert_eq!(vote(50, Rule::Unanimous)?.result, VoteResult::Yes);

    let now = SystemTime::now();
    let action = |time| ann.action(&Setpoint { kilowatts: 40 }, time).within(LONG).send().wait();
    let result = action(now + Duration::from_millis(after))?;
    println!("40 kW in {after} ms: {result:?}");
    controllers.iter().try_for_each(|_| acted.recv_timeout(LONG))?;
    assert_eq!(action(now)?, ActionResult::Missed);
    controllers.iter().try_for_each(|_| acted.recv_timeout(LONG))?;
    for controller in controllers {
        controller.node.shutdown(LONG)?;
    }
    Ok(())
}
