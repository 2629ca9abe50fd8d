//! The clocks of a measurement: the wall's, and the CPU times of a client and of
//! the daemon. The client reads the daemon's, too, so that both are read at the
//! same moments.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

pub(super) struct Meter {
    client: Option<Duration>,
    daemon: Option<(ClockId, Duration)>,
    begin: Instant,
}

/// What was used from start to stop.
pub(super) struct Used {
    pub(super) wall: Duration,
    pub(super) client: Option<Duration>,
    pub(super) daemon: Option<Duration>,
}

impl Meter {
    /// Measures this process, and the daemon if its process is known.
    pub(super) fn start(daemon_pid: Option<u32>) -> Meter {
        let daemon = daemon_pid.and_then(clock_of).and_then(|clock| Some((clock, read(clock)?)));
        Meter { client: read(THIS_PROCESS), daemon, begin: Instant::now() }
    }

    pub(super) fn stop(self) -> Used {
        let wall = self.begin.elapsed();
        let since = |clock, begin| read(clock).and_then(|now: Duration| now.checked_sub(begin));
        Used {
            wall,
            client: self.client.and_then(|begin| since(THIS_PROCESS, begin)),
            daemon: self.daemon.and_then(|(clock, begin)| since(clock, begin)),
        }
    }
}

const THIS_PROCESS: ClockId = ClockId::CLOCK_PROCESS_CPUTIME_ID;

fn read(clock: ClockId) -> Option<Duration> {
    clock_gettime(clock).ok().map(Duration::from)
}

/// The CPU time of all threads of a process.
#[cfg(target_os = "linux")]
fn clock_of(pid: u32) -> Option<ClockId> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    nix::time::clock_getcpuclockid(pid).ok()
}

#[cfg(not(target_os = "linux"))]
fn clock_of(_pid: u32) -> Option<ClockId> {
    None
}
