//! What the sockets of this machine move from one thread to another, with nothing
//! else done: no client and no daemon can be faster.

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

/// Writes that are timed together.
const ROUND: usize = 1000;

fn sockets(criterion: &mut Criterion) {
    bench(criterion, "sockets/unix", UnixStream::pair);
    bench(criterion, "sockets/tcp", tcp_pair);
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

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let from = TcpStream::connect(listener.local_addr()?)?;
    from.set_nodelay(true)?;
    Ok((from, listener.accept()?.0))
}

criterion_group!(benches, sockets);
criterion_main!(benches);
