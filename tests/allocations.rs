//! Receiving into a buffer takes no memory besides it, and sending batches takes
//! only that of the first ones.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use spread::{Batch, Library, MessageBuffer, MessageRef, Service};
use spread_wire::HEADER_LEN;
use spread_wire::limits::NAME_FIELD;
use support::{PATIENCE, TestDaemon, library, on_each_transport, unique, wait_queued};

on_each_transport!(receiving_into_a_buffer_allocates_nothing, a_batch_keeps_its_memory);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the allocations of each thread, so that the daemon's are apart.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is done by the system's allocator, with the arguments as they came.
// To count takes no memory, and a thread whose counter is gone is not counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches that the memory came from `alloc` or `realloc`
        // with this layout, and so from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as for `dealloc`, and the caller vouches for the length.
        unsafe { System.realloc(memory, layout, len) }
    }
}

fn receiving_into_a_buffer_allocates_nothing(daemon: TestDaemon) {
    const COUNT: usize = 10_000;
    const WARM_UP: usize = 3;
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    let mut buffer = MessageBuffer::new();
    assert!(matches!(alice.receive_into(&mut buffer).unwrap(), MessageRef::Other(_)));

    // Real Spread takes no more from a client that has much to read.
    for (len, count, in_a_burst) in [(100, COUNT, 100), (20_000, COUNT / 10, 2)] {
        let body = vec![1; len];
        let mut allocated = 0;
        // The first bursts warm up: a large message may lie in one of three buffers, and the
        // memory for small ones is as large as what has come at once.
        for burst in 0..WARM_UP + count / in_a_burst {
            for _ in 0..in_a_burst {
                alice.multicast(Service::Agreed, &group, &body).unwrap();
            }
            if burst < WARM_UP {
                wait_queued(&alice, in_a_burst * (HEADER_LEN + NAME_FIELD + len));
            }
            let before = ALLOCATIONS.get();
            for _ in 0..in_a_burst {
                match alice.receive_into(&mut buffer).unwrap() {
                    MessageRef::Regular(message) => assert_eq!(message.payload(), body),
                    other => panic!("{other:?}"),
                }
            }
            if burst >= WARM_UP {
                allocated += ALLOCATIONS.get() - before;
            }
        }
        assert_eq!(allocated, 0, "allocations for {count} messages of {len} bytes");
    }
    assert_eq!(alice.receive_timeout(PATIENCE / 1000).unwrap(), None);
}

fn a_batch_keeps_its_memory(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let mut buffer = MessageBuffer::new();
    let mut batch = Batch::new();
    let mut allocated = 0;
    for burst in 0..100 {
        let before = ALLOCATIONS.get();
        for _ in 0..50 {
            batch.push(Service::Fifo, alice.private_group(), [1; 100]).unwrap();
        }
        alice.multicast_batch(&mut batch).unwrap();
        // The first burst warms up.
        if burst > 0 {
            allocated += ALLOCATIONS.get() - before;
        }
        for _ in 0..50 {
            alice.receive_into(&mut buffer).unwrap();
        }
    }
    // libspread sends each message by itself.
    if library() == Library::Native {
        assert_eq!(allocated, 0);
    }
}
