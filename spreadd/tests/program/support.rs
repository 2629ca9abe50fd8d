//! The program and the folders that tests run it in.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_spreadd");

/// An empty folder that is removed with what is in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("spreadd-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// Returns the program, with its socket file in this folder.
    pub(crate) fn command(&self, port: u16) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--no-config")
            .arg("--unix-dir")
            .arg(&self.0)
            .arg("--port")
            .arg(port.to_string());
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The running program, which does not outlive the test.
pub(crate) struct Program {
    pub(crate) child: Child,
    /// What it says when it is ready.
    pub(crate) ready: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut program = Program { child, ready: String::new() };
        BufReader::new(stdout).read_line(&mut program.ready).unwrap();
        program
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, rest) = self.ready.split_once(" is ready at ").expect(&self.ready);
        rest.split('@').next().unwrap().parse().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port()).into()
    }

    pub(crate) fn signal(mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that the program ends with code 2, and returns the one line it says.
pub(crate) fn complaint(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    said
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn socket_file(folder: &Folder, port: u16) -> PathBuf {
    folder.0.join(port.to_string())
}

/// Leaves a socket file that nobody listens at.
pub(crate) fn abandon_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

/// Writes a file into a folder.
pub(crate) fn file(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.0.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Writes a file that only its owner may read.
pub(crate) fn secret_file(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = file(folder, name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What a command says on stdout, and its exit code.
pub(crate) fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// Returns the program to ask about the one that runs with its socket in a folder.
pub(crate) fn ask(folder: &Folder, port: u16, what: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(what).arg("--port").arg(port.to_string()).arg("--unix-dir").arg(&folder.0);
    command
}
