//! The first member of a group leads, and when it crashes the next one does.
//!
//! Nobody is elected: every member receives the same views, so all agree at once
//! that the first member of the current view leads. Here the leader hands out
//! tasks, which is what must not be done twice.
//!
//! A leader may have sent a task before it heard that it leads no more. Views and
//! messages come to all members in one order, so all see alike that the task
//! comes after the view that ended its lead, and all ignore it.
//!
//! The first member is the one whose name sorts first at the first daemon, not
//! the eldest: one that joins later may take the lead.
//!
//! Without `--daemon` three members run in one program. Each crashes after some
//! tasks as leader, until nobody is left.

use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use spread::{Mailbox, Message, Service, View};
use spread_daemon::Daemon;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Members of a group of which the first one leads.
#[derive(Parser)]
struct Args {
    /// The daemon at which to be one member, as PORT@HOST or PORT; without it,
    /// three members at a daemon of their own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group to be led
    #[arg(long, default_value = "leader")]
    group: String,
    /// The member's private name, 1 to 10 bytes
    #[arg(long, default_value = "ann")]
    name: String,
    /// Tasks to hand out as the leader before the crash
    #[arg(long, default_value_t = 3)]
    tasks: u32,
    /// Milliseconds between two tasks
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50)]
    every: u64,
}

fn main() -> Result {
    let args = Args::parse();
    if let Some(address) = &args.daemon {
        return Member::join(address, &args.name, &args)?.run();
    }
    let daemon = Daemon::builder().start()?;
    let members = ["ann", "bob", "cid"].map(|name| Member::join(&daemon.address(), name, &args));
    thread::scope(|scope| {
        let threads = members.map(|member| scope.spawn(|| member?.run()));
        let mut ends = threads.into_iter().map(|thread| thread.join());
        ends.try_for_each(|end| end.unwrap_or_else(|_| Err("a member panicked".into())))
    })
}

struct Member<'a> {
    name: &'a str,
    mailbox: Mailbox,
    args: &'a Args,
}

impl<'a> Member<'a> {
    fn join(address: &str, name: &'a str, args: &'a Args) -> Result<Member<'a>> {
        let mailbox = Mailbox::builder(address).private_name(name).connect()?;
        mailbox.join(&args.group)?;
        Ok(Member { name, mailbox, args })
    }

    fn run(mut self) -> Result {
        let name = self.name;
        let pause = Duration::from_millis(self.args.every);
        let mut next_task = Instant::now() + pause;
        let mut tasks = 1..=self.args.tasks;
        let mut leader = None;
        loop {
            match self.mailbox.receive_deadline(next_task)? {
                Some(Message::Membership(view)) => {
                    leader = Some(view.first());
                    println!("{name}: {}; {} leads {}", view.cause, view.first(), names(&view));
                }
                Some(Message::Regular(message)) => {
                    let task = String::from_utf8_lossy(message.payload());
                    let sender = message.sender();
                    let valid = leader == Some(sender);
                    let fate = if valid { "done" } else { "ignored, it does not lead" };
                    println!("{name}: {task} of {sender} is {fate}");
                }
                Some(_) => {}
                None => {
                    next_task = Instant::now() + pause;
                    if leader != Some(self.mailbox.private_group().into()) {
                        continue;
                    }
                    let Some(number) = tasks.next() else {
                        println!("{name}: crashes");
                        self.mailbox.kill();
                        return Ok(());
                    };
                    let task = format!("task {number}");
                    self.mailbox.multicast(Service::Agreed, &self.args.group, task)?;
                }
            }
        }
    }
}

fn names(view: &View) -> String {
    view.members.iter().filter_map(|member| member.private_name()).collect::<Vec<_>>().join(" ")
}
