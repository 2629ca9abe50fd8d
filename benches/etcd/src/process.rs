//! Processes that end with this program.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process, killed when this is dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Process> {
        let program = command.get_program().to_owned();
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Process(child))
    }

    /// Waits until it listens.
    pub(crate) fn listens(&mut self, port: u16) -> Result {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("a server has ended: {status}").into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("nobody listens on port {port}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("a process does not end: {error}");
        }
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
