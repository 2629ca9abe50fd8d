//! Services are found by name, and are gone the moment their programs are.
//!
//! Two members announce an instance of `calc` each; a third one watches the name, pings the
//! instances and calls one of them. Then one instance is withdrawn, and the other one is gone
//! with its member: nobody has to find out by a timeout.
//!
//! Without `--daemon` the program has a daemon of its own.

use std::time::Duration;

use clap::Parser;
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::registry::Found;
use spread_groups::{Announced, Group, Instance, Node, Service, Serving, To};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const LONG: Duration = Duration::from_secs(30);

/// A registry with two instances of a service.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group
    #[arg(long, default_value = "plant")]
    group: String,
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

    let (_node, group) = join()?;
    let registry = group.registry();
    let mut watching = registry.watch("calc");
    let mut next = || {
        let found = watching.next_timeout(LONG).ok_or("no change comes")?;
        match &found {
            Found::Added(instance) => println!("{} is there", title(instance)),
            Found::Removed(instance) => println!("{} is gone", title(instance)),
            other => println!("{other:?}"),
        }
        Ok::<_, &str>(())
    };

    let (first, plant) = join()?;
    let one = serve(&plant, "1.2.0", "a")?;
    next()?;
    let (second, plant) = join()?;
    let (_serving, other) = serve(&plant, "1.3.0", "b")?;
    next()?;

    let instances = registry.find("calc");
    for instance in &instances {
        let round_trip = registry.ping(instance, LONG).wait()?;
        eprintln!("{} answers after {round_trip:?}", title(instance));
    }
    println!("{} instances answer pings", instances.len());

    // By what it says of itself, not by a place in a list.
    let newest = instances.iter().max_by_key(|instance| instance.service.version().to_owned());
    compute(&group, newest.ok_or("there is none")?)?;
    drop(other);
    next()?;
    compute(&group, &registry.find("calc")[0])?;
    // Without a goodbye to the registry; its instance goes with it.
    drop(first);
    next()?;
    assert!(registry.find("calc").is_empty());
    println!("nobody is there any more");
    drop((one, second));
    Ok(())
}

fn title(instance: &Instance) -> String {
    let service = &instance.service;
    let zone = service.get("zone").unwrap_or("nowhere");
    format!("{} {} in zone {zone}", service.name(), service.version())
}

/// Serves, and announces it.
fn serve(group: &Group, version: &str, zone: &str) -> Result<(Serving, Announced)> {
    let multiply = |factors: String| {
        let factors: Vec<i64> = factors.split('*').flat_map(|text| text.trim().parse()).collect();
        Ok(factors.iter().product::<i64>().to_string())
    };
    let (serving, begun) = group.serve("calc", multiply)?;
    begun.wait()?;
    let service = Service::new("calc", version).meta("zone", zone);
    let (announced, done) = group.registry().announce(service)?;
    done.wait()?;
    Ok((serving, announced))
}

fn compute(group: &Group, instance: &Instance) -> Result {
    let call = group.call::<String, String>("calc", &String::from("6 * 7"));
    let result = call.to(To::Member(instance.member)).within(LONG).send().wait()?;
    println!("{} computes 6 * 7 = {result}", title(instance));
    Ok(())
}
