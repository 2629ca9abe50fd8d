//! What it tells when it starts, and what it cannot start with.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::support::{Folder, PROGRAM, Program, complaint, said, socket_file};

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
fn it_says_all_addresses_where_clients_can_connect() {
    let folder = Folder::new();
    let start = |format: &str| {
        let mut command = folder.command(0);
        command.args(["--bind", "127.0.0.1", "--bind", "127.0.0.2", "--log-format", format]);
        Program::start(&mut command)
    };
    let text = start("text");
    let port = text.port();
    let expected = format!("is ready at {port}@127.0.0.1 and {port}@127.0.0.2 and ");
    assert!(text.ready.contains(&expected), "{}", text.ready);
    let json: serde_json::Value = serde_json::from_str(&start("json").ready).unwrap();
    let fields = &json["fields"];
    let [first, second] = [&fields["addresses"][0], &fields["addresses"][1]];
    assert_eq!(*first, fields["address"]);
    assert_eq!(second.as_str().unwrap(), first.as_str().unwrap().replace(".1", ".2"));
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
fn a_limit_of_nothing_is_refused() {
    for option in ["--max-sessions", "--max-session-messages", "--max-queued"] {
        let mut command = Command::new(PROGRAM);
        let output = command.args(["--no-config", "--check", option, "0"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("0 is not in 1.."), "{said}");
    }
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
fn its_version_names_the_features() {
    let (said, code) = said(Command::new(PROGRAM).arg("--version"));
    assert_eq!(code, Some(0));
    for (feature, is_there) in [("http", cfg!(feature = "http")), ("tls", cfg!(feature = "tls"))] {
        let (_, features) = said.split_once(" (").unwrap();
        assert_eq!(features.contains(feature) && !features.contains("without"), is_there, "{said}");
    }
}

#[test]
#[cfg(not(feature = "tls"))]
fn an_option_of_tls_is_told_to_need_the_feature() {
    for option in ["--tls-cert=cert.pem", "--tls-port"] {
        let output = Command::new(PROGRAM).args(["--no-config", option]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains("tip: this spreadd is built without TLS: cargo install"), "{said}");
    }
    let output = Command::new(PROGRAM).arg("--tsl-cert").output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("without TLS"));
}

#[test]
fn it_is_not_installed_where_its_unit_cannot_name_it() {
    let folder = Folder::new();
    let install = |options: &[&str]| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg("--destdir").arg(&folder.0).args(options);
        command.env("SPREADD", PROGRAM).output().unwrap()
    };
    for prefix in ["/opt/a&b", "/opt/a|b", "/opt/a b", "/opt/100%"] {
        for option in ["--prefix", "--sysconfdir"] {
            let output = install(&[option, prefix]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(&format!("{option} can have letters, digits")), "{said}");
        }
    }
    assert_eq!(install(&["--features", "tls"]).status.code(), Some(2));
    assert!(install(&["--prefix=/opt/spread-1.0_a+b"]).status.success());
    let unit = folder.0.join("opt/spread-1.0_a+b/lib/systemd/system/spreadd.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("\nExecStart=/opt/spread-1.0_a+b/bin/spreadd --config /etc/"), "{unit}");
}

#[test]
fn more_sessions_than_file_descriptors_are_refused() {
    let folder = Folder::new();
    let start = |sessions: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 200; exec \"$@\"", "sh", PROGRAM, "--port", "0"]);
        shell.arg("--no-config").arg("--unix-dir").arg(&folder.0).args(sessions);
        shell
    };
    let said = complaint(&mut start(&["--max-sessions", "300"]));
    assert!(said.contains("takes 332 file descriptors, and the limit is 200"), "{said}");
    // Without the option it is warned of. As many as there is room for are as good as fewer.
    let too_few =
        "WARN spreadd::run: the limit of file descriptors has room for 168 of 1000 sessions";
    for (sessions, expected) in [
        (&["--max-sessions", "168"][..], None),
        (&["--max-sessions", "20"], None),
        (&[], Some(too_few)),
    ] {
        let mut program = Program::start(start(sessions).stderr(Stdio::piped()));
        let mut stderr = program.child.stderr.take().unwrap();
        assert_eq!(program.signal("-TERM").code(), Some(0));
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        match expected {
            None => assert_eq!(said, ""),
            Some(expected) => assert!(said.contains(expected), "{said}"),
        }
    }
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
