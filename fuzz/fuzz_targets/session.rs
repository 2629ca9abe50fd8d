//! Whatever a client sends, the daemon goes on to serve the others.

#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use spread_daemon::Daemon;

fn address() -> std::net::SocketAddr {
    static DAEMON: OnceLock<Daemon> = OnceLock::new();
    DAEMON.get_or_init(|| Daemon::builder().start().expect("a daemon")).socket_addr()
}

/// The handshake of a client with this name, as one piece of bytes.
fn connect(name: &[u8; 4]) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(address()).expect("the daemon takes connections");
    // Of a version that need not authenticate.
    let hello = [&[3, 15, 0, 1, 4], &name[..]].concat();
    stream.write_all(&hello).expect("the daemon listens");
    let mut answer = vec![0; 5 + b"#name#localhost".len()];
    stream.read_exact(&mut answer).expect("the daemon answers");
    (stream, answer)
}

fuzz_target!(|data: &[u8]| {
    let (mut bad, _) = connect(b"bad1");
    // It may close in between.
    let _ = bad.write_all(data).and_then(|()| bad.shutdown(Shutdown::Write));
    let mut rest = Vec::new();
    let _ = bad.read_to_end(&mut rest);
    let (_good, answer) = connect(b"good");
    assert_eq!(&answer[5..], b"#good#localhost");
});
