//! Fast senders and slow receivers.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use spread_daemon::{Access, AccessPolicy, ClientInfo, Daemon, Sending, SlowReceivers};
use spread_wire::handshake::Connect;
use spread_wire::{Cause, Delivery, Name, Request, Service};
use support::client::Client;

#[test]
fn a_receiver_that_does_not_read_is_cut_off_and_the_others_go_on() {
    let daemon = Daemon::builder().max_session_messages(10).start().unwrap();
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut good = Client::connect(daemon.socket_addr(), "good");
    good.join("group");

    let body = vec![0; 100_000];
    let mut sent = 0;
    let cut_off = loop {
        good.multicast("group", &body);
        sent += 1;
        let frame = good.receive().expect("the good one stays");
        if let Delivery::View { cause, body, .. } = Delivery::parse(&frame).unwrap() {
            break (cause, body.vs_sets);
        }
        assert!(sent < 10_000, "a gigabyte is queued for a client that does not read");
    };
    assert_eq!(cut_off, (Cause::Disconnect, vec![vec![slow.private_group]]));
    assert_eq!(good.receive_body(), body, "the message that was one too many");
    slow.wait_for_close();

    good.multicast("group", b"and on");
    assert_eq!(good.receive_body(), b"and on");
}

#[test]
fn a_burst_does_not_cut_off_a_receiver_that_reads() {
    const MESSAGES: u32 = 50_000;
    let daemon = Daemon::builder().start().unwrap();
    let mut receiver = Client::connect(daemon.socket_addr(), "receiver");
    receiver.join("group");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            sender.multicast("group", &number.to_le_bytes());
        }
        sender
    });
    for number in 0..MESSAGES {
        assert_eq!(receiver.receive_body(), number.to_le_bytes());
    }
    sending.join().unwrap();
}

#[test]
fn a_sender_that_does_not_read_its_own_messages_is_read_all_the_same() {
    const MESSAGES: u32 = 200;
    let daemon = Daemon::builder().max_session_messages(250).start().unwrap();
    let mut lone = Client::connect(daemon.socket_addr(), "lone");
    lone.join("group");
    let mut body = vec![0; 100_000];
    for number in 0..MESSAGES {
        body[..4].copy_from_slice(&number.to_le_bytes());
        lone.multicast("group", &body);
    }
    for number in 0..MESSAGES {
        body[..4].copy_from_slice(&number.to_le_bytes());
        assert!(lone.receive_body() == body, "message {number}");
    }
}

#[test]
fn with_backpressure_a_sender_waits_and_nobody_is_cut_off() {
    const MESSAGES: u32 = 2000;
    let daemon = Daemon::builder()
        .max_session_messages(10)
        .slow_receivers(SlowReceivers::Backpressure)
        .start()
        .unwrap();
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut other = Client::connect(daemon.socket_addr(), "other");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    let (progress, sent) = channel();
    let sending = thread::spawn(move || {
        let mut body = vec![0; 50_000];
        for number in 0..MESSAGES {
            body[..4].copy_from_slice(&number.to_le_bytes());
            sender.multicast("group", &body);
            progress.send(number).unwrap();
        }
        sender
    });
    // Nobody reads, so at some point it can send no more.
    let mut last = 0;
    while let Ok(number) = sent.recv_timeout(Duration::from_millis(500)) {
        last = number;
    }
    assert!(last < MESSAGES - 1, "a hundred megabytes are queued");
    other.multicast("#other#localhost", b"not held up");
    assert_eq!(other.receive_body(), b"not held up");
    let status = daemon.status().unwrap();
    assert!(status.queued() <= 10 / 2 + 2, "{} are queued", status.queued());
    for number in 0..MESSAGES {
        assert_eq!(slow.receive_body()[..4], number.to_le_bytes());
    }
    sending.join().unwrap();
    assert_eq!(daemon.status().unwrap().totals.cut_off, 0);
}

#[test]
fn what_waits_for_all_clients_together_is_bounded() {
    const BOUND: usize = 4 << 20;
    let daemon = Daemon::builder().max_queued_bytes(BOUND).start().unwrap();
    let mut good = Client::connect(daemon.socket_addr(), "good");
    let mut stuck: Vec<Client> = (0..5)
        .map(|number| {
            let mut client = Client::connect(daemon.socket_addr(), &format!("stuck{number}"));
            client.join(&format!("group{number}"));
            client
        })
        .collect();
    let mut most = 0;
    // Short and long messages, interleaved among the receivers.
    for number in 0..2000 {
        let body = vec![0; if number % 2 == 0 { 1000 } else { 60_000 }];
        good.multicast(&format!("group{}", number % 5), &body);
        if number % 10 == 0 {
            good.multicast("#good#localhost", b"so far");
            assert_eq!(good.receive_body(), b"so far");
            most = most.max(daemon.status().unwrap().queued_bytes);
        }
    }
    assert!(most > BOUND / 2 && most <= BOUND, "{most} bytes are queued");
    assert!(daemon.status().unwrap().totals.cut_off > 0);
    stuck.iter_mut().for_each(Client::wait_for_close);
    assert_eq!(daemon.status().unwrap().queued_bytes, 0);
}

#[test]
fn one_message_for_many_counts_once() {
    let daemon = Daemon::builder().max_queued_bytes(1 << 20).start().unwrap();
    let mut good = Client::connect(daemon.socket_addr(), "good");
    let quiet = |name: &str| {
        let mut connect = Connect::new(Some(name.parse().unwrap()));
        connect.membership = false;
        Client::try_connect(daemon.socket_addr(), connect).unwrap()
    };
    let mut many: Vec<Client> = (0..50).map(|n| quiet(&format!("m{n}"))).collect();
    many.iter_mut().for_each(|client| {
        client.request(&Request::Join(Name::new("group").unwrap()));
        client.receive_until_handled();
    });
    // Twice the bound, if each were to count by itself.
    good.multicast("group", &[7; 40_000]);
    for client in &mut many {
        assert_eq!(client.receive_body().len(), 40_000);
    }
    assert_eq!(daemon.status().unwrap().totals.cut_off, 0);
}

#[test]
fn a_client_joins_no_more_groups_than_it_may() {
    let daemon = Daemon::builder().max_session_groups(2).start().unwrap();
    let mut client = Client::connect(daemon.socket_addr(), "client");
    client.join("one");
    client.join("two");
    client.request(&Request::Join(Name::new("three").unwrap()));
    let frame = client.receive().unwrap();
    let Delivery::Rejected(back) = Delivery::parse(&frame).unwrap() else { panic!("{frame:?}") };
    assert_eq!((back.old_type, back.groups.get(0)), (Cause::Join.flag(), Name::new("three").ok()));
    client.request(&Request::Leave(Name::new("one").unwrap()));
    assert!(client.receive().unwrap().header().service_type.is_self_leave());
    client.join("three");
}

#[test]
fn a_busy_sender_does_not_keep_others_waiting() {
    let daemon = Daemon::builder().start().unwrap();
    let mut busy = Client::connect(daemon.socket_addr(), "busy");
    let mut calm = Client::connect(daemon.socket_addr(), "calm");
    calm.join("calm");
    // Nobody is in the group, so nothing slows it down.
    let flood = thread::spawn(move || while !busy_is_closed(&mut busy) {});
    for _ in 0..100 {
        calm.multicast("calm", b"my turn");
        assert_eq!(calm.receive_body(), b"my turn");
    }
    daemon.stop();
    flood.join().unwrap();
}

fn busy_is_closed(busy: &mut Client) -> bool {
    use std::io::Write;
    let group = [Name::new("nobody").unwrap()];
    let message = Request::multicast(Service::Fifo, &group, &[0; 1000]);
    let bytes = busy.encode(&message).repeat(100);
    busy.stream.write_all(&bytes).is_err()
}

/// Bytes of the body of a message of [`paused_sender`].
const BODY: usize = 50_000;

/// Returns a client in `group` that does not read, a sender to it that is paused by
/// backpressure, and how many whole messages it has sent.
fn paused_sender(daemon: &Daemon) -> (Client, Client, usize) {
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    sender.join("watched");
    let groups = [Name::new("group").unwrap()];
    sender.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    for number in 0_usize.. {
        let body = number.to_le_bytes().repeat(BODY / 8);
        let message = sender.encode(&Request::multicast(Service::Agreed, &groups, &body));
        // Until the daemon reads no more.
        if std::io::Write::write_all(&mut sender.stream, &message).is_err() {
            return (slow, sender, number);
        }
    }
    unreachable!("the daemon reads without end")
}

#[test]
fn a_paused_sender_that_is_killed_leaves_though_its_receiver_does_not_read() {
    let daemon = Daemon::builder()
        .max_session_messages(10)
        .slow_receivers(SlowReceivers::Backpressure)
        .start()
        .unwrap();
    let mut watcher = Client::connect(daemon.socket_addr(), "watcher");
    watcher.join("watched");
    let (slow, sender, _) = paused_sender(&daemon);
    assert_eq!(watcher.receive_view(), ("watched".to_owned(), Cause::Join));
    let start = Instant::now();
    drop(sender);
    assert_eq!(watcher.receive_view(), ("watched".to_owned(), Cause::Disconnect));
    // The receiver reads nothing before, and only a busy machine takes a second.
    let gone_after = start.elapsed();
    assert!(gone_after < Duration::from_secs(5), "the sender was gone after {gone_after:?}");
    Client::connect(daemon.socket_addr(), "sender").join("watched");
    drop(slow);
}

#[test]
fn draining_comes_after_all_that_a_paused_sender_had_sent() {
    let daemon = Daemon::builder()
        .max_session_messages(20)
        .slow_receivers(SlowReceivers::Backpressure)
        .start()
        .unwrap();
    let (mut slow, _sender, sent) = paused_sender(&daemon);
    daemon.stop_handle().drain(Duration::from_secs(20));
    for number in 0..sent {
        assert_eq!(slow.receive_body()[..8], number.to_le_bytes());
    }
    slow.wait_for_close();
    daemon.wait().unwrap();
}

/// An access policy that makes the daemon slow.
#[derive(Debug)]
struct Slow;

impl AccessPolicy for Slow {
    fn multicast(&self, _: &ClientInfo, _: &Sending<'_>) -> Access {
        thread::sleep(Duration::from_millis(2));
        Access::Allowed
    }
}

#[test]
fn draining_ends_though_a_client_sends_faster_than_the_daemon_handles() {
    let daemon = Daemon::builder().access_policy(Slow).start().unwrap();
    let mut busy = Client::connect(daemon.socket_addr(), "busy");
    let flood = thread::spawn(move || while !busy_is_closed(&mut busy) {});
    while daemon.status().unwrap().totals.received == 0 {
        thread::yield_now();
    }
    let start = Instant::now();
    daemon.stop_handle().drain(Duration::from_secs(20));
    daemon.wait().unwrap();
    // A second, and the turn of the loop in which it is over.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    flood.join().unwrap();
}

/// An access policy that counts messages and is stuck at the first of them.
#[derive(Debug)]
struct Stuck {
    entered: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    asked: Arc<AtomicUsize>,
}

impl AccessPolicy for Stuck {
    fn multicast(&self, _: &ClientInfo, _: &Sending<'_>) -> Access {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            self.entered.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        Access::Allowed
    }
}

#[test]
fn stopping_ends_a_drain_before_all_that_clients_had_sent_is_read() {
    let (entered, is_stuck) = channel();
    let (go_on, may_go_on) = channel();
    let asked = Arc::<AtomicUsize>::default();
    let policy = Stuck { entered, go_on: Mutex::new(may_go_on), asked: Arc::clone(&asked) };
    let daemon = Daemon::builder().access_policy(policy).start().unwrap();
    let mut busy = Client::connect(daemon.socket_addr(), "busy");
    // A hundred messages, of which the daemon reads 64 KiB at once.
    assert!(!busy_is_closed(&mut busy));
    is_stuck.recv().unwrap();
    let stop = daemon.stop_handle();
    stop.drain(Duration::from_secs(20));
    stop.stop();
    go_on.send(()).unwrap();
    daemon.wait().unwrap();
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked <= 65, "{asked} messages were handled");
}
