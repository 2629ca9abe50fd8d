//! The leader gives out jobs, and when it goes the next one goes on where it was.
//!
//! Every member follows the jobs. They come to all in one order, and so does the end of a
//! leader's term: the next leader has seen every job that counts, and no job of the former
//! leader comes behind. A job that was published in a term that is over is ignored by all.
//!
//! Here each of three members leads for some jobs and leaves. Meanwhile one who only watches
//! asks the leader for its name.
//!
//! Without `--daemon` the program has a daemon of its own.

use std::thread;
use std::time::Duration;

use clap::Parser;
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Error, Group, Item, LeaderServing, Node, Subscription, Term};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Three members that lead one after the other.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// The group to be led
    #[arg(long, default_value = "jobs")]
    group: String,
    /// Jobs that each leader gives out
    #[arg(long, default_value_t = 3)]
    jobs: u64,
}

fn main() -> Result {
    let args = Args::parse();
    let daemon = match args.daemon {
        Some(_) => None,
        None => Some(Daemon::builder().start()?),
    };
    let address = args.daemon.or(daemon.as_ref().map(Daemon::address)).unwrap_or_default();
    // They lead in the order in which they join.
    let join = |name| Member::join(&address, &args.group, name);
    let (ann, bob, cid, mut watcher) = (join("ann")?, join("bob")?, join("cid")?, join("dan")?);
    let members = [ann, bob, cid].map(|member| thread::spawn(move || member.lead(args.jobs)));
    for number in 1..=3 * args.jobs {
        let job = next(&mut watcher.jobs)?.ok_or("the member has left")?;
        println!("dan: sees job {job}");
        if number % args.jobs == 1 {
            match watcher.group.to_leader::<String, String>("name", &"who".into()).wait() {
                Ok(name) => println!("dan: {name} answers as the leader"),
                Err(Error::LeaderGone) => println!("dan: the leader has gone meanwhile"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    members.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a member panicked")?)
}

struct Member {
    name: &'static str,
    node: Node,
    group: Group,
    jobs: Subscription<String>,
    _serving: LeaderServing,
}

impl Member {
    fn join(address: &str, group: &str, name: &'static str) -> Result<Member> {
        let node = Node::connect(Mailbox::builder(address))?;
        let group = node.group(group)?.join()?;
        group.ready().wait()?;
        let jobs = group.leader_topic("jobs").subscribe();
        let _serving = group.serve_as_leader("name", move |_: String| Ok(String::from(name)))?;
        Ok(Member { name, node, group, jobs, _serving })
    }

    /// Waits until it leads, gives out some jobs, and leaves.
    fn lead(mut self, jobs: u64) -> Result {
        let leadership = self.group.leadership();
        leadership.while_leading_blocking(|term| self.give_out(term, jobs))??;
        println!("{}: leaves", self.name);
        Ok(self.node.shutdown(Duration::from_secs(5))?)
    }

    fn give_out(&mut self, term: &Term, jobs: u64) -> Result {
        // What came before the term is here already.
        let mut last = 0;
        while let Some(Item::Message(job, _)) = self.jobs.next_timeout(Duration::ZERO) {
            last = job.parse()?;
        }
        println!("{}: leads, the last job was {last}", self.name);
        for job in last + 1..=last + jobs {
            // It fails if this one is deposed, and looking at `is_revoked` would do as well.
            self.group.leader_topic("jobs").publish(term, &job.to_string()).wait()?;
        }
        Ok(())
    }
}

fn next(jobs: &mut Subscription<String>) -> Result<Option<String>> {
    Ok(match jobs.next() {
        Some(Item::Message(job, _)) => Some(job),
        Some(Item::Gap(_)) => return Err("some jobs are missing".into()),
        Some(Item::Undecodable(error, _)) => return Err(error.into()),
        None => None,
    })
}
