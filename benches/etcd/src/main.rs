//! Measures groups with voters beside etcd: puts that a majority of three has, in memory.
//!
//! ```sh
//! cargo build --release -p spreadd
//! cargo run --release --manifest-path benches/etcd/Cargo.toml
//! ```
//!
//! etcd runs as three processes on the loopback interface, with their files in memory
//! (`/dev/shm`), where a sync costs next to nothing. Its client speaks gRPC over HTTP/2 in one
//! thread: one connection to each server, and the puts in turn.
//!
//! The group has three voters, each a process, at one `spreadd`, by TCP on the loopback interface:
//! three daemons at three hosts would add the ring that orders between them.
//! The first voter is this program, which submits the puts of a map. Both sides put values of
//! `--size` bytes under 1,000 keys in turn, with the same number under way. Rounds are interleaved,
//! and a ratio is that of two neighbours; medians with their range.

mod etcd;
mod group;
mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures groups with voters beside etcd.
#[derive(Parser)]
struct Args {
    /// Bytes of a value
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Puts of a round; of those with one under way, a tenth
    #[arg(long, default_value_t = 20_000)]
    count: usize,
    /// Puts under way at most
    #[arg(long, value_delimiter = ',', default_value = "1,64,200")]
    window: Vec<usize>,
    /// Interleaved rounds of each side
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The daemon of Spread
    #[arg(long, default_value = "target/release/spreadd")]
    spreadd: PathBuf,
    /// The server of etcd
    #[arg(long, default_value = "/usr/bin/etcd")]
    etcd: PathBuf,
    /// Be a voter of this name at this daemon
    #[arg(long, hide = true, num_args = 2)]
    be_voter: Vec<String>,
}

fn main() -> Result {
    let args = Args::parse();
    if let [name, address] = args.be_voter.as_slice() {
        return group::be_voter(name, address);
    }
    let group = group::Voters::start(&args.spreadd)?;
    let etcd = etcd::Servers::start(&args.etcd)?;
    let value = vec![7; args.size];
    for window in &args.window {
        let count = if *window == 1 { args.count / 10 } else { args.count };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=args.rounds {
            let times = [group.puts(count, *window, &value)?, etcd.puts(count, *window, &value)?];
            // The first round warms up.
            if round > 0 {
                let [one, other] = times.map(|time| count as f64 / time.as_secs_f64());
                ours.push(one);
                theirs.push(other);
            }
        }
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(one, other)| one / other).collect();
        println!(
            "puts a second, {window} under way: voters {}, etcd {}, ratio {}",
            range(&ours),
            range(&theirs),
            range(&ratios)
        );
    }
    Ok(())
}

/// Returns the key of a put.
fn key(number: usize) -> String {
    format!("key/{}", number % 1000)
}

/// Measures the time of something.
fn timed(act: impl FnOnce() -> Result) -> Result<Duration> {
    let began = Instant::now();
    act()?;
    Ok(began.elapsed())
}

/// Writes the median with its range.
fn range(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
        return String::from("nothing");
    };
    let median = sorted[sorted.len() / 2];
    let digits = if median < 100.0 { 2 } else { 0 };
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}
