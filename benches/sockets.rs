//! What the sockets of this machine move from one thread to another, with nothing
//! else done: no client and no daemon can be faster.
//!
//! `sockets/c-library` has the system calls that the C library makes for a message, its own
//! daemon's part done by a thread that sends back what it reads.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes of a write: those of 64 messages of 64 bytes, and of 1, 2, 4 and 8 of 16 KiB,
/// with their headers and one group.
const WRITES: [usize; 5] = [64 * 144, 16_464, 2 * 16_464, 4 * 16_464, 8 * 16_464];

/// Bytes that are read at once, as the daemon does.
const READ: usize = 64 * 1024;

/// Writes, or messages, that are timed together.
const ROUND: usize = 1000;

/// What the C library sends one after the other of a message of 100 bytes to one group:
/// header and group, and body.
const SENDS: [usize; 2] = [80, 100];

/// What it receives one after the other.
const RECEIVES: [usize; 3] = [48, 32, 100];

/// Messages under way.
const WINDOW: usize = 200;

fn sockets(criterion: &mut Criterion) {
    bench(criterion, "sockets/unix", UnixStream::pair);
    bench(criterion, "sockets/tcp", tcp_pair);
    let mut group = criterion.benchmark_group("sockets/c-library");
    group.throughput(Throughput::Elements(ROUND as u64));
    group.bench_function("unix", |bencher| {
        bencher
            .iter_custom(|rounds| exchange(ROUND * rounds as usize).expect("all of it comes back"));
    });
    group.finish();
}

fn bench<S: Read + Write + Send>(
    criterion: &mut Criterion,
    name: &str,
    pair: impl Fn() -> io::Result<(S, S)>,
) {
    let mut group = criterion.benchmark_group(name);
    for len in WRITES {
        group.throughput(Throughput::Bytes((ROUND * len) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(len), &len, |bencher, &len| {
            bencher.iter_custom(|rounds| {
                let (from, to) = pair().expect("a pair of sockets");
                transfer(from, to, len, ROUND * rounds as usize).expect("all of it arrives")
            });
        });
    }
    group.finish();
}

/// The time from the first write to the last read.
fn transfer<S: Read + Write + Send>(
    mut from: S,
    mut to: S,
    len: usize,
    writes: usize,
) -> io::Result<Duration> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let bytes = vec![1; len];
            (0..writes).try_for_each(|_| from.write_all(&bytes))
        });
        let mut into = vec![0; READ];
        while to.read(&mut into)? > 0 {}
        writer.join().expect("the writer does not panic")
    })?;
    Ok(begin.elapsed())
}

/// The time that a client takes for so many messages, each of which comes back to it.
fn exchange(messages: usize) -> io::Result<Duration> {
    let (mut client, mut daemon) = UnixStream::pair()?;
    thread::scope(|scope| {
        let daemon = scope.spawn(move || {
            let mut bytes = vec![0; READ];
            loop {
                match daemon.read(&mut bytes)? {
                    0 => return Ok(()),
                    count => daemon.write_all(&bytes[..count])?,
                }
            }
        });
        let mut bytes = [0; 100];
        let begin = Instant::now();
        for message in 0..messages + WINDOW {
            if message < messages {
                SENDS.iter().try_for_each(|&len| client.write_all(&bytes[..len]))?;
            }
            if message >= WINDOW {
                RECEIVES.iter().try_for_each(|&len| client.read_exact(&mut bytes[..len]))?;
            }
        }
        let taken = begin.elapsed();
        drop(client);
        daemon.join().expect("the daemon does not panic").map(|()| taken)
    })
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let from = TcpStream::connect(listener.local_addr()?)?;
    from.set_nodelay(true)?;
    Ok((from, listener.accept()?.0))
}

criterion_group!(benches, sockets);
criterion_main!(benches);
