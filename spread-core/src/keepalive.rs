//! How a TCP connection notices that its peer is dead.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Probes without an answer after which the peer is dead.
const PROBES: u32 = 3;

/// When a TCP connection gives up a peer that does not answer: one whose host is off, or that a
/// network without a word separates. Unix sockets have no such peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// After as long as the system's settings say: on Linux after more than two hours.
    #[default]
    System,
    /// Never, as long as nothing is sent.
    Off,
    /// Within this time, of which whole seconds count: at least [`Keepalive::LEAST`], at most
    /// [`Keepalive::MOST`].
    ///
    /// Silence is probed after half of it, and the peer is dead when it has not answered three
    /// probes. What was sent has to be acknowledged in the same time (`TCP_USER_TIMEOUT`, on
    /// Linux), unless the peer is on this host.
    Within(Duration),
}

impl Keepalive {
    /// The shortest time for [`Keepalive::Within`].
    pub const LEAST: Duration = Duration::from_secs(4);

    /// The longest time for [`Keepalive::Within`].
    pub const MOST: Duration = Duration::from_secs(9 * 60 * 60);

    /// Sets it on a connected TCP socket; does nothing to others.
    ///
    /// # Errors
    ///
    /// What `setsockopt(2)` and `getpeername(2)` return.
    pub fn set_on(self, socket: &impl AsFd) -> io::Result<()> {
        let peer = match SockRef::from(socket).peer_addr() {
            Ok(peer) => peer.as_socket(),
            // The peer has ended the connection already, which a receive will tell.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => return Err(error),
        };
        peer.map_or(Ok(()), |peer| self.set(socket, peer.ip().is_loopback()))
    }

    /// Sets it on a TCP socket.
    pub(crate) fn set(self, socket: &impl AsFd, is_loopback: bool) -> io::Result<()> {
        let socket = SockRef::from(socket);
        let Keepalive::Within(time) = self else {
            return socket.set_keepalive(self == Keepalive::System);
        };
        let (idle, interval) = times(time);
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        socket.set_tcp_keepalive(&keepalive.with_retries(PROBES))?;
        // A peer on this host does not die in silence; but it may live and take nothing for
        // long, to hold a sender back, which this option does not tell from death.
        #[cfg(target_os = "linux")]
        if !is_loopback {
            socket.set_tcp_user_timeout(Some(idle + PROBES * interval))?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = is_loopback;
        Ok(())
    }
}

/// The silence before the first probe, and the time between probes. They add up to less than
/// the time given where that is possible, because the kernel's timers may be late.
fn times(time: Duration) -> (Duration, Duration) {
    let seconds = time.as_secs();
    let interval = (seconds / 10).max(1);
    let idle = (seconds / 2).min(seconds.saturating_sub(u64::from(PROBES) * interval)).max(1);
    (Duration::from_secs(idle), Duration::from_secs(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_is_noticed_in_time() {
        for seconds in Keepalive::LEAST.as_secs()..=Keepalive::MOST.as_secs() {
            let (idle, interval) = times(Duration::from_secs(seconds));
            let total = (idle + PROBES * interval).as_secs();
            assert!(total <= seconds && idle.as_secs() >= 1 && interval.as_secs() >= 1);
            // The limit of the kernel (MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL).
            assert!(idle.as_secs() <= 32_767 && interval.as_secs() <= 32_767);
        }
        assert_eq!(
            times(Duration::from_secs(60)),
            (Duration::from_secs(30), Duration::from_secs(6))
        );
    }
}
