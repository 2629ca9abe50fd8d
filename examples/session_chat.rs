//! A chat that survives its daemon: it says when the daemon goes away, and comes back to the
//! group with it. Ctrl-c or the end of the input disconnects, after all that was typed.

use clap::Parser;
use spread::{AsyncSession, Backoff, Mailbox, Message, Service, SessionEvent};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::{runtime::Runtime, select, signal::unix};

/// A chat in a group of Spread that survives its daemon.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT
    #[arg(long, value_name = "ADDRESS", default_value = "4803")]
    daemon: String,
    /// The group to talk in
    #[arg(long, default_value = "chat")]
    group: String,
    /// The private name, 1 to 10 bytes
    #[arg(long, default_value = "alice")]
    name: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let result = runtime.block_on(chat(Args::parse()));
    // A read of standard input cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    result
}

async fn chat(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let builder = Mailbox::builder(args.daemon).private_name(args.name);
    let mut session = AsyncSession::connect(builder, Backoff::default()).await?;
    session.join(&args.group).await?;
    let mut interrupts = unix::signal(unix::SignalKind::interrupt())?;
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = select! {
            event = session.receive() => { print(event?); continue }
            line = lines.next_line() => line?,
            _ = interrupts.recv() => None,
        };
        let Some(line) = line else { break };
        if let Err(error) = session.multicast(Service::Agreed, &args.group, line).await {
            println!("* not sent: {error}");
        }
    }
    Ok(session.disconnect().await?)
}

fn print(event: SessionEvent) {
    match event {
        SessionEvent::Message(Message::Regular(message)) => {
            println!("{}: {}", message.sender(), String::from_utf8_lossy(message.payload()));
        }
        SessionEvent::Lost { error, .. } => println!("* alone: {error}"),
        SessionEvent::Restored { private_group, .. } => println!("* back as {private_group}"),
        other => println!("* {other:?}"),
    }
}
