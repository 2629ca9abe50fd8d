//! The installed library and the bundled one side by side: the same calls must
//! have the same results, field by field.

#![cfg(feature = "system")]

use std::ffi::{CStr, c_void};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use bytes::BytesMut;
use spread_wire::handshake::{Daemon as Handshake, DaemonStep};
use spread_wire::{
    ByteOrder, Cause, Delivery, GroupId, Groups, MembershipBody, Name, PrivateGroup, PrivateName,
    Regular, Reject, Service, ServiceType,
};

mod installed {
    use spread_sys as library;
    include!("both/calls.rs");
}

mod bundled {
    use libspread as library;
    include!("both/calls.rs");
}

/// All that a receive tells.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    code: i32,
    service: i32,
    sender: String,
    num_groups: i32,
    groups: Vec<String>,
    mess_type: i16,
    mismatch: i32,
    body: Vec<u8>,
    changed: Option<Changed>,
}

/// What the getters tell of a membership message.
#[derive(Debug, PartialEq, Eq)]
struct Changed {
    code: i32,
    member: String,
    num_vs_sets: u32,
    my_vs_set: (u32, u32),
    count: i32,
    sets: Vec<(u32, Vec<String>)>,
    own: u32,
}

/// Defines a function that calls one library, and a test that calls both.
macro_rules! alike {
    ($($(#[$meta:meta])* fn $name:ident($address:ident: &str, $Session:ident) -> $result:ty = $daemon:expr, $body:block)*) => {
        $($(#[$meta])* #[test]
        fn $name() {
            let of_installed = {
                use installed::Session as $Session;
                let daemon = $daemon;
                let $address: &str = &daemon.address();
                let result: $result = $body;
                result
            };
            let of_bundled = {
                use bundled::Session as $Session;
                let daemon = $daemon;
                let $address: &str = &daemon.address();
                let result: $result = $body;
                result
            };
            assert_eq!(of_installed.len(), of_bundled.len());
            for (index, (installed, bundled)) in of_installed.iter().zip(&of_bundled).enumerate() {
                assert_eq!(installed, bundled, "result {index}");
            }
        })*
    };
}

/// The file that a function is in.
fn file_of(function: *const c_void) -> String {
    // SAFETY: all zeros is nothing found.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the answer, which names a file that is loaded.
    unsafe {
        assert_ne!(libc::dladdr(function, &mut info), 0);
        CStr::from_ptr(info.dli_fname).to_str().unwrap().to_owned()
    }
}

#[test]
fn they_are_two_libraries() {
    let installed = spread_sys::SP_version as *const c_void;
    let bundled = libspread::SP_version as *const c_void;
    assert_ne!(installed, bundled);
    if !option_env!("SPREAD_STATIC").is_some_and(|value| !value.is_empty() && value != "0") {
        assert!(file_of(installed).contains("libspread.so"), "{}", file_of(installed));
    }
    assert!(!file_of(bundled).contains("libspread.so"), "{}", file_of(bundled));
}

fn live() -> spread_daemon::Daemon {
    spread_daemon::Daemon::builder().start().expect("an embedded daemon")
}

/// The ids of views are those of each daemon.
fn without_ids(mut received: Vec<Received>) -> Vec<Received> {
    received.iter_mut().filter(|r| r.changed.is_some()).for_each(|r| r.body[..12].fill(0));
    received
}

const DROP_RECV: i32 = libspread::DROP_RECV;

alike! {
    fn a_conversation_is_the_same(address: &str, Session) -> Vec<Received> = live(), {
        let alice = Session::connect(address, "alice").unwrap();
        let bob = Session::connect(address, "bob").unwrap();
        assert_eq!(alice.join("g"), 0);
        let mut received = vec![alice.receive(0, 5, 500)];
        assert_eq!(bob.join("g"), 0);
        received.extend([alice.receive(0, 5, 500), bob.receive(0, 5, 500)]);
        for service in [1, 2, 4, 8, 16, 32, 16 | 64] {
            assert_eq!(bob.multicast(service, &["g", "h", "#alice#localhost"], -9, b"body"), 4);
            received.push(alice.receive(0, 5, 500));
        }
        assert_eq!(bob.leave("g"), 0);
        received.extend([alice.receive(0, 5, 500)]);
        drop(bob);
        without_ids(received)
    }

    fn what_is_too_short_is_told_alike(address: &str, Session) -> Vec<Received> = live(), {
        let alice = Session::connect(address, "alice").unwrap();
        let to = ["#alice#localhost", "g", "h"];
        let mut received = Vec::new();
        assert_eq!(alice.multicast(16, &to, 3, b"0123456789"), 10);
        for (groups, len) in [(0, 0), (2, 20), (3, 9), (0, 10), (3, 0), (3, 10)] {
            received.push(alice.receive(0, groups, len));
        }
        for (groups, len) in [(3, 4), (1, 20), (0, 0), (3, 10)] {
            assert_eq!(alice.multicast(16, &to, 3, b"0123456789"), 10);
            let mut cut = alice.receive(DROP_RECV, groups, len);
            // Of names that were cut nothing is promised.
            cut.groups.truncate(groups);
            received.push(cut);
        }
        assert_eq!(alice.join("g"), 0);
        for (groups, len) in [(0, 0), (1, 10), (0, 56), (1, 56)] {
            received.push(alice.receive(0, groups, len));
        }
        assert_eq!(alice.poll(), 0);
        without_ids(received)
    }

    fn refusals_are_the_same(address: &str, Session) -> Vec<i32> = live(), {
        let alice = Session::connect(address, "alice").unwrap();
        let mut codes = vec![Session::connect(address, "alice").unwrap_err()];
        codes.push(Session::connect(address, "two word").unwrap_err());
        codes.push(Session::connect("4803@", "x").unwrap_err());
        codes.push(Session::connect("none", "x").unwrap_err());
        codes.extend([alice.join(""), alice.join("two words"), alice.join("#g")]);
        codes.extend([alice.multicast(0, &["g"], 0, b""), alice.poll()]);
        codes.push(alice.multicast(16, &["g"], 0, &[0; 150_000]));
        codes
    }

    fn recorded_messages_are_received_alike(address: &str, Session) -> Vec<Received> = Recorded::new(), {
        let alice = Session::connect(address, "alice").unwrap();
        let mut received: Vec<_> = (0..2 * DELIVERIES).map(|_| alice.receive(0, 5, 500)).collect();
        // The original leaves the id of a transitional message in the daemon's order
        // of bytes; ours does not, as its own tests show.
        received.iter_mut().filter(|r| r.service == TRANSITION).for_each(|r| r.body.clear());
        received
    }
}

const TRANSITION: i32 = libspread::TRANSITION_MESS;

const DELIVERIES: usize = 7;

/// One of each kind of message, in both orders of bytes.
fn deliveries() -> Vec<u8> {
    let name = |name: &str| Name::new(name).unwrap();
    let groups = [name("g"), name("h")];
    let members = ["#abe#d", "#alice#fake", "#zed#d"].map(name);
    let group_id = GroupId { proc_id: 1, time: 2, index: 3 };
    let view = |cause, vs_sets, my_vs_set| Delivery::View {
        group: name("g"),
        cause,
        members: Groups::from(&members),
        body: MembershipBody { group_id, vs_sets, my_vs_set },
    };
    let regular = |sender_order| {
        Delivery::Regular(Regular {
            sender: name("#bob#fake"),
            service: Service::Causal,
            self_discard: false,
            message_type: -7,
            sender_order,
            groups: Groups::from(&groups[..]),
            body: b"body",
        })
    };
    let rejected = Delivery::Rejected(Reject {
        old_type: ServiceType::AGREED,
        sender: name("#alice#fake"),
        self_discard: false,
        message_type: 9,
        sender_order: ByteOrder::NATIVE,
        groups: Groups::from(&groups[..]),
        body: b"back",
    });
    let mut bytes = BytesMut::new();
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let all: [Delivery<'_>; DELIVERIES] = [
            regular(ByteOrder::Little),
            regular(ByteOrder::Big),
            rejected.clone(),
            view(Cause::Network, vec![members[..1].to_vec(), members[1..].to_vec()], 1),
            view(Cause::Disconnect, vec![vec![name("#gone#d")]], 0),
            Delivery::Transitional { group: name("g"), group_id },
            Delivery::SelfLeave { group: name("g") },
        ];
        all.iter().for_each(|delivery| delivery.encode(order, &mut bytes));
    }
    bytes.to_vec()
}

/// A daemon that sends [`deliveries`] to its one client.
struct Recorded {
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Recorded {
    fn new() -> Recorded {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound port").port();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let (mut handshake, mut input) = (Handshake::new(&["NULL"]), BytesMut::new());
            loop {
                let answer = match handshake.handle(&mut input) {
                    DaemonStep::Receive => {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).expect("the client's part");
                        input.extend_from_slice(&byte);
                        continue;
                    }
                    DaemonStep::Greet(_) => handshake.greet(),
                    DaemonStep::Authenticate(_) => {
                        let name = PrivateName::new("alice").expect("a name");
                        handshake.accept(PrivateGroup::of(name, "fake").expect("a private group"))
                    }
                    DaemonStep::Done => break,
                    DaemonStep::Reject(code) => panic!("rejected: {code}"),
                };
                stream.write_all(&answer).expect("the client listens");
            }
            let _ = stream.write_all(&deliveries());
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        Recorded { port, thread: Some(thread) }
    }

    fn address(&self) -> String {
        format!("{}@127.0.0.1", self.port)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}
