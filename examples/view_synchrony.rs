//! What view synchrony gives over plain Spread: a message means what its sender meant.
//!
//! Alice divides a job among the members that she sees: her message gives each receiver its number
//! of pages. In plain Spread, Bob may join between the send and the delivery of that message. Then
//! he receives it, too, although she did not count him, and pages are done twice. Flush Spread
//! delivers a message in the view in which it was sent, to the members that Alice counted: before
//! a view changes she is asked to flush, and what she sends before she does belongs to the old view.
//!
//! Without `--daemon` it runs at a daemon of its own.

use std::thread;

use clap::Parser;
use spread::flush::{self, Event};
use spread::{Mailbox, Message, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Pages of the job.
const PAGES: usize = 120;

/// A job that is divided among the members of a view, over plain Spread and over Flush Spread.
#[derive(Parser)]
struct Args {
    /// The daemon, as PORT@HOST or PORT; without it, one of the program's own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// What the names of the groups begin with
    #[arg(long, default_value = "job")]
    group: String,
}

fn main() -> Result {
    let args = Args::parse();
    let (address, _daemon) = match args.daemon {
        Some(address) => (address, None),
        None => {
            let daemon = Daemon::builder().start()?;
            (daemon.address(), Some(daemon))
        }
    };
    let done = plain(&address, &format!("{}-plain", args.group))?;
    println!("plain Spread: {done} pages of {PAGES} are done");
    let done = with_flush(&address, &format!("{}-flush", args.group))?;
    println!("Flush Spread: {done} pages of {PAGES} are done");
    Ok(())
}

/// The pages that each of so many members does.
fn share(members: usize) -> String {
    (PAGES / members).to_string()
}

fn pages(payload: &[u8]) -> Result<usize> {
    Ok(std::str::from_utf8(payload)?.parse()?)
}

fn plain(address: &str, group: &str) -> Result<usize> {
    let mut alice = Mailbox::connect(address)?;
    alice.join(group)?;
    let Message::Membership(view) = alice.receive()? else { return Err("not a view".into()) };
    let mut bob = Mailbox::connect(address)?;
    bob.join(group)?;
    let Message::Membership(_) = bob.receive()? else { return Err("not a view".into()) };
    // As far as Alice knows, she is alone.
    alice.multicast(Service::Agreed, group, share(view.members.len()))?;
    let mut done = 0;
    for member in [&mut alice, &mut bob] {
        loop {
            match member.receive()? {
                Message::Regular(message) => {
                    done += pages(message.payload())?;
                    break;
                }
                Message::Membership(view) => println!("plain Spread: {view}"),
                other => return Err(format!("unexpected: {other:?}").into()),
            }
        }
    }
    Ok(done)
}

fn with_flush(address: &str, group: &str) -> Result<usize> {
    let mut alice = flush::Mailbox::connect(Mailbox::builder(address))?;
    alice.join(group)?;
    let Event::View(view) = alice.receive()? else { return Err("not a view".into()) };
    let bob = flush::Mailbox::connect(Mailbox::builder(address))?;
    // Bob receives in a thread: a view needs all of its members.
    let name = group.to_owned();
    let bob = thread::spawn(move || member_until_the_end(bob, &name));
    // Bob has joined, and Alice is told that the view will change; it has not yet.
    let Event::FlushRequest(request) = alice.receive()? else { return Err("not asked".into()) };
    alice.multicast(Service::Agreed, group, share(view.members.len()))?;
    alice.flush(request)?;
    let mut done = 0;
    loop {
        match alice.receive()? {
            Event::Message { message, .. } if message.payload() == b"end" => break,
            Event::Message { message, .. } => done += pages(message.payload())?,
            Event::View(view) => {
                println!("Flush Spread: {view}");
                alice.multicast(Service::Agreed, group, "end")?;
            }
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Ok(done + bob.join().map_err(|_| "Bob has failed")??)
}

/// Joins, and returns how many pages it is given until the end.
fn member_until_the_end(mut mailbox: flush::Mailbox, group: &str) -> Result<usize> {
    mailbox.join(group)?;
    let mut done = 0;
    loop {
        match mailbox.receive()? {
            Event::Message { message, .. } if message.payload() == b"end" => return Ok(done),
            Event::Message { message, .. } => done += pages(message.payload())?,
            Event::FlushRequest(request) => mailbox.flush(request)?,
            _ => {}
        }
    }
}
