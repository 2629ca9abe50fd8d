//! Measures the patterns, beside plain multicasts of `spread` where there is something to
//! compare with.
//!
//! | part | what it does |
//! |---|---|
//! | `topic` | a node publishes and subscribes; beside it, a member multicasts and receives |
//! | `call` | a node calls a service of another one; beside it, a message goes to and fro, and as the floor of a call another one between threads that send and threads that receive for them |
//! | `work` | jobs a second that workers do; a job is a number |
//! | `operations` | operations a second of a replicated counter, submitted by one member |
//! | `voters` | committed operations with 3 and 5 voters: their rate beside operations without voters, and the time of one beside an agreed message to oneself |
//! | `failover` | from the kill of a process that leads and holds a lock to the next leader and the next holder; and the same from the end of its daemon, one of three embedded ones |
//! | `memory` | what a subscriber's process takes while many messages are published |
//!
//! The daemon is a process of its own, reached by unix socket; nodes and mailboxes are in
//! this one. Rounds of the two sides are interleaved, and each ratio is that of two
//! neighbours. Of 64 bytes unless `--size` says otherwise; medians with their range.
//!
//! ```sh
//! cargo run --release -p spread-groups --example groups_bench
//! cargo run --release -p spread-groups --example groups_bench -- topic --size 1024
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use spread::{Mailbox, Message, RegularMessage, SendOptions, Sender, Service};
use spread_daemon::{Cluster, Daemon};
use spread_groups::{
    At, BadState, Group, Item, Node, Pending, Replicated, StateMachine, Subscription, Topic,
    VotedGroup,
};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Measures the patterns of groups.
#[derive(Parser)]
struct Args {
    /// What is measured; without it, everything
    parts: Vec<Part>,
    /// Bytes of a message or question; without it, 64 and 1024
    #[arg(long)]
    size: Vec<usize>,
    /// Rounds of each side
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Messages, jobs or operations in a round
    #[arg(long, default_value_t = 20_000)]
    count: usize,
    /// How many of them may be under way
    #[arg(long, default_value_t = 200)]
    window: usize,
    /// Messages whose memory is measured
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// Be the daemon
    #[arg(long, hide = true)]
    be_daemon: bool,
    /// Lead this group at this daemon
    #[arg(long, hide = true, num_args = 2)]
    be_leader: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Topic,
    Call,
    Work,
    Operations,
    Voters,
    Failover,
    Memory,
}

fn main() -> Result {
    let args = Args::parse();
    if args.be_daemon {
        return be_daemon();
    }
    if let [address, group] = args.be_leader.as_slice() {
        return be_leader(address, group);
    }
    let daemon = OwnDaemon::start()?;
    let address = daemon.address.as_str();
    let measured = |part| args.parts.is_empty() || args.parts.contains(&part);
    let sizes = if args.size.is_empty() { vec![64, 1024] } else { args.size.clone() };
    if measured(Part::Topic) {
        sizes.iter().try_for_each(|size| topic(address, &args, *size))?;
    }
    if measured(Part::Call) {
        sizes.iter().try_for_each(|size| call(address, &args, *size))?;
    }
    if measured(Part::Work) {
        [1, 4, 16].iter().try_for_each(|workers| work(address, &args, *workers))?;
    }
    if measured(Part::Operations) {
        [1, 3, 5].iter().try_for_each(|members| operations(address, &args, *members))?;
    }
    if measured(Part::Voters) {
        [3, 5].iter().try_for_each(|members| voters(address, &args, *members))?;
    }
    if measured(Part::Failover) {
        failover(address, &args)?;
        failover_of_a_daemon(&args)?;
    }
    if measured(Part::Memory) {
        memory(address, &args)?;
    }
    Ok(())
}

fn member(address: &str, group: &str) -> Result<(Node, Group)> {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group(group)?.join()?;
    group.ready().wait()?;
    Ok((node, group))
}

fn topic(address: &str, args: &Args, size: usize) -> Result {
    let mut mailbox = Mailbox::connect(address)?;
    mailbox.join("plain")?;
    mailbox.receive()?;
    let (_node, group) = member(address, "topics")?;
    let topic = group.topic::<Vec<u8>>("bytes");
    let mut subscription = topic.subscribe();
    let (mut plain, mut topics) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let times =
            [flood(&mut mailbox, args, size)?, publish(&topic, &mut subscription, args, size)?];
        // The first round warms up.
        if round > 0 {
            let [one, other] = times.map(|time| args.count as f64 / time.as_secs_f64());
            plain.push(one);
            topics.push(other);
        }
    }
    compare(&format!("topic, {size} B, messages/s"), &topics, &plain);
    mailbox.disconnect()?;
    Ok(())
}

/// Multicasts to the own group, and receives it.
fn flood(mailbox: &mut Mailbox, args: &Args, size: usize) -> Result<Duration> {
    let (payload, options) = (vec![7; size], SendOptions::new(Service::Agreed));
    let (mut sent, mut received, began) = (0, 0, Instant::now());
    while received < args.count {
        while sent < args.count && sent < received + args.window {
            mailbox.multicast(options, "plain", &payload)?;
            sent += 1;
        }
        received += usize::from(matches!(mailbox.receive()?, Message::Regular(_)));
    }
    Ok(began.elapsed())
}

/// Publishes, and receives it.
fn publish(
    topic: &Topic<Vec<u8>>,
    subscription: &mut Subscription<Vec<u8>>,
    args: &Args,
    size: usize,
) -> Result<Duration> {
    let payload = vec![7; size];
    let (mut sent, mut received, began) = (0, 0, Instant::now());
    while received < args.count {
        while sent < args.count && sent < received + args.window {
            topic.publish(&payload)?;
            sent += 1;
        }
        match subscription.next() {
            Some(Item::Message(..)) => received += 1,
            other => return Err(format!("no message, but {other:?}").into()),
        }
    }
    Ok(began.elapsed())
}

fn call(address: &str, args: &Args, size: usize) -> Result {
    let [mut one, mut other] = [Mailbox::connect(address)?, Mailbox::connect(address)?];
    let (there, options) = (other.private_group(), SendOptions::new(Service::Agreed));
    let echo = std::thread::spawn(move || -> std::result::Result<(), spread::Error> {
        while let Message::Regular(message) = other.receive()? {
            if message.payload().is_empty() {
                break;
            }
            other.multicast(options, message.sender(), message.payload())?;
        }
        Ok(())
    });
    let ((_caller_node, caller), (_server_node, server)) =
        (member(address, "calls")?, member(address, "calls")?);
    let (_serving, begun) = server.serve("echo", |question: Vec<u8>| Ok(question))?;
    begun.wait()?;
    caller.servers::<Vec<u8>, Vec<u8>>("echo").at_least(1).wait()?;
    let payload = vec![7; size];
    let [near, far] = [HandingOver::connect(address)?, HandingOver::connect(address)?];
    let there_by_threads = far.sender.private_group();
    std::thread::spawn(move || -> Result<(), spread::Error> {
        for message in far.received {
            far.sender.multicast(options, message.sender(), message.payload())?;
        }
        Ok(())
    });
    let mut plain = || {
        one.multicast(options, there, &payload)?;
        one.receive()?;
        Ok(())
    };
    let floor = || {
        near.sender.multicast(options, there_by_threads, &payload)?;
        near.received.recv()?;
        Ok(())
    };
    let call = || {
        caller.call::<Vec<u8>, Vec<u8>>("echo", &payload).send().wait()?;
        Ok(())
    };
    let (mut plains, mut floors, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let medians =
            [median_time(args, &mut plain)?, median_time(args, floor)?, median_time(args, call)?];
        if round > 0 {
            plains.push(medians[0]);
            floors.push(medians[1]);
            calls.push(medians[2]);
        }
    }
    compare(&format!("floor of a call, {size} B, p50 in us"), &floors, &plains);
    compare(&format!("call, {size} B, p50 in us"), &calls, &plains);
    println!("call : floor, {size} B: {}", range(&ratios(&calls, &floors)));
    near.sender.multicast(options, there_by_threads, [])?;
    one.multicast(options, there, [])?;
    echo.join().map_err(|_| "the echo panicked")??;
    Ok(())
}

/// A mailbox from which a thread receives, as a node's does: it can be interrupted, and hands
/// over what it gets to the thread that waits for it.
struct HandingOver {
    sender: Sender,
    received: mpsc::Receiver<RegularMessage>,
}

impl HandingOver {
    fn connect(address: &str) -> Result<HandingOver> {
        let (sender, mut receiver) = Mailbox::connect(address)?.split();
        receiver.interrupter()?;
        let (tell, received) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(Message::Regular(message)) = receiver.receive() {
                if message.payload().is_empty() || tell.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(HandingOver { sender, received })
    }
}

/// Returns the median of the times of a tenth of the count, in microseconds.
fn median_time(args: &Args, mut act: impl FnMut() -> Result) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..args.count.div_ceil(10) {
        let began = Instant::now();
        act()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&times))
}

fn work(address: &str, args: &Args, workers: usize) -> Result {
    let ((_node, client), (_other, server)) = (member(address, "work")?, member(address, "work")?);
    let name = workers.to_string();
    let queue = client.work::<Vec<u8>, Vec<u8>>(&name);
    let _working = server.work(&name).worker(workers, |job: Vec<u8>, _| Ok(job))?;
    let submit = || queue.job(&vec![7; 8]).send();
    rounds(&format!("work, {workers} workers, jobs/s"), args, submit)
}

#[derive(Clone)]
struct Counter(u64);

impl StateMachine for Counter {
    const NAME: &'static str = "bench.Counter";
    type Op = Vec<u8>;
    type Out = Vec<u8>;

    fn apply(&mut self, _: At, op: Vec<u8>) -> Vec<u8> {
        self.0 += op.len() as u64;
        self.0.to_be_bytes().into()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_be_bytes().into()
    }

    fn restore(state: &[u8]) -> std::result::Result<Counter, BadState> {
        state.try_into().map(|state| Counter(u64::from_be_bytes(state))).map_err(|_| BadState)
    }
}

fn operations(address: &str, args: &Args, members: usize) -> Result {
    let mut all = Vec::new();
    for _ in 0..members {
        let node = Node::connect(Mailbox::builder(address))?;
        let mut group = node.group(&format!("operations{members}"))?;
        let counter = group.replicate(Counter(0))?;
        let group = group.join()?;
        group.ready().wait()?;
        all.push((node, group, counter));
    }
    let counter = &all[0].2;
    let submit = || counter.submit(&vec![7; 64]);
    rounds(&format!("operations, {members} members, a second"), args, submit)
}

/// Measures how many of something are done a second, with a window.
fn rounds(what: &str, args: &Args, submit: impl Fn() -> Pending<Vec<u8>>) -> Result {
    let mut rates = Vec::new();
    for round in 0..=args.rounds {
        let rate = rate(args, &submit)?;
        if round > 0 {
            rates.push(rate);
        }
    }
    println!("{what}: {}", range(&rates));
    Ok(())
}

fn rate(args: &Args, submit: impl Fn() -> Pending<Vec<u8>>) -> Result<f64> {
    let began = Instant::now();
    let mut open = std::collections::VecDeque::new();
    for _ in 0..args.count {
        if open.len() == args.window {
            open.pop_front().map(Pending::wait).transpose()?;
        }
        open.push_back(submit());
    }
    open.into_iter().try_for_each(|pending| pending.wait().map(drop))?;
    Ok(args.count as f64 / began.elapsed().as_secs_f64())
}

/// The handles of a member with a counter.
type Counting<G> = (Node, G, Replicated<Counter>);

fn without_voters(address: &str, members: usize) -> Result<Vec<Counting<Group>>> {
    let join = |_| {
        let node = Node::connect(Mailbox::builder(address))?;
        let mut group = node.group(&format!("without{members}"))?;
        let counter = group.replicate(Counter(0))?;
        let group = group.join()?;
        group.ready().wait()?;
        Ok((node, group, counter))
    };
    (0..members).map(join).collect()
}

fn with_voters(address: &str, members: usize) -> Result<Vec<Counting<VotedGroup>>> {
    let names: Vec<String> = (0..members).map(|number| number.to_string()).collect();
    let join = |name: &String| {
        let node = Node::connect(Mailbox::builder(address))?;
        let mut group = node.group(&format!("voters{members}"))?;
        let counter = group.replicate(Counter(0))?;
        let group = group.voters(names.clone()).votes_as(name).join()?;
        Ok((node, group, counter))
    };
    let all = names.iter().map(join).collect::<Result<Vec<_>>>()?;
    all.iter().try_for_each(|(_, group, _)| group.confirm().wait())?;
    Ok(all)
}

/// Measures operations of the same machine with and without voters, and a message to oneself.
fn voters(address: &str, args: &Args, members: usize) -> Result {
    let mut mailbox = Mailbox::connect(address)?;
    let (own, options) = (mailbox.private_group(), SendOptions::new(Service::Agreed));
    let (voters, others) = (with_voters(address, members)?, without_voters(address, members)?);
    let payload = vec![7; 64];
    let [commit, apply] = [&voters[0].2, &others[0].2].map(|of| || of.submit(&payload));
    let mut plain = || {
        mailbox.multicast(options, own, &payload)?;
        mailbox.receive()?;
        Ok(())
    };
    let wait = |pending: Pending<Vec<u8>>| Ok(pending.wait().map(drop)?);
    let (mut rates, mut times) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new(), Vec::new()]);
    for round in 0..=args.rounds {
        let rate = [rate(args, commit)?, rate(args, apply)?];
        let commit = median_time(args, || wait(commit()))?;
        let apply = median_time(args, || wait(apply()))?;
        let time = [commit, apply, median_time(args, &mut plain)?];
        if round > 0 {
            rates.iter_mut().zip(rate).for_each(|(rates, rate)| rates.push(rate));
            times.iter_mut().zip(time).for_each(|(times, time)| times.push(time));
        }
    }
    let [committed, applied] = rates;
    let what = format!("{members} voters, committed operations a second, beside none");
    compare(&what, &committed, &applied);
    let [committed, applied, plain] = times;
    compare(&format!("{members} voters, p50 in us, beside a message"), &committed, &plain);
    compare(&format!("{members} members, p50 in us, beside a message"), &applied, &plain);
    let what = format!("{members} voters, p50 of a commit : that of an operation without voters");
    println!("{what}: {}", range(&ratios(&committed, &applied)));
    mailbox.disconnect()?;
    Ok(())
}

/// Measures from the kill of a leader that holds a lock to the next leader and the next holder.
fn failover(address: &str, args: &Args) -> Result {
    let (mut leads, mut holds) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let name = format!("failover{round}");
        let mut leader = Leader::start(address, &name)?;
        let join = |voter: &str| -> Result<(Node, VotedGroup)> {
            let node = Node::connect(Mailbox::builder(address))?;
            let group = node.group(&name)?.voters(["leader"]).votes_as(voter).join()?;
            group.ready().wait()?;
            match group.set_voter(voter, group.incarnation(), 1).wait()? {
                true => Ok((node, group)),
                false => Err("no voter".into()),
            }
        };
        let [(_one, next), (_other, _)] = [join("one")?, join("other")?];
        let (term, lock) = (next.leadership().term(), next.mutex("lock").lock());
        next.confirm().wait()?;
        let began = Instant::now();
        leader.0.kill()?;
        term.wait()?;
        let led = began.elapsed();
        drop(lock.wait()?);
        if round > 0 {
            leads.push(led.as_secs_f64() * 1e6);
            holds.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    println!("from a kill to the next leader, us: {}", range(&leads));
    println!("from a kill to the next holder of a lock, us: {}", range(&holds));
    Ok(())
}

/// Measures from the end of the daemon of a leader that holds a lock to the next leader and the next
/// holder. The daemons are in this process: the other two know at once that it has ended.
fn failover_of_a_daemon(args: &Args) -> Result {
    let cluster = Cluster::builder().daemons(["d1", "d2", "d3"]).start()?;
    let (mut leads, mut holds) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let name = format!("daemon{round}");
        let join = |daemon: &str| -> Result<(Node, VotedGroup)> {
            let node = Node::connect(Mailbox::builder(cluster.address(daemon)?))?;
            let group = node.group(&name)?.voters(["d1", "d2", "d3"]).votes_as(daemon).join()?;
            Ok((node, group))
        };
        let voters = [join("d1")?, join("d2")?, join("d3")?];
        for (_, group) in &voters {
            group.confirm().wait()?;
        }
        let members = voters[0].1.wait_for_members(3, Duration::from_secs(10))?;
        let daemons = ["d1", "d2", "d3"].into_iter().zip(&voters);
        let mut by_seniority: Vec<(&str, &VotedGroup)> =
            daemons.map(|(daemon, (_, group))| (daemon, group)).collect();
        by_seniority.sort_by_key(|(_, group)| {
            members.iter().position(|member| member.incarnation == group.incarnation())
        });
        let [(daemon, leader), (_, next), _] = by_seniority[..] else {
            return Err("three voters".into());
        };
        let _held = (leader.leadership().term().wait()?, leader.mutex("lock").lock().wait()?);
        let (term, lock) = (next.leadership().term(), next.mutex("lock").lock());
        next.confirm().wait()?;
        let began = Instant::now();
        cluster.crash(daemon)?;
        term.wait()?;
        let led = began.elapsed();
        drop(lock.wait()?);
        if round > 0 {
            leads.push(led.as_secs_f64() * 1e6);
            holds.push(began.elapsed().as_secs_f64() * 1e6);
        }
        cluster.restart(daemon)?;
    }
    println!("from the end of a daemon to the next leader, us: {}", range(&leads));
    println!("from the end of a daemon to the next holder of a lock, us: {}", range(&holds));
    Ok(())
}

/// A process that leads a group and holds its lock.
struct Leader(Child);

impl Leader {
    fn start(address: &str, group: &str) -> Result<Leader> {
        let mut leader = Command::new(std::env::current_exe()?);
        let leader = leader.args(["--be-leader", address, group]);
        let mut leader = Leader(leader.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let output = leader.0.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut String::new())?;
        Ok(leader)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a leader does not end: {error}");
        }
    }
}

/// Leads a group and holds its lock until the end of the input.
fn be_leader(address: &str, group: &str) -> Result {
    let node = Node::connect(Mailbox::builder(address))?;
    let group = node.group(group)?.voters(["leader"]).votes_as("leader").join()?;
    let _held = (group.leadership().term().wait()?, group.mutex("lock").lock().wait()?);
    println!("leads");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn memory(address: &str, args: &Args) -> Result {
    let (_node, group) = member(address, "memory")?;
    let topic = group.topic::<Vec<u8>>("bytes");
    let mut subscription = topic.subscribe();
    for part in 0..=10 {
        println!("memory after {} messages: {} KiB", part * (args.messages / 10), resident()?);
        if part < 10 {
            let (parts, size, be_leader) = (Vec::new(), Vec::new(), Vec::new());
            let args = Args { count: args.messages / 10, parts, size, be_leader, ..*args };
            publish(&topic, &mut subscription, &args, 64)?;
        }
    }
    Ok(())
}

/// Returns the resident memory of this process in KiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(number.parse()?)
}

fn compare(what: &str, ours: &[f64], plain: &[f64]) {
    let ratios = ratios(ours, plain);
    println!("{what}: {}, plain {}; ratio {}", range(ours), range(plain), range(&ratios));
}

/// Returns the ratio of each round.
fn ratios(ours: &[f64], others: &[f64]) -> Vec<f64> {
    ours.iter().zip(others).map(|(ours, other)| ours / other).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Writes the median with its range.
fn range(values: &[f64]) -> String {
    let digits = if median(values) < 100.0 { 2 } else { 0 };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(values))
}

/// Is a daemon until the end of its input.
fn be_daemon() -> Result {
    let daemon = Daemon::builder().unix_dir("/tmp").start()?;
    println!("{}", daemon.unix_address().ok_or("no unix socket")?);
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    daemon.stop();
    Ok(())
}

struct OwnDaemon {
    child: Child,
    address: String,
}

impl OwnDaemon {
    fn start() -> Result<OwnDaemon> {
        let mut daemon = Command::new(std::env::current_exe()?);
        let daemon = daemon.arg("--be-daemon").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut daemon = OwnDaemon { child: daemon.spawn()?, address: String::new() };
        let output = daemon.child.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut daemon.address)?;
        daemon.address.truncate(daemon.address.trim_end().len());
        Ok(daemon)
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the daemon does not end: {error}");
        }
    }
}
