//! A sender multicasts and counts the acknowledgements of all members.
//!
//! Whose acknowledgements? Of those who get the message: the members of the view
//! in which it is delivered. The sender is a member itself, so its own copy of
//! the message shows the place in the order, and the view that it has then is
//! the one. A member that goes without an acknowledgement is not waited for: the
//! next view tells.
//!
//! A `Safe` message tells a receiver that all daemons have it; an acknowledgement
//! tells the sender that all applications have done something about it.
//!
//! Without `--daemon` the sender and its members run in one program, and one of
//! the members crashes when the second message comes.

use std::collections::BTreeSet;
use std::{fmt, thread};

use clap::Parser;
use spread::{Mailbox, Message, Name, SendOptions, Service, View, Views};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A sender that counts acknowledgements, and members that give them.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own, for
    /// the sender and the members
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group
    #[arg(long, default_value = "ack")]
    group: String,
    /// Be a member that acknowledges, and not the sender
    #[arg(long, requires = "daemon")]
    member: bool,
    /// Members that the sender waits for at first, besides itself
    #[arg(long, default_value_t = 3)]
    members: usize,
    /// Messages to send
    #[arg(long, default_value_t = 3)]
    messages: i16,
}

fn main() -> Result {
    let args = Args::parse();
    match &args.daemon {
        Some(address) if args.member => acknowledge(joined(address, &args.group)?, i16::MAX),
        Some(address) => send(joined(address, &args.group)?, &args),
        None => everybody(&args),
    }
}

fn everybody(args: &Args) -> Result {
    let daemon = Daemon::builder().start()?;
    let join = || joined(&daemon.address(), &args.group);
    thread::scope(|scope| {
        let sender = join()?;
        for index in 0..args.members {
            let last = if index == 0 { 1 } else { i16::MAX };
            let member = join()?;
            scope.spawn(move || acknowledge(member, last));
        }
        send(sender, args)
    })
}

fn joined(address: &str, group: &str) -> Result<Mailbox> {
    let mailbox = Mailbox::connect(address)?;
    mailbox.join(group)?;
    Ok(mailbox)
}

/// Answers messages up to the last one, and crashes at the next, or ends with the
/// sender.
fn acknowledge(mut mailbox: Mailbox, last: i16) -> Result {
    let me = mailbox.private_group();
    let mut sender = None;
    loop {
        match mailbox.receive()? {
            Message::Regular(message) if message.message_type() > last => {
                println!("{me} crashes");
                mailbox.kill();
                return Ok(());
            }
            Message::Regular(message) => {
                println!("{me} acknowledges message {}", message.message_type());
                sender = Some(message.sender());
                // Agreed, so that it comes after the sender's own copy.
                let answer = SendOptions::new(Service::Agreed).message_type(message.message_type());
                mailbox.multicast(answer, message.sender(), "")?;
            }
            Message::Membership(view) if sender.is_some_and(|s| !view.members.contains(&s)) => {
                println!("{me} ends with its sender");
                return Ok(());
            }
            _ => {}
        }
    }
}

fn send(mut mailbox: Mailbox, args: &Args) -> Result {
    let mut views = Views::new();
    while views.of(&args.group).is_none_or(|view| view.members.len() <= args.members) {
        views.follow(&mailbox.receive()?);
    }
    for number in 1..=args.messages {
        let options = SendOptions::new(Service::Agreed).message_type(number);
        mailbox.multicast(options, &args.group, format!("message {number}"))?;
        let count = count(number, &mut mailbox, &mut views, &args.group)?;
        println!("sender: message {number} is acknowledged by {count}");
    }
    Ok(mailbox.disconnect()?)
}

/// Receives until nobody is awaited who could acknowledge this message.
fn count(number: i16, mailbox: &mut Mailbox, views: &mut Views, group: &str) -> Result<Count> {
    let me = Name::from(mailbox.private_group());
    let mut count = None;
    loop {
        let message = mailbox.receive()?;
        views.follow(&message);
        match (message, &mut count) {
            (Message::Regular(copy), None) if copy.sender() == me => {
                let view = views.of(group).ok_or("not a member of the group")?;
                count = Some(Count::new(view));
            }
            (Message::Regular(answer), Some(count)) if answer.message_type() == number => {
                count.acknowledged(answer.sender());
            }
            (Message::Membership(view), Some(count)) => count.keep(&view),
            _ => {}
        }
        if let Some(count) = count.take_if(|count| count.awaited.is_empty()) {
            return Ok(count);
        }
    }
}

/// The acknowledgements of one message.
struct Count {
    awaited: BTreeSet<Name>,
    acknowledged: usize,
    gone: Vec<Name>,
}

impl Count {
    /// Of all other members of the view in which the message is delivered.
    fn new(view: &View) -> Count {
        let others = view.members.iter().copied().filter(|member| *member != view.me());
        Count { awaited: others.collect(), acknowledged: 0, gone: Vec::new() }
    }

    fn acknowledged(&mut self, member: Name) {
        self.acknowledged += usize::from(self.awaited.remove(&member));
    }

    fn keep(&mut self, view: &View) {
        self.gone.extend(self.awaited.iter().filter(|member| !view.members.contains(member)));
        self.awaited.retain(|member| view.members.contains(member));
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.acknowledged, self.acknowledged + self.gone.len())?;
        self.gone.iter().try_for_each(|member| write!(f, ", {member} is gone"))
    }
}
