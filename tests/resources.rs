//! What a client is told when its process has no descriptors left.

mod support;

use std::fs::File;
use std::io;

use spread::{AsyncMailbox, Error, Library, Mailbox, Service};
use spread_daemon::Daemon;
use support::{Expect, block_on};

/// Descriptors that the process may have.
const LIMIT: libc::rlim_t = 128;

/// Opens files until there are no descriptors left.
fn exhaust() -> Vec<File> {
    let open = || File::open("/dev/null");
    let files: Vec<File> = std::iter::from_fn(|| open().ok()).collect();
    assert_eq!(open().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    files
}

fn set_limit() {
    let limit = libc::rlimit { rlim_cur: LIMIT, rlim_max: LIMIT };
    // SAFETY: the limit lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(result, 0, "setrlimit: {}", io::Error::last_os_error());
}

/// The only test of its program, since it uses up what all threads share.
#[test]
fn without_descriptors_a_connect_lacks_a_resource_and_mailboxes_go_on() {
    set_limit();
    let daemon = Daemon::builder().unix_dir("/tmp").start().unwrap();
    let port = daemon.address().split_once('@').unwrap().0.to_owned();
    let addresses = [daemon.address(), format!("{port}@localhost"), daemon.unix_address().unwrap()];
    let is_told = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Resource(_)), "{error:?}");
        assert!(!error.is_closed() && error.is_retryable());
    };
    for library in [Library::Native, Library::Sys] {
        let builder = |address: &String| Mailbox::builder(address).library(library);
        let mut alice = builder(&addresses[0]).connect().unwrap();
        let files = exhaust();
        for address in &addresses {
            is_told(builder(address).connect().map(drop));
        }
        is_told(alice.interrupter().map(drop));
        alice.multicast(Service::Fifo, alice.private_group(), b"here").unwrap();
        assert_eq!(alice.next_regular().payload(), b"here");
        drop(files);
        alice.disconnect().unwrap();

        block_on(async {
            let files = exhaust();
            is_told(AsyncMailbox::connect(builder(&addresses[0])).await.map(drop));
            drop(files);
            let alice = AsyncMailbox::connect(builder(&addresses[0])).await.unwrap();
            alice.disconnect().await.unwrap();
        });
    }
}
