//! Notifies systemd of the daemon's state, if systemd started it.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

/// Sends a state such as `READY=1` to the socket in `NOTIFY_SOCKET`, if there is
/// one; see sd_notify(3).
pub(crate) fn notify(state: &str) {
    if let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
        && let Err(error) = send(&address, state.as_bytes())
    {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

fn send(address: &OsStr, state: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return socket.send_to_addr(state, &address).map(drop);
    }
    socket.send_to(state, address).map(drop)
}
