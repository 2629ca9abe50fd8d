//! The files of unix sockets: those of daemons that run, and those left behind.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

use crate::support::{
    Folder, Program, abandon_socket, ask, complaint, free_port, said, socket_file,
};

#[test]
fn the_socket_file_of_a_daemon_that_was_killed_is_replaced() {
    let folder = Folder::new();
    let port = free_port();
    let program = Program::start(&mut folder.command(port));
    assert_eq!(program.signal("-KILL").code(), None);
    for name in [format!("{port}"), format!("{port}.status"), format!("{port}.lock")] {
        assert!(folder.0.join(name).exists());
    }
    let program = Program::start(&mut folder.command(port));
    assert!(UnixStream::connect(socket_file(&folder, port)).is_ok());
    assert_eq!(said(&mut ask(&folder, port, &["health"])), ("healthy\n".to_owned(), Some(0)));
    assert_eq!(program.signal("-TERM").code(), Some(0));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn a_socket_file_without_a_lock_that_nobody_listens_at_is_replaced() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    abandon_socket(&file);
    let _program = Program::start(&mut folder.command(port));
    assert!(UnixStream::connect(&file).is_ok());
}

#[test]
fn the_socket_file_of_a_daemon_that_is_stopped_is_not_replaced() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.command(0));
    let port = program.port();
    let id = program.child.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    let said = complaint(folder.command(port).args(["--bind", "127.0.0.2"]));
    assert!(said.contains("another daemon has the socket file"), "{said}");
    assert!(Command::new("kill").args(["-CONT", &id]).status().unwrap().success());
    assert!(UnixStream::connect(socket_file(&folder, port)).is_ok());
}

#[test]
fn it_never_takes_the_socket_file_of_another_daemon() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    let _other = UnixListener::bind(&file).unwrap();
    let said = complaint(&mut folder.command(port));
    assert!(said.contains(&file.display().to_string()), "{said}");
    assert!(UnixStream::connect(&file).is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let port = free_port();
    let file = socket_file(&folder, port);
    fs::write(&file, "precious").unwrap();
    let said = complaint(&mut folder.command(port));
    let expected = format!("the file {}: it is no socket; remove it\n", file.display());
    assert!(said.ends_with(&expected), "{said}");
    let said = complaint(folder.command(port).arg("--check"));
    assert!(said.ends_with("is no socket; remove it\n"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let said = complaint(&mut folder.command(port));
    assert!(said.ends_with(&expected), "{said}");
}
