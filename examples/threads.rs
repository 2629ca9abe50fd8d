//! One connection in many threads: several send, one receives.
//!
//! A mailbox is split into a `Sender`, which is cloned for each thread, and a
//! `Receiver`. The messages of a thread keep their order, and those of different
//! threads go out whole.
//!
//! A thread that waits for messages can be ended in two ways: at a place in the
//! order, as the listener is by its leave, which comes after all that was sent
//! before it; or at once, as the watcher is by an `Interrupter`.

use std::thread::{self, ScopedJoinHandle};

use clap::Parser;
use spread::{Error, Mailbox, Message, Receiver, Sender, Service};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Several threads send and one receives, over one connection.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group to talk in
    #[arg(long, default_value = "threads")]
    group: String,
    /// Threads that send
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Messages from each of them
    #[arg(long, default_value_t = 100)]
    messages: usize,
}

fn main() -> Result {
    let args = Args::parse();
    let mut embedded = None;
    let address = match &args.daemon {
        Some(address) => address.clone(),
        None => embedded.insert(Daemon::builder().start()?).address(),
    };

    let (sender, listener) = Mailbox::connect(&address)?.split();
    let watcher = Mailbox::connect(&address)?;
    let interrupter = watcher.interrupter()?;
    watcher.join(&args.group)?;
    sender.join(&args.group)?;

    thread::scope(|scope| {
        let watching = scope.spawn(|| watch(watcher));
        let listening = scope.spawn(|| listen(listener, &args));
        let sending: Vec<_> = (0..args.threads)
            .map(|thread| {
                let (sender, args) = (sender.clone(), &args);
                scope.spawn(move || send(&sender, thread, args))
            })
            .collect();
        // In any case the others are told to end, or the scope would not.
        let sent = sending.into_iter().try_for_each(joined);
        let left = sender.leave(&args.group);
        let listened = joined(listening);
        interrupter.interrupt();
        joined(watching)?;
        sent.and(listened).and(Ok(left?))
    })
}

fn send(sender: &Sender, thread: usize, args: &Args) -> Result {
    for number in 0..args.messages {
        sender.multicast(Service::Fifo, &args.group, format!("{thread} {number}"))?;
    }
    println!("thread {thread} has sent {} messages", args.messages);
    Ok(())
}

/// Receives up to the answer to the leave, and checks each thread's order.
fn listen(mut receiver: Receiver, args: &Args) -> Result {
    let mut next = vec![0; args.threads];
    for message in receiver.messages() {
        match message? {
            Message::Regular(message) => {
                let text = String::from_utf8_lossy(message.payload());
                let (thread, number) = text.split_once(' ').ok_or("a message of somebody else")?;
                let next = next.get_mut(thread.parse::<usize>()?).ok_or("no such thread")?;
                if number.parse::<usize>()? != *next {
                    return Err(format!("thread {thread}: {number} instead of {next}").into());
                }
                *next += 1;
            }
            Message::SelfLeave(_) => break,
            _ => {}
        }
    }
    let total: usize = next.iter().sum();
    println!("the listener has received {total} messages, each thread's in order");
    Ok(())
}

/// Receives until it is interrupted.
fn watch(mut mailbox: Mailbox) -> Result {
    let mut messages = 0;
    loop {
        match mailbox.receive() {
            Ok(Message::Regular(_)) => messages += 1,
            Ok(Message::Membership(view)) => println!("the watcher sees {view}"),
            Ok(_) => {}
            Err(Error::Interrupted) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("the watcher is interrupted after {messages} messages");
    Ok(mailbox.disconnect()?)
}

fn joined(thread: ScopedJoinHandle<'_, Result>) -> Result {
    thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
}
