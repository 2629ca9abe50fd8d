//! Measures how fast messages go round, with the options of Spread's own
//! spflooder: a client sends to the group `flooder` and receives what it sent,
//! never more than 200 messages ahead.
//!
//! `flooder -s 4803 -m 100000 -b 100` floods; `-ro` only receives what others
//! send, `-wo` only sends. With `-n 3` each of three flooders waits until all of
//! them are there, and for the slowest one.

use std::collections::HashMap;
use std::time::Instant;

use clap::Parser;
use spread::{Error, Mailbox, Message, Name, RegularMessage, SendOptions, Service};

/// Where it all goes, as with spflooder.
const GROUP: &str = "flooder";

/// Messages under way at the most.
const WINDOW: usize = 200;

/// Floods a Spread daemon and tells how fast it goes.
#[derive(Parser)]
struct Args {
    /// The client's private name, 1 to 10 bytes
    #[arg(short, value_name = "NAME", default_value = "flooder")]
    user: String,
    /// Messages to send, or with --ro to receive
    #[arg(short, value_name = "COUNT", default_value_t = 10_000)]
    messages: usize,
    /// Members of the group to wait for before the flood
    #[arg(short = 'n', value_name = "MEMBERS", default_value_t = 0)]
    members: usize,
    /// Bytes a message
    #[arg(short, value_name = "BYTES", default_value_t = 1000)]
    bytes: usize,
    /// The daemon, as PORT or PORT@HOST
    #[arg(short, value_name = "ADDRESS", default_value = "4803")]
    spread: String,
    /// Only receive, also written -ro
    #[arg(long, conflicts_with = "wo")]
    ro: bool,
    /// Only send, also written -wo
    #[arg(long)]
    wo: bool,
}

fn main() {
    // spflooder writes these two with one dash.
    let args = std::env::args().map(|arg| match arg.as_str() {
        "-ro" | "-wo" => format!("-{arg}"),
        _ => arg,
    });
    if let Err(error) = flood(&Args::parse_from(args)) {
        eprintln!("flooder: {error}");
        std::process::exit(1);
    }
}

fn flood(args: &Args) -> Result<(), Error> {
    println!("flooder: connecting to {}", args.spread);
    let mut mailbox = Mailbox::builder(&args.spread)
        .private_name(&args.user)
        .membership(args.members > 0)
        .connect()?;
    if !args.wo {
        mailbox.join(GROUP)?;
    }
    if args.members > 0 {
        wait_for_members(&mut mailbox, args.members)?;
    }
    let what = if args.ro { "receiving" } else { "multicast of" };
    println!("flooder: starting {what} {} messages, {} bytes each", args.messages, args.bytes);

    let begin = Instant::now();
    if args.ro {
        for count in 1..=args.messages {
            next_regular(&mut mailbox)?;
            progress(count);
        }
    } else {
        send(args, &mut mailbox)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    mailbox.disconnect()?;

    let rate = args.messages as f64 / seconds;
    let megabytes = rate * args.bytes as f64 / 1e6;
    println!(
        "flooder: completed {} messages, {} bytes each, in {seconds:.3} s: \
         {rate:.0} messages/s, {megabytes:.1} MB/s",
        args.messages, args.bytes
    );
    Ok(())
}

fn send(args: &Args, mailbox: &mut Mailbox) -> Result<(), Error> {
    let payload = vec![0; args.bytes];
    // As spflooder does: without others to wait for, the order does not matter.
    let service = if args.members > 0 { Service::Fifo } else { Service::Reliable };
    let options = SendOptions::new(service).self_discard(args.wo);
    let mut received = Received::new(mailbox.private_group().into(), args.members);
    for count in 1..=args.messages {
        mailbox.multicast(options, GROUP, &payload)?;
        while !args.wo && received.of_slowest() + WINDOW < count {
            received.count(next_regular(mailbox)?.sender());
        }
        progress(count);
    }
    // What is still under way belongs to the flood, too.
    while !args.wo && received.of_slowest() < args.messages {
        received.count(next_regular(mailbox)?.sender());
    }
    Ok(())
}

/// How many messages have come from whom.
struct Received {
    me: Name,
    mine: usize,
    members: usize,
    others: HashMap<Name, usize>,
}

impl Received {
    fn new(me: Name, members: usize) -> Received {
        Received { me, mine: 0, members, others: HashMap::new() }
    }

    fn count(&mut self, sender: Name) {
        if sender == self.me {
            self.mine += 1;
        } else if self.members > 0 {
            *self.others.entry(sender).or_default() += 1;
        }
    }

    /// Messages of the one who has sent least. Members that only receive do not
    /// hold up those who send.
    fn of_slowest(&self) -> usize {
        self.others.values().copied().fold(self.mine, usize::min)
    }
}

fn wait_for_members(mailbox: &mut Mailbox, members: usize) -> Result<(), Error> {
    loop {
        if let Message::Membership(view) = mailbox.receive()? {
            println!("flooder: {view}");
            if view.members.len() >= members {
                return Ok(());
            }
        }
    }
}

fn next_regular(mailbox: &mut Mailbox) -> Result<RegularMessage, Error> {
    loop {
        if let Message::Regular(message) = mailbox.receive()? {
            return Ok(message);
        }
    }
}

fn progress(count: usize) {
    if count.is_multiple_of(10_000) {
        println!("flooder: {count} messages");
    }
}
