//! Connecting without blocking the runtime.

use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use spread_core::{Address, Connect, ConnectError, Progress, Ready};
use spread_os::tokio::Registered;
use tokio::io::Interest;
use tokio::time::sleep_until;

use crate::backend::Backend;
use crate::connection::Connection;
use crate::failures::Tried;
use crate::{Builder, Error, Library};

/// As [`Builder::connect`].
pub(super) async fn open(builder: &Builder) -> Result<Connection, Error> {
    let mut tried = Tried::default();
    for (text, address) in builder.addresses()? {
        match open_at(builder, text, address).await {
            Ok(connection) => return Ok(connection),
            Err(error) => tried.add(text, error)?,
        }
    }
    Err(tried.into_error())
}

/// Connects to one daemon.
async fn open_at(builder: &Builder, text: &str, address: Address) -> Result<Connection, Error> {
    match builder.uses() {
        Library::Native => {
            let (connect, link) = builder.begin(address)?;
            let connected = go_through(connect).await;
            builder.connected(text, connected.map(|core| (core, Backend::Native)), link)
        }
        #[cfg(feature = "sys")]
        Library::Sys => in_thread(builder.clone(), text.to_owned(), address).await,
    }
}

async fn go_through(mut connect: Connect) -> Result<spread_core::Connection, ConnectError> {
    loop {
        match connect.step()? {
            Progress::Connected(core) => return Ok(core),
            Progress::Wait => {
                wait(&connect)?.await;
                // A peer that answers at once is not to keep the executor.
                tokio::task::yield_now().await;
            }
            Progress::Authenticate(method) => {
                let source = io::ErrorKind::Unsupported.into();
                return Err(ConnectError::Authentication { method, offered: None, source });
            }
        }
    }
}

/// Waits for what the next step of a connect waits for.
fn wait(connect: &Connect) -> Result<impl Future<Output = ()> + Send + use<>, ConnectError> {
    let (fds, until) = connect.waits_for();
    let watched = fds.into_iter().map(|(fd, ready)| Ok((watch(fd, ready)?, ready)));
    let watched = watched.collect::<io::Result<Vec<_>>>().map_err(ConnectError::Local)?;
    Ok(wait_any(watched, until))
}

/// Watches a descriptor that the connect may close meanwhile.
fn watch(fd: BorrowedFd<'_>, ready: Ready) -> io::Result<Registered> {
    let interest = match ready {
        Ready::ToWrite => Interest::WRITABLE,
        _ => Interest::READABLE,
    };
    Registered::new(Arc::new(fd.try_clone_to_owned()?), interest)
}

async fn wait_any(watched: Vec<(Registered, Ready)>, until: Option<Instant>) {
    let any = poll_fn(|cx| {
        let mut is_ready = watched.iter().map(|(io, ready)| match ready {
            Ready::ToWrite => io.poll_write_ready(cx).is_ready(),
            _ => io.poll_read_ready(cx).is_ready(),
        });
        if is_ready.any(|is_ready| is_ready) { Poll::Ready(()) } else { Poll::Pending }
    });
    let Some(until) = until else {
        return any.await;
    };
    let (mut any, mut over) = (pin!(any), pin!(sleep_until(until.into())));
    poll_fn(|cx| match any.as_mut().poll(cx) {
        Poll::Pending => over.as_mut().poll(cx),
        ready => ready,
    })
    .await;
}

/// libspread waits in its connect, so a thread does, which nobody waits for.
#[cfg(feature = "sys")]
async fn in_thread(builder: Builder, text: String, address: Address) -> Result<Connection, Error> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let connect = move || {
        // If nobody is told, the connection is dropped.
        let _ = tell.send(builder.open_at(&text, address));
    };
    let thread = std::thread::Builder::new().name("spread-connect".to_owned()).spawn(connect);
    thread.map_err(Error::Resource)?;
    told.await.unwrap_or(Err(Error::closed()))
}
