//! What a subscriber of `tracing` is told of a connection.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use spread::Mailbox;
use spread_daemon::Daemon;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_connection_tells_of_its_life() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let daemon = Daemon::builder().start().unwrap();
        let address = daemon.address();
        let builder = Mailbox::builder(&address).private_name("alice");
        let alice = builder.connect().unwrap();
        builder.connect().unwrap_err();
        alice.disconnect().unwrap();
        let mut bob = Mailbox::builder(&address).private_name("bob").connect().unwrap();
        let carol = Mailbox::builder(&address).private_name("carol").connect().unwrap();
        carol.shut_down();
        drop(carol);
        drop(daemon);
        bob.receive().unwrap_err();
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" spread::")).collect();
    let expected = [
        "connected me=#alice#localhost",
        "connect failed address=",
        "disconnected me=#alice#localhost",
        "connected me=#bob#localhost",
        "connected me=#carol#localhost",
        "shut down me=#carol#localhost",
        "dropped me=#carol#localhost",
        "receive failed me=#bob#localhost error=the connection to the Spread daemon is closed",
        "dropped me=#bob#localhost",
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{expected:?} in {line:?}");
    }
}
