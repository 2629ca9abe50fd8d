//! Measures the asynchronous client of Spread beside async-nats.
//!
//! ```sh
//! cargo build --release -p spreadd
//! cargo run --release --manifest-path benches/nats/Cargo.toml
//! ```
//!
//! Each client library talks to its own server over TCP on the loopback interface: `spreadd`
//! and `nats-server`, which this program starts and ends. The programs on top are the same
//! functions for both ([`workload`]). All clients run in one tokio runtime with two worker
//! threads (`--threads`). The runs of the sides are interleaved, and a ratio is that of two neighbours.

mod client;
mod nats;
mod server;
mod spread;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use client::Client;
use nats::Nats;
use server::Server;
use spread::{Buffered, Plain};
use workload::Case;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures the asynchronous client of Spread beside async-nats.
#[derive(Parser)]
struct Options {
    /// What to measure; all of it unless named
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Bytes a message
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_value = "64,1024")]
    size: Vec<usize>,
    /// Messages of a run; in pingpong a twentieth of them make round trips
    #[arg(long, default_value_t = 200_000)]
    count: usize,
    /// Messages under way at the most
    #[arg(long, default_value_t = 200)]
    window: usize,
    /// Receivers of fanout
    #[arg(long, default_value_t = 4)]
    receivers: usize,
    /// Worker threads of the runtime
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Interleaved runs of each side
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Measures this side only
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// The daemon of Spread
    #[arg(long, default_value = "target/release/spreadd")]
    spreadd: PathBuf,
    /// The server of NATS
    #[arg(long, default_value = "nats-server")]
    nats_server: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    /// One client sends to a group that it is in
    Flood,
    /// One client sends, others receive
    Fanout,
    /// A message goes to another client and back
    #[value(name = "pingpong")]
    PingPong,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// async-nats
    Nats,
    /// AsyncMailbox::multicast_buffered
    Buffered,
    /// AsyncMailbox::multicast
    Plain,
}

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(30);

const SIDES: [Side; 3] = [Side::Nats, Side::Buffered, Side::Plain];

fn main() -> Result {
    let options = Options::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(options.threads).enable_all().build()?;
    let spreadd = Server::spreadd(&options.spreadd)?;
    let nats = Server::nats(&options.nats_server)?;
    let workloads = match options.workloads.as_slice() {
        [] => Workload::value_variants(),
        some => some,
    };
    println!("{:22} {:>10} {:>10} {:>10}   ratio to nats (range)", "", "nats", "buffered", "plain");
    for workload in workloads {
        for &size in &options.size {
            let case = Case {
                size,
                count: options.count,
                window: options.window,
                receivers: options.receivers,
            };
            let mut figures = [const { Vec::new() }; SIDES.len()];
            // The first run warms up.
            for run in 0..=options.runs {
                for (side, figures) in SIDES.into_iter().zip(&mut figures) {
                    if options.only.is_some_and(|only| only != side) {
                        continue;
                    }
                    let figure = runtime.block_on(async {
                        match side {
                            Side::Nats => measure::<Nats>(*workload, case, nats.address()).await,
                            Side::Buffered => {
                                measure::<Buffered>(*workload, case, spreadd.address()).await
                            }
                            Side::Plain => {
                                measure::<Plain>(*workload, case, spreadd.address()).await
                            }
                        }
                    })?;
                    if run > 0 {
                        figures.push(figure);
                    }
                }
            }
            print_row(*workload, &case, &figures);
        }
    }
    Ok(())
}

/// Messages a second, or in pingpong the median of the round trips in microseconds.
async fn measure<C: Client>(workload: Workload, case: Case, address: &str) -> Result<f64> {
    let address = address.to_owned();
    // In a task, so that a worker thread runs it.
    let run = async move {
        match workload {
            Workload::Flood => workload::flood::<C>(&address, case).await,
            Workload::Fanout => workload::fan_out::<C>(&address, case).await,
            Workload::PingPong => workload::ping_pong::<C>(&address, case).await,
        }
    };
    let run = tokio::time::timeout(PATIENCE, tokio::spawn(run));
    run.await.map_err(|_| format!("{} has stalled", std::any::type_name::<C>()))??
}

fn print_row(workload: Workload, case: &Case, [nats, buffered, plain]: &[Vec<f64>; 3]) {
    let (name, unit, scale) = match workload {
        Workload::Flood => ("flood".to_owned(), "k/s", 1000.0),
        Workload::Fanout => (format!("fan-out to {}", case.receivers), "k/s", 1000.0),
        Workload::PingPong => ("ping-pong p50".to_owned(), "us", 1.0),
    };
    let shown = |figures: &[f64]| match median(figures.to_vec()) {
        Some(median) => format!("{:.1}", median / scale),
        None => "-".to_owned(),
    };
    let ratios = |ours: &[f64]| {
        let mut ratios: Vec<f64> = ours.iter().zip(nats).map(|(ours, nats)| ours / nats).collect();
        ratios.sort_by(f64::total_cmp);
        match (median(ratios.clone()), ratios.first(), ratios.last()) {
            (Some(median), Some(least), Some(most)) => {
                format!("{median:.2} ({least:.2} to {most:.2})")
            }
            _ => "-".to_owned(),
        }
    };
    println!(
        "{:22} {:>10} {:>10} {:>10}   {}, plain {}",
        format!("{name}, {} B, {unit}", case.size),
        shown(nats),
        shown(buffered),
        shown(plain),
        ratios(buffered),
        ratios(plain),
    );
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
