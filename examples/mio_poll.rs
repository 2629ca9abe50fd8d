//! Two mailboxes and standard input in one thread and one loop, with mio.
//!
//! The lines of the input are multicast by the two members in turn, and each
//! prints what it hears: both the same, in the same order. At the end of the
//! input each sends a farewell, and the program ends when both have heard both:
//! all that was sent before has come by then.
//!
//! A mailbox is an event source like a socket. mio tells of what is new, not of
//! what is there, so after an event one receives until there is nothing more.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use clap::Parser;
use mio::{Events, Interest, Poll, Token, Waker};
use spread::{Mailbox, Message, SendOptions, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The mailboxes have the tokens 0 and 1.
const INPUT: Token = Token(2);

/// The message type of a farewell; that of a line is 0.
const FAREWELL: i16 = 1;

/// Two members of a group and standard input in one loop of mio.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group to talk in
    #[arg(long, default_value = "mio_poll")]
    group: String,
    /// The private names of the two members
    #[arg(long, num_args = 2, value_names = ["NAME", "NAME"], default_values = ["left", "right"])]
    names: Vec<String>,
}

fn main() -> Result {
    let args = Args::parse();
    let mut embedded = None;
    let address = match &args.daemon {
        Some(address) => address.clone(),
        None => embedded.insert(Daemon::builder().start()?).address(),
    };

    let mut poll = Poll::new()?;
    let mut members = Vec::new();
    for (index, name) in args.names.iter().enumerate() {
        let mailbox = Mailbox::builder(&address).private_name(name).connect()?;
        let mut member = Member { name, mailbox, farewells: 0 };
        member.mailbox.join(&args.group)?;
        // The first message tells of the join, after which nothing is missed.
        let joined = member.mailbox.receive()?;
        member.heed(&joined);
        poll.registry().register(&mut member.mailbox, Token(index), Interest::READABLE)?;
        members.push(member);
    }
    // Kept to the end, because a waker that is dropped takes its event with it.
    let waker = Arc::new(Waker::new(poll.registry(), INPUT)?);
    let input = lines_of_input(Arc::clone(&waker));

    let mut events = Events::with_capacity(8);
    let mut turn = 0;
    while members.iter().any(|member| member.farewells < members.len()) {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                INPUT => match input.recv() {
                    Ok(line) => {
                        let speaker = &members[turn % members.len()];
                        speaker.mailbox.multicast(Service::Agreed, &args.group, line)?;
                        turn += 1;
                    }
                    Err(_) => {
                        let farewell = SendOptions::new(Service::Agreed).message_type(FAREWELL);
                        for member in &members {
                            member.mailbox.multicast(farewell, &args.group, "bye")?;
                        }
                    }
                },
                Token(index) => members[index].hear()?,
            }
        }
    }
    members.into_iter().try_for_each(|member| Ok(member.mailbox.disconnect()?))
}

struct Member<'a> {
    name: &'a str,
    mailbox: Mailbox,
    farewells: usize,
}

impl Member<'_> {
    /// Receives all that is there, and does not wait for more.
    fn hear(&mut self) -> Result {
        while let Some(message) = self.mailbox.try_receive()? {
            self.heed(&message);
        }
        Ok(())
    }

    fn heed(&mut self, message: &Message) {
        match message {
            Message::Regular(message) => {
                let text = String::from_utf8_lossy(message.payload());
                println!("{} hears {text:?} from {}", self.name, message.sender());
                self.farewells += usize::from(message.message_type() == FAREWELL);
            }
            Message::Membership(view) => println!("{} sees {view}", self.name),
            other => println!("{} sees {other:?}", self.name),
        }
    }
}

/// The lines of standard input, with one event for each and one for their end.
///
/// A thread reads them, since the input may be a file, and epoll(7) takes none.
/// It waits until a line has been taken, so that no two events become one.
fn lines_of_input(waker: Arc<Waker>) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(0);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(io::Result::ok) {
            if waker.wake().is_err() || sender.send(line).is_err() {
                return;
            }
        }
        drop(sender);
        // It fails only without the loop that it is to wake.
        let _ = waker.wake();
    });
    receiver
}
