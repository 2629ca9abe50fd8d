//! The daemon that is measured: one of this program's own, in a process of its own,
//! or one that runs, whose process is found by the socket it listens at.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spread_daemon::Daemon;

use super::Result;
use super::options::Transport;

/// Is a daemon until the end of its input, that is, until the end of who started
/// it. Says where clients find it, by TCP and by unix socket.
pub(super) fn serve(busy_poll: u64) -> Result {
    let builder = Daemon::builder().busy_poll(Duration::from_micros(busy_poll));
    // The file of a process that was killed may be in the way.
    let daemon = builder.unix_dir("/tmp").start()?;
    let unix = daemon.unix_address().ok_or("no unix socket")?;
    println!("{} {unix}", daemon.address());
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    daemon.stop();
    Ok(())
}

pub(super) struct OwnDaemon {
    child: Child,
    address: String,
}

impl OwnDaemon {
    pub(super) fn start(transport: Transport, busy_poll: u64) -> Result<OwnDaemon> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "daemon", "--busy-poll", &busy_poll.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let mut daemon = OwnDaemon { child, address: String::new() };
        let (tcp, unix) = line.trim_end().split_once(' ').ok_or("the daemon did not start")?;
        daemon.address = match transport {
            Transport::Tcp => tcp.to_owned(),
            Transport::Unix => unix.to_owned(),
        };
        Ok(daemon)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The process that listens at an address on this host, as far as /proc tells:
/// this user's processes, and all of them to root.
pub(super) fn find(address: &str) -> Option<u32> {
    let (port, host) = match address.split_once('@') {
        Some((port, host)) => (port, Some(host)),
        None if address.is_empty() => ("4803", None),
        None => (address, None),
    };
    let inode = match host {
        None => unix_inode(&format!("/tmp/{port}"))?,
        Some("localhost" | "127.0.0.1" | "::1") => tcp_inode(port.parse().ok()?)?,
        Some(_) => return None,
    };
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(io::Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.any(|link| link.as_os_str() == socket.as_str())
    })
}

/// The socket that listens at a path, and not one of its connections, which have the
/// same path.
fn unix_inode(path: &str) -> Option<String> {
    const LISTENS: &str = "00010000";
    let table = fs::read_to_string("/proc/net/unix").ok()?;
    let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listener =
        sockets.find(|fields| fields.get(3) == Some(&LISTENS) && fields.get(7) == Some(&path))?;
    listener.get(6).map(|inode| (*inode).to_owned())
}

fn tcp_inode(port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let port = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|file| {
        let table = fs::read_to_string(file).ok()?;
        let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listener = sockets.find(|fields| {
            fields.get(1).is_some_and(|at| at.ends_with(&port)) && fields.get(3) == Some(&LISTENS)
        })?;
        listener.get(9).map(|inode| (*inode).to_owned())
    })
}
