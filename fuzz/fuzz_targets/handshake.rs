//! A handshake comes to the same end however its bytes are cut, and no client or
//! daemon makes the other side panic.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use spread_wire::PrivateGroup;
use spread_wire::handshake::{Client, ClientStep, Connect, Daemon, DaemonStep};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let at_once = daemon([data].into_iter());
    let in_pieces = daemon(data.chunks(usize::from(cut).max(1)));
    assert_eq!(at_once, in_pieces);
    client(data);
});

/// What a daemon answers.
fn daemon<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let group = PrivateGroup::new("#name#daemon").expect("a private group");
    let mut handshake = Daemon::new(&["NULL", "IP", "PWORD"]);
    let (mut stream, mut answers) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        stream.extend_from_slice(piece);
        loop {
            match handshake.handle(&mut stream) {
                DaemonStep::Receive | DaemonStep::Done => break,
                DaemonStep::Greet(_) => answers.extend(handshake.greet()),
                DaemonStep::Authenticate(_) => answers.extend(handshake.accept(group)),
                DaemonStep::Reject(code) => {
                    answers.push(code.byte());
                    return answers;
                }
            }
        }
    }
    answers
}

/// A client that takes the data for the answers of a daemon.
fn client(mut data: &[u8]) {
    let mut handshake = Client::new(Connect::new(None), &["NULL"]);
    loop {
        match handshake.next_step() {
            ClientStep::Send(_) => {}
            ClientStep::Authenticate => handshake.authenticated(),
            ClientStep::Done(_) => return,
            ClientStep::Receive(len) => {
                let (piece, rest) = data.split_at(len.min(data.len()));
                data = rest;
                if handshake.handle(piece).is_err() {
                    return;
                }
            }
        }
    }
}
