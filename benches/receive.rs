//! What it costs a client to receive a message into memory that is used again.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spread::{Mailbox, MessageBuffer, MessageRef};
use support::Transport;
use support::peer::{Peer, message};

/// Bytes on the wire in a burst, few enough for any socket: all of them are there
/// before they are received, so that the time is that of the client alone.
const BURST: usize = 64 * 1024;

fn receive(criterion: &mut Criterion) {
    for (name, transport) in [("receive/unix", Transport::Unix), ("receive/tcp", Transport::Tcp)] {
        let mut group = criterion.benchmark_group(name);
        for size in [64, 1024, 16 * 1024] {
            let message = message(&vec![0; size]);
            let messages = BURST / message.len();
            group.throughput(Throughput::Elements(messages as u64));
            group.bench_with_input(
                BenchmarkId::from_parameter(size),
                &message,
                |bencher, message| {
                    let mut bursts = Bursts::start(transport, message, messages);
                    bencher.iter_custom(|count| (0..count).map(|_| bursts.receive()).sum());
                },
            );
        }
        group.finish();
    }
}

/// A client, and a daemon that sends it bursts of messages when it is told to.
struct Bursts {
    /// Dropped first: the client waits for the daemon to be done with it.
    next: mpsc::Sender<()>,
    sent: mpsc::Receiver<()>,
    mailbox: Mailbox,
    buffer: MessageBuffer,
    messages: usize,
    /// Dropped last: it waits for the client to be gone.
    _peer: Peer,
}

impl Bursts {
    fn start(transport: Transport, message: &[u8], messages: usize) -> Bursts {
        let burst = message.repeat(messages);
        let (next, asked) = mpsc::channel();
        let (tell, sent) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            for () in asked {
                client.send(&burst)?;
                // The bench may be over.
                let _ = tell.send(());
            }
            Ok(())
        });
        let mailbox = Mailbox::connect(peer.address()).expect("a peer that accepts");
        Bursts { next, sent, mailbox, buffer: MessageBuffer::new(), messages, _peer: peer }
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
