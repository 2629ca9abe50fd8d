//! To deliver a message takes the daemon no memory of its own.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use spread_daemon::Daemon;
use spread_wire::handshake::Connect;
use spread_wire::{Name, Request, Service};
use support::client::Client;

/// The allocations of all threads but those of the test.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count() {
    if !IS_TEST.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all is done by the system's allocator, with the arguments as they came.
// To count takes no memory, and a thread whose mark is gone is not counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches that the memory came from `alloc` or `realloc`
        // with this layout, and so from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and the caller vouches for the length.
        unsafe { System.realloc(memory, layout, len) }
    }
}

#[test]
fn a_burst_allocates_the_same_whatever_the_number_of_messages_and_receivers() {
    IS_TEST.set(true);
    const BURSTS: usize = 100;
    // A burst may come in several pieces, and each cut a message in two.
    const FOR_A_BURST: usize = 4;
    for (len, messages, receivers) in [(64, 10, 1), (64, 200, 1), (64, 200, 20), (1000, 50, 20)] {
        let daemon = Daemon::builder().start().unwrap();
        let group = [Name::new("group").unwrap()];
        let quiet = |name: String| {
            let mut connect = Connect::new(Some(name.parse().unwrap()));
            connect.membership = false;
            Client::try_connect(daemon.socket_addr(), connect).unwrap()
        };
        let mut clients: Vec<Client> = (0..receivers).map(|n| quiet(format!("r{n}"))).collect();
        for client in &mut clients {
            client.request(&Request::Join(group[0]));
            client.receive_until_handled();
        }
        let mut sender = quiet("sender".to_owned());
        let body = vec![0; len];
        let burst = sender.encode(&Request::multicast(Service::Agreed, &group, &body));
        let burst = burst.repeat(messages);
        let mut received = vec![0; burst.len()];
        let mut before = 0;
        for number in 0..=BURSTS {
            // The first one warms up.
            if number == 1 {
                before = ALLOCATIONS.load(Ordering::Relaxed);
            }
            sender.send(&burst);
            for client in &mut clients {
                client.stream.read_exact(&mut received).unwrap();
                assert!(received == burst);
            }
        }
        assert!(before > 0, "the daemon's are not counted");
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(
            allocated <= BURSTS * FOR_A_BURST,
            "{allocated} allocations for {BURSTS} bursts of {messages} to {receivers}"
        );
    }
}
