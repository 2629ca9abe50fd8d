//! A queue of jobs: workers come and crash, and each job has one result.
//!
//! Jobs are submitted before there is a worker; they wait. Two workers come, each a process. One
//! of them is killed at its first job: that one is tried again by the other worker, and
//! no other job is done twice.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};
use spread::Mailbox;
use spread_daemon::Daemon;
use spread_groups::{Group, Message, Node, Postcard, Work};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Long enough for whatever is not slow on purpose.
const LONG: Duration = Duration::from_secs(60);

/// Squares numbers in a work queue.
#[derive(Parser)]
struct Args {
    /// The daemon to use, as PORT@HOST or PORT; without it, one of its own
    #[arg(long, value_name = "ADDRESS")]
    daemon: Option<String>,
    /// Be a worker of this name
    #[arg(long, value_name = "NAME", requires = "daemon")]
    work: Option<String>,
    /// Take a minute for a job
    #[arg(long, requires = "work")]
    slow: bool,
    /// Jobs that are submitted
    #[arg(long, default_value_t = 10)]
    jobs: u64,
}

#[derive(Serialize, Deserialize)]
struct Number(u64);

impl Message for Number {
    const NAME: &'static str = "example.Number";
    type Codec = Postcard;
}

fn main() -> Result {
    let args = Args::parse();
    match (&args.daemon, &args.work) {
        (Some(address), Some(name)) => work(address, name, args.slow),
        (Some(address), None) => submit(address, args.jobs),
        (None, _) => {
            let daemon = Daemon::builder().start()?;
            submit(&daemon.address(), args.jobs)
        }
    }
}

/// The queue, which all programs describe alike.
fn squares(group: &Group) -> Work<Number, Number> {
    group.work("squares").max_queued(1000).max_attempts(3)
}

fn work(address: &str, name: &str, slow: bool) -> Result {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group("work_queue")?.join()?;
    let name = name.to_owned();
    let _working = squares(&group).worker(1, move |Number(number), attempt| {
        println!("{name}: {number}, attempt {}", attempt.number());
        if slow {
            thread::sleep(LONG);
        }
        Ok(Number(number * number))
    })?;
    loop {
        thread::park();
    }
}

/// A worker in a process of its own, killed when this is dropped.
struct Worker(Child);

impl Worker {
    fn start(address: &str, args: &[&str]) -> Result<Worker> {
        let program = std::env::current_exe()?;
        Ok(Worker(Command::new(program).args(["--daemon", address]).args(args).spawn()?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a worker is not killed: {error}");
        }
    }
}

fn submit(address: &str, jobs: u64) -> Result {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group("work_queue")?.join()?;
    let squares = squares(&group);
    let results: Vec<_> = (1..=jobs).map(|number| squares.job(&Number(number)).send()).collect();
    let wait_for = |running: usize| {
        while squares.status().running < running {
            thread::sleep(Duration::from_millis(10));
        }
    };
    let slow = Worker::start(address, &["--work", "bob", "--slow"])?;
    wait_for(1);
    println!("bob has a job, {} wait; bob is killed", squares.status().waiting);
    drop(slow);
    let _worker = Worker::start(address, &["--work", "ann"])?;
    for (number, result) in (1..).zip(results) {
        println!("the square of {number} is {}", result.wait()?.0);
    }
    node.shutdown(LONG)?;
    Ok(())
}
