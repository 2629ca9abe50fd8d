//! What it costs a client to receive a message into memory that is used again.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spread::{Mailbox, MessageBuffer, MessageRef};
use support::Transport;
use support::peer::{Peer, message};

/// Bytes in a burst, so that it is all in the socket before it is received: the time
/// is that of the client alone.
const BURST: usize = 64 * 1024;

fn receive(criterion: &mut Criterion) {
    for (name, transport) in [("receive/unix", Transport::Unix), ("receive/tcp", Transport::Tcp)] {
        let mut group = criterion.benchmark_group(name);
        for size in [64, 1024, 16 * 1024] {
            let messages = BURST / size;
            group.throughput(Throughput::Elements(messages as u64));
            group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, size| {
                let mut bursts = Bursts::start(transport, *size, messages);
                bencher.iter_custom(|count| (0..count).map(|_| bursts.receive()).sum());
            });
        }
        group.finish();
    }
}

/// A client, and a daemon that sends it bursts of messages when it is told to.
struct Bursts {
    mailbox: Mailbox,
    buffer: MessageBuffer,
    messages: usize,
    next: mpsc::Sender<()>,
    sent: mpsc::Receiver<()>,
    /// Dropped last: it waits for the client to be gone.
    _peer: Peer,
}

impl Bursts {
    fn start(transport: Transport, size: usize, messages: usize) -> Bursts {
        let burst = message(&vec![0; size]).repeat(messages);
        let (next, asked) = mpsc::channel();
        let (tell, sent) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            for () in asked {
                client.send(&burst)?;
                // The bench may be over.
                drop(tell.send(()));
            }
            Ok(())
        });
        let mailbox = Mailbox::connect(peer.address()).expect("a peer that accepts");
        Bursts { mailbox, buffer: MessageBuffer::new(), messages, next, sent, _peer: peer }
    }

    fn receive(&mut self) -> Duration {
        self.next.send(()).expect("a peer that runs");
        self.sent.recv().expect("a burst");
        let begin = Instant::now();
        for _ in 0..self.messages {
            let message = self.mailbox.receive_into(&mut self.buffer).expect("a message");
            assert!(matches!(message, MessageRef::Regular(_)));
        }
        begin.elapsed()
    }
}

criterion_group!(benches, receive);
criterion_main!(benches);
