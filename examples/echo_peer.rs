//! A server that acknowledges each update, written as event-driven frameworks
//! have it: a loop receives, and calls the peer for what has happened.
//!
//! A peer is a trait with a method for each event; server and client are two
//! peers in the same loop. The server joins a group, by which clients find it.
//! A client sends its updates to that group from outside, and the server answers
//! to the sender's private group, which reaches that client alone. A number that
//! the client gives to its update as the message type comes back with the answer.
//!
//! Without `--daemon` a server and a client run in one program.

use std::ops::ControlFlow::{self, Break, Continue};
use std::thread;
use std::time::Duration;

use clap::Parser;
use spread::{Error, Mailbox, Message, RegularMessage, SendOptions, Sender, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Long enough for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server that acknowledges updates, and a client.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own, for
    /// a server and a client
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The server's group
    #[arg(long, default_value = "echo_peer")]
    group: String,
    /// Be the server, and not the client
    #[arg(long, requires = "daemon")]
    serve: bool,
    /// Updates that the client sends
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i16).range(0..))]
    updates: i16,
}

fn main() -> Result {
    let args = Args::parse();
    match &args.daemon {
        Some(address) if args.serve => run(Server, served(address, &args.group)?),
        Some(address) => run(Client { args: &args, current: 0 }, Mailbox::connect(address)?),
        None => both(&args),
    }
}

fn both(args: &Args) -> Result {
    let daemon = Daemon::builder().start()?;
    let server = served(&daemon.address(), &args.group)?;
    let interrupter = server.interrupter()?;
    let client = Mailbox::connect(daemon.address())?;
    let serving = thread::spawn(|| run(Server, server));
    let result = run(Client { args, current: 0 }, client);
    interrupter.interrupt();
    serving.join().unwrap_or_else(|_| Err("the server panicked".into())).and(result)
}

/// A mailbox in the group, so that clients reach it from now on.
fn served(address: &str, group: &str) -> Result<Mailbox> {
    let mut mailbox = Mailbox::connect(address)?;
    mailbox.join(group)?;
    match mailbox.receive()? {
        Message::Membership(view) => println!("server: {view}"),
        other => return Err(format!("no view, but {other:?}").into()),
    }
    Ok(mailbox)
}

/// Whether a peer goes on.
type Flow = Result<ControlFlow<()>>;

/// What happens to a peer.
trait Peer {
    fn connected(&mut self, sender: &Sender) -> Flow;
    fn received(&mut self, sender: &Sender, message: &RegularMessage) -> Flow;
    fn timed_out(&mut self) -> Flow;
}

/// Calls the peer for what happens, until it breaks off or is interrupted.
fn run(mut peer: impl Peer, mailbox: Mailbox) -> Result {
    let (sender, mut receiver) = mailbox.split();
    let mut flow = peer.connected(&sender)?;
    while flow.is_continue() {
        flow = match receiver.receive_timeout(TIMEOUT) {
            Ok(Some(Message::Regular(message))) => peer.received(&sender, &message)?,
            Ok(Some(_)) => Continue(()),
            Ok(None) => peer.timed_out()?,
            Err(Error::Interrupted) => Break(()),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

struct Server;

impl Peer for Server {
    fn connected(&mut self, _: &Sender) -> Flow {
        Ok(Continue(()))
    }

    fn received(&mut self, sender: &Sender, update: &RegularMessage) -> Flow {
        let text = String::from_utf8_lossy(update.payload());
        println!("server: {text} from {}", update.sender());
        let answer = SendOptions::new(Service::Fifo).message_type(update.message_type());
        sender.multicast(answer, update.sender(), update.payload())?;
        Ok(Continue(()))
    }

    fn timed_out(&mut self) -> Flow {
        Ok(Continue(()))
    }
}

struct Client<'a> {
    args: &'a Args,
    /// The update that waits for its acknowledgement.
    current: i16,
}

impl Client<'_> {
    fn send_next(&mut self, sender: &Sender) -> Flow {
        if self.current == self.args.updates {
            return Ok(Break(()));
        }
        self.current += 1;
        let update = SendOptions::new(Service::Agreed).message_type(self.current);
        sender.multicast(update, &self.args.group, format!("update {}", self.current))?;
        Ok(Continue(()))
    }
}

impl Peer for Client<'_> {
    fn connected(&mut self, sender: &Sender) -> Flow {
        self.send_next(sender)
    }

    fn received(&mut self, sender: &Sender, answer: &RegularMessage) -> Flow {
        // Of several servers in the group the first answer counts.
        if answer.message_type() != self.current {
            return Ok(Continue(()));
        }
        println!("client: update {} is acknowledged by {}", self.current, answer.sender());
        self.send_next(sender)
    }

    fn timed_out(&mut self) -> Flow {
        Err(format!("update {} is not acknowledged: is there a server?", self.current).into())
    }
}
