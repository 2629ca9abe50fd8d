//! The servers, as processes.

use std::ffi::OsStr;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of this program, killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    pub(crate) fn spreadd(program: &Path) -> Result<Server> {
        let port = free_port()?;
        let args = ["--port", &port.to_string()];
        Server::start(program, &args, port, format!("{port}@127.0.0.1"))
    }

    pub(crate) fn nats(program: &Path) -> Result<Server> {
        let port = free_port()?;
        let args = ["-a", "127.0.0.1", "-p", &port.to_string()];
        Server::start(program, &args, port, format!("127.0.0.1:{port}"))
    }

    fn start(
        program: &Path,
        args: &[impl AsRef<OsStr>],
        port: u16,
        address: String,
    ) -> Result<Server> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut server = Server { process, address };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.process.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                return Err(format!("{} does not listen", program.display()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only if the server has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
