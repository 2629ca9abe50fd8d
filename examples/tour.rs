//! The main job from end to end: three members come, talk and go, and each
//! step is told as the members see it.
//!
//! Without arguments it starts a daemon of its own; with `--daemon 4803@host`
//! it uses one that runs.

use std::time::Duration;

use clap::Parser;
use spread::{Mailbox, Message, SendOptions, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A tour of Spread: groups, services, views.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
}

fn main() -> Result {
    let args = Args::parse();
    let mut embedded = None;
    let address = match args.daemon {
        Some(address) => address,
        None => embedded.insert(Daemon::builder().start()?).address(),
    };
    tour(&address).inspect_err(|_| eprintln!("The tour ends early:"))
}

fn tour(address: &str) -> Result {
    heading("Three clients connect");
    println!("   the daemon is at {address}");
    let mut alice = Member::connect(address, "alice")?;
    let mut bob = Member::connect(address, "bob")?;
    let mut carol = Member::connect(address, "carol")?;

    heading("They join the group 'chat'; every member sees every join");
    alice.mailbox.join("chat")?;
    alice.hears(1)?;
    bob.mailbox.join("chat")?;
    alice.hears(1)?;
    bob.hears(1)?;
    carol.mailbox.join("chat")?;
    for member in [&mut alice, &mut bob, &mut carol] {
        member.hears(1)?;
    }

    heading("Alice multicasts with each of the six services; all get all, in one order");
    for service in Service::ALL {
        alice.mailbox.multicast(service, "chat", format!("with {service:?} service"))?;
    }
    for member in [&mut alice, &mut bob, &mut carol] {
        member.hears(Service::ALL.len())?;
    }

    heading("Bob is in 'news', too; a message to 'chat' and 'news' comes to him once");
    bob.mailbox.join("news")?;
    bob.hears(1)?;
    carol.mailbox.multicast(Service::Agreed, ["chat", "news"], "to both groups")?;
    for member in [&mut alice, &mut bob, &mut carol] {
        member.hears(1)?;
    }

    heading("Carol is not in 'news', and can send to it all the same");
    carol.mailbox.multicast(Service::Agreed, "news", "from outside")?;
    bob.hears(1)?;

    heading("Bob answers Carol alone, at her private group");
    let options = SendOptions::new(Service::Fifo).message_type(7);
    bob.mailbox.multicast(options, carol.mailbox.private_group(), "just you, with type 7")?;
    carol.hears(1)?;

    heading("Alice sends and wants no copy: the others get it");
    let options = SendOptions::new(Service::Agreed).self_discard(true);
    alice.mailbox.multicast(options, "chat", "not to myself")?;
    bob.hears(1)?;
    carol.hears(1)?;
    alice.hears_nothing()?;

    heading("Alice leaves the group");
    alice.mailbox.leave("chat")?;
    for member in [&mut alice, &mut bob, &mut carol] {
        member.hears(1)?;
    }

    heading("Carol disconnects");
    carol.mailbox.disconnect()?;
    bob.hears(1)?;

    heading("Alice comes back, and then her connection breaks without a word");
    alice.mailbox.join("chat")?;
    alice.hears(1)?;
    bob.hears(1)?;
    alice.mailbox.kill();
    bob.hears(1)?;

    heading("Bob is the last one, and goes");
    bob.mailbox.disconnect()?;
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// A client that tells what it receives.
struct Member {
    name: String,
    mailbox: Mailbox,
}

impl Member {
    fn connect(address: &str, name: &str) -> Result<Member> {
        let mailbox = Mailbox::builder(address).private_name(name).connect()?;
        println!("   {name} is {}", mailbox.private_group());
        Ok(Member { name: name.to_owned(), mailbox })
    }

    /// Receives and prints so many messages.
    fn hears(&mut self, count: usize) -> Result {
        for _ in 0..count {
            let message = self.mailbox.receive_timeout(Duration::from_secs(10))?;
            let message = message.ok_or_else(|| format!("{} hears nothing", self.name))?;
            println!("   {:<5} hears: {}", self.name, told(&message));
        }
        Ok(())
    }

    /// Shows that nothing is there, by what comes after it in the order.
    fn hears_nothing(&mut self) -> Result {
        self.mailbox.multicast(
            Service::Agreed,
            self.mailbox.private_group(),
            "a note to myself",
        )?;
        self.hears(1)
    }
}

fn told(message: &Message) -> String {
    match message {
        Message::Regular(m) => {
            let groups: Vec<String> = m.groups().iter().map(|group| group.to_string()).collect();
            let text = String::from_utf8_lossy(m.payload());
            let number = match m.message_type() {
                0 => String::new(),
                number => format!(", type {number}"),
            };
            let (sender, service) = (m.sender(), m.service());
            format!("\"{text}\" from {sender} to {} ({service:?}{number})", groups.join(", "))
        }
        Message::Membership(view) => view.to_string(),
        Message::Transitional(signal) => signal.to_string(),
        Message::SelfLeave(leave) => leave.to_string(),
        other => format!("{other:?}"),
    }
}
