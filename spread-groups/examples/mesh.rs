//! Commands to all members or to one, as a mesh of Quilt's servers has them, and pings.
//!
//! Members tell all others something (`say`), or one of them (`whisper`), measure how far
//! each is, and leave (`exit`). Nobody connects to anybody: the daemon is the mesh.
//!
//! Without `--daemon` the program has a daemon of its own. With `--name` it is one member,
//! which reads commands: `say TEXT`, `whisper NAME TEXT`, `ping NAME`, `exit`.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::Parser;
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Dest, Group, Incarnation, Mesh, Node};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const LONG: Duration = Duration::from_secs(30);

/// Two members of a mesh, or one with a console.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group
    #[arg(long, default_value = "quilt")]
    group: String,
    /// Be one member of this name, with a console
    #[arg(long)]
    name: Option<String>,
}

struct Server {
    _node: Node,
    group: Group,
    mesh: Mesh,
    name: String,
    exited: Receiver<()>,
}

impl Server {
    fn start(address: &str, group: &str, name: &str) -> Result<Server> {
        let node = Node::connect(Mailbox::builder(address))?;
        let group = node.group(group)?.metadata(name.to_owned()).join()?;
        group.ready().wait()?;
        let (exit, exited) = channel();
        let [say, whisper, other] = [(); 3].map(|()| name.to_owned());
        let mesh = group
            .mesh()
            .on("say", move |args, _| println!("{say}: all hear {} say {}", args[0], args[1]))
            .on("whisper", move |args, _| {
                println!("{whisper}: only {whisper} hears {} say {}", args[0], args[1]);
            })
            .on("exit", move |_, _| exit.send(()).unwrap_or_default())
            .otherwise(move |command, _, _| println!("{other}: what is {command:?}?"))
            .start()?;
        Ok(Server { _node: node, group, mesh, name: name.to_owned(), exited })
    }

    fn find(&self, name: &str) -> Result<Incarnation> {
        let members = self.group.members();
        let found = members.iter().find(|member| member.metadata == name.as_bytes());
        Ok(found.ok_or_else(|| format!("{name} is not there"))?.incarnation)
    }

    fn obey(&self, line: &str) -> Result {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["say", ..] => self.mesh.send(Dest::All, "say", [&*self.name, &line[4..]])?,
            ["whisper", to, text] => {
                self.mesh.send(Dest::Member(self.find(to)?), "whisper", [&*self.name, text])?;
            }
            ["ping", to] => {
                let member = self.find(to)?;
                println!("{} pings {to}: {:?}", self.name, self.mesh.ping(member, LONG).wait()?);
                let pong = self.mesh.last_pong(member).ok_or("no answer")?;
                println!("the last answer of {to} came from {}", pong.name);
            }
            ["exit", to] => self.mesh.send(Dest::Member(self.find(to)?), "exit", [""; 0])?,
            [command, ..] => self.mesh.send(Dest::All, command, [""; 0])?,
            [] => {}
        }
        Ok(())
    }
}

fn main() -> Result {
    let args = Args::parse();
    let daemon = match args.daemon {
        Some(_) => None,
        None => Some(Daemon::builder().start()?),
    };
    let address = args.daemon.or(daemon.as_ref().map(Daemon::address)).unwrap_or_default();
    if let Some(name) = args.name {
        let server = Server::start(&address, &args.group, &name)?;
        let lines = std::io::stdin().lock().lines().map_while(std::result::Result::ok);
        for line in lines.take_while(|line| line != "exit") {
            server.obey(&line).unwrap_or_else(|error| println!("{error}"));
        }
        return Ok(());
    }
    let ann = Server::start(&address, &args.group, "ann")?;
    let bob = Server::start(&address, &args.group, "bob")?;
    bob.group.wait_for_members(2, LONG)?;
    for line in ["say good morning", "whisper ann a secret", "ping ann", "dance"] {
        bob.obey(line)?;
    }
    // One order for all: a member that is told to exit has handled everything before.
    for server in [&ann, &bob] {
        bob.obey(&format!("exit {}", server.name))?;
        server.exited.recv_timeout(LONG)?;
    }
    Ok(())
}
