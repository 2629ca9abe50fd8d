//! What it tells when it starts, and what it cannot start with.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::support::{Folder, PROGRAM, Program, complaint, socket_file};

#[test]
fn it_says_where_clients_can_connect() {
    let folder = Folder::new();
    let program = Program::start(folder.command(0).args(["--name", "here"]));
    let (port, file) = (program.port(), socket_file(&folder, program.port()));
    let expected = format!("here is ready at {port}@127.0.0.1 and {}\n", file.display());
    assert_eq!(program.ready, expected);
    let client = Client::connect(program.address(), "me");
    assert_eq!(client.private_group, "#me#here");
    assert!(UnixStream::connect(file).is_ok());
}

#[test]
fn it_names_the_port_that_is_taken() {
    let folder = Folder::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = complaint(&mut folder.command(port));
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn it_explains_a_name_that_no_daemon_can_have() {
    let folder = Folder::new();
    for name in ["", "two words", "a-name-of-twenty-byte", "#hash"] {
        let said = complaint(folder.command(0).args(["--name", name]));
        assert!(said.contains(&format!("{name:?}")), "{said}");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn a_name_that_no_daemon_can_have_is_told_by_a_check_and_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in ["a#b", "a-name-of-more-than-19-bytes"] {
        for options in [&["--check"][..], &["--port", &port]] {
            let said = complaint(Command::new(PROGRAM).args(["--name", name]).args(options));
            assert!(said.contains("cannot be the name of a daemon"), "{said}");
        }
    }
}

#[test]
fn it_does_not_busy_poll_for_longer_than_a_moment() {
    let folder = Folder::new();
    let check = |time: &str| {
        let mut command = folder.command(0);
        command.args(["--check", "--busy-poll", time]).output().unwrap()
    };
    assert_eq!(check("10000").status.code(), Some(0));
    let refused = check("10001");
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    let expected = "'10001' for '--busy-poll <MICROSECONDS>': 10001 is not in 0..=10000";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn its_help_explains_every_option() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--port",
        "SIGHUP",
        "--busy-poll",
        "4803",
        "PORT@HOST",
        "RUST_LOG",
        "SIGTERM",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
}

#[test]
fn more_sessions_than_file_descriptors_are_refused() {
    let folder = Folder::new();
    let start = |sessions: &str, options: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 200; exec \"$@\"", "sh", PROGRAM, "--port", "0"]);
        shell.arg("--unix-dir").arg(&folder.0).args(["--max-sessions", sessions]).args(options);
        shell
    };
    let said = complaint(&mut start("300", &["--no-config"]));
    assert!(said.contains("takes 332 file descriptors, and the limit is 200"), "{said}");
    let _program = Program::start(start("100", &["--no-config"]).stderr(Stdio::null()));
}

#[test]
fn its_man_page_has_every_option_and_command() {
    let page = include_str!("../../man/spreadd.8").replace("\\-", "-");
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (commands, options) = help.split_once("Options:").unwrap();
    let commands = commands.split_once("Commands:").unwrap().1;
    let commands = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let commands =
        commands.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    let options = options.split_once("Examples:").unwrap().0;
    let options = options.lines().filter_map(|line| line.trim_start().strip_prefix('-'));
    let options = options.flat_map(|line| {
        line.split([' ', '[', ',']).find(|word| word.contains("--") || word.starts_with('-'))
    });
    let words: Vec<&str> = commands
        .chain(options)
        .filter(|word| !["help", "--help", "--version"].contains(word))
        .collect();
    assert!(words.len() > 20, "{words:?}");
    for word in words {
        assert!(page.contains(word), "{word} is missing in the page");
    }
}
