//! Calls and answers: one server or all of them are called, and one crashes meanwhile.
//!
//! Three servers, each a process, write texts in capitals. One of them is slow. A call goes to
//! any server, then to all until a majority has answered. The last one waits for all, and
//! ends when the slow one is killed: no time has to run out.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use clap::Parser;
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Call, Group, Node, Outcome, To, Until};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const SERVICE: &str = "capitals";
/// Long enough for whatever is not slow on purpose.
const LONG: Duration = Duration::from_secs(60);

/// Calls that go to any server, and to all.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// Be a server of this name
    #[arg(long, value_name = "NAME", requires = "daemon")]
    serve: Option<String>,
    /// Answer after a minute only
    #[arg(long, requires = "serve")]
    slow: bool,
}

fn main() -> Result {
    let args = Args::parse();
    match (&args.daemon, args.serve) {
        (Some(address), Some(name)) => serve(address, name, args.slow),
        (Some(address), None) => call(address),
        (None, _) => {
            let daemon = Daemon::builder().start()?;
            call(&daemon.address())
        }
    }
}

fn serve(address: &str, name: String, slow: bool) -> Result {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group("request_reply")?.metadata(name.clone()).join()?;
    let (_serving, begun) = group.serve(SERVICE, move |text: String| {
        if slow {
            thread::sleep(LONG);
        }
        Ok(format!("{}, says {name}", text.to_uppercase()))
    })?;
    begun.wait()?;
    loop {
        thread::park();
    }
}

/// A server in a process of its own, killed when this is dropped.
struct Server(Child);

impl Server {
    fn start(address: &str, args: &[&str]) -> Result<Server> {
        let program = std::env::current_exe()?;
        Ok(Server(Command::new(program).args(["--daemon", address]).args(args).spawn()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a server is not killed: {error}");
        }
    }
}

fn call(address: &str) -> Result {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group("request_reply")?.metadata("the caller").join()?;
    let _servers = [
        Server::start(address, &["--serve", "ann"])?,
        Server::start(address, &["--serve", "bob"])?,
    ];
    let slow = Server::start(address, &["--serve", "cid", "--slow"])?;
    group.servers::<String, String>(SERVICE).at_least(3).wait()?;

    let ann = group.members().iter().find(|member| member.metadata == "ann").cloned();
    let ann = ann.ok_or("ann is not there")?.incarnation;
    println!("ann: {}", ask(&group, "hello").to(To::Member(ann)).within(LONG).send().wait()?);

    println!("all, until a majority has answered:");
    tell(&group, ask(&group, "hello"), Until::Majority, None)?;
    println!("all, and cid is killed:");
    tell(&group, ask(&group, "hello"), Until::All, Some(slow))?;
    node.shutdown(LONG)?;
    Ok(())
}

fn ask(group: &Group, text: &str) -> Call<String> {
    group.call::<String, String>(SERVICE, &text.to_owned())
}

/// Calls all servers, kills one, and tells what each came to.
fn tell(group: &Group, call: Call<String>, until: Until, killed: Option<Server>) -> Result {
    let members = group.members();
    let replies = call.within(LONG).send_to_all(until);
    drop(killed);
    let replies = replies.wait()?;
    for (incarnation, outcome) in &replies.each {
        let member = members.iter().find(|member| member.incarnation == *incarnation);
        let name = member.map_or("?".into(), |member| String::from_utf8_lossy(&member.metadata));
        match outcome {
            Outcome::Answered(text) => println!("  {name}: {text}"),
            other => println!("  {name}: {other:?}"),
        }
    }
    println!("  {:?}", replies.verdict);
    Ok(())
}
