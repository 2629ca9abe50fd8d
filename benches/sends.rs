//! Messages that are sent singly, beside a bare program that writes the same bytes.
//!
//! ```sh
//! taskset -c 1 cargo bench --bench sends
//! ```
//!
//! A mailbox multicasts to a group without members; the bare program makes one write of as
//! many bytes a message, to a thread that reads 64 KiB at a time. Both go over unix sockets,
//! to a thread of this process, and are timed until everything has been read. They are
//! measured interleaved; printed are the medians of the rates, and the median and the range
//! of their ratio.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use spread::{GroupName, Mailbox, MessageBuffer, Service};
use spread_daemon::Daemon;

const MESSAGES: u32 = 100_000;
const ROUNDS: usize = 15;

/// Header and one group.
const HEAD: usize = 80;

fn main() -> Result<(), Box<dyn Error>> {
    let daemon = Daemon::builder().unix_dir("/tmp").start()?;
    let address = daemon.unix_address().ok_or("a unix socket")?;
    println!("   size   mailbox/s      bare/s   ratio (range)");
    for size in [0, 64, 256, 1024, 1300] {
        let mut mailbox = Mailbox::connect(&address)?;
        let mut ours = Vec::new();
        let mut bare = Vec::new();
        for round in 0..=ROUNDS {
            let times = (mailbox_sends(&mut mailbox, size)?, bare_writes(HEAD + size)?);
            // The first round warms up.
            if round > 0 {
                ours.push(rate(times.0));
                bare.push(rate(times.1));
            }
        }
        let mut ratios: Vec<f64> = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
        let (ratio, ours, bare) = (median(&mut ratios), median(&mut ours), median(&mut bare));
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!("{size:7} {ours:11.0} {bare:11.0}   {ratio:.2} ({least:.2} to {most:.2})");
        mailbox.disconnect()?;
    }
    Ok(())
}

/// Multicasts to a group without members, until the daemon has taken everything.
fn mailbox_sends(mailbox: &mut Mailbox, size: usize) -> Result<Duration, Box<dyn Error>> {
    let (nobody, payload) = (GroupName::new("nobody")?, vec![7; size]);
    let begin = Instant::now();
    for _ in 0..MESSAGES {
        mailbox.multicast(Service::Agreed, nobody, &payload)?;
    }
    mailbox.multicast(Service::Agreed, mailbox.private_group(), b"")?;
    mailbox.receive_into(&mut MessageBuffer::new())?;
    Ok(begin.elapsed())
}

/// Makes a write a message, until a thread has read everything.
fn bare_writes(len: usize) -> Result<Duration, Box<dyn Error>> {
    let (mut writer, mut reader) = UnixStream::pair()?;
    let all = len * MESSAGES as usize;
    let reading = thread::spawn(move || {
        let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
        while read < all {
            read += reader.read(&mut buffer)?;
        }
        reader.write_all(&[1])
    });
    let message = vec![7; len];
    let begin = Instant::now();
    for _ in 0..MESSAGES {
        writer.write_all(&message)?;
    }
    writer.read_exact(&mut [0])?;
    let time = begin.elapsed();
    reading.join().map_err(|_| "the reader panicked")??;
    Ok(time)
}

fn rate(time: Duration) -> f64 {
    f64::from(MESSAGES) / time.as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
