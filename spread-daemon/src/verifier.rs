//! Checks passwords in a thread of its own, because that takes long and the
//! clients of the daemon are not to wait for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::control::Control;
use crate::passwords::Passwords;

/// Passwords that may wait to be checked.
const WAITING: usize = 128;

/// A password to be checked, for the connection of a key and a serial.
pub(crate) struct Claim {
    pub(crate) key: usize,
    pub(crate) serial: u64,
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
}

/// The thread; dropping it ends it after the check in work.
#[derive(Debug)]
pub(crate) struct Verifier {
    claims: Option<SyncSender<Claim>>,
    thread: Option<JoinHandle<()>>,
}

impl Verifier {
    pub(crate) fn start(passwords: Passwords, control: Arc<Control>) -> io::Result<Verifier> {
        let (claims, waiting) = sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("spread-password".to_owned())
            .spawn(move || verify(&passwords, &waiting, &control))?;
        Ok(Verifier { claims: Some(claims), thread: Some(thread) })
    }

    /// Has a password checked; tells whether there is room for it.
    pub(crate) fn check(&self, claim: Claim) -> bool {
        let sent = self.claims.as_ref().map(|claims| claims.try_send(claim));
        match sent {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.claims = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that checks passwords panicked");
        }
    }
}

fn verify(passwords: &Passwords, waiting: &Receiver<Claim>, control: &Arc<Control>) {
    for Claim { key, serial, user, password } in waiting {
        if control.is_stopped() {
            return;
        }
        let is_right = passwords.verify(&user, &password);
        if !is_right {
            tracing::warn!(?user, "rejected a client: unknown user or wrong password");
        }
        control.post(move |server| server.judged(key, serial, user, is_right));
    }
}
