//! A chat with tokio: what one types goes to the group, and what the group says
//! is printed, at the same time and without blocking the executor.
//!
//! An [`AsyncMailbox`] is split into a half that speaks and one that listens,
//! which is a `Stream` of messages. The end of the input becomes a leave, and
//! the answer to it the end of the stream: so nothing that was said before is
//! cut off.
//!
//! Without `--daemon` it starts one, and tells how others can come to it.

use clap::Parser;
use futures_util::TryStreamExt;
use spread::{AsyncMailbox, AsyncReceiver, AsyncSender, Mailbox, Message, Service};
use spread_daemon::Daemon;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::runtime::Runtime;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A chat in a group of Spread.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group to talk in
    #[arg(long, default_value = "chat")]
    group: String,
    /// One's private name, 1 to 10 bytes
    #[arg(long, default_value = "alice")]
    name: String,
}

fn main() -> Result {
    let args = Args::parse();
    let mut embedded = None;
    let address = match &args.daemon {
        Some(address) => address.clone(),
        None => {
            let daemon = embedded.insert(Daemon::builder().start()?);
            println!("Others join with --daemon {} --name bob", daemon.address());
            daemon.address()
        }
    };
    let runtime = Runtime::new()?;
    let result = runtime.block_on(chat(&address, &args));
    // A read of standard input cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    result
}

async fn chat(address: &str, args: &Args) -> Result {
    let builder = Mailbox::builder(address).private_name(&args.name);
    let mailbox = AsyncMailbox::connect(builder).await?;
    mailbox.join(&args.group).await?;
    let (sender, receiver) = mailbox.split();
    tokio::try_join!(speak(sender, &args.group), listen(receiver))?;
    Ok(())
}

async fn speak(sender: AsyncSender, group: &str) -> Result {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        sender.multicast(Service::Agreed, group, line).await?;
    }
    sender.leave(group).await?;
    Ok(())
}

async fn listen(mut receiver: AsyncReceiver) -> Result {
    while let Some(message) = receiver.try_next().await? {
        match message {
            Message::Regular(message) => {
                let sender = message.sender();
                let name = sender.private_name().unwrap_or("?");
                println!("{name}: {}", String::from_utf8_lossy(message.payload()));
            }
            Message::Membership(view) => println!("* {}, {} here", view.cause, view.members.len()),
            Message::SelfLeave(_) => return Ok(()),
            other => println!("* {other:?}"),
        }
    }
    Err("the connection is closed".into())
}
