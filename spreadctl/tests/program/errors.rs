//! Errors: what they say, what they advise, and their exit codes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use spread_daemon::{Authentication, Daemon, Method, Passwords};

use crate::support::{Place, command, run, run_with, serve_tcp, unique, with_input};

/// Runs a command at an address.
fn at(address: &str, args: &[&str]) -> crate::support::Ended {
    let mut command = command(args);
    command.args(["--daemon", address]);
    run(command)
}

#[test]
fn a_daemon_that_is_down_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let nobody = format!("{port}@localhost");
    for args in [
        &["sub", "g"][..],
        &["pub", "g", "x"],
        &["members", "g"],
        &["request", "g", "s", "x"],
        &["serve", "g", "s", "--echo"],
        &["chat", "g"],
        &["health"],
        &["bench", "flood"],
    ] {
        at(&nobody, args).fails(3, &["no Spread daemon listens at", "hint: start the daemon"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("4803");
    let ended = at(socket.to_str().unwrap(), &["sub", "g"]);
    ended.fails(3, &["no Spread daemon listens", "--daemon 4803@localhost"]);
}

#[test]
fn another_server_is_told() {
    let address = serve_tcp(|mut stream| drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")));
    at(&address, &["sub", "g"]).fails(3, &["is no Spread daemon", "hint: check the port"]);
}

#[test]
fn a_connection_that_is_closed_is_no_session() {
    let address = serve_tcp(drop);
    at(&address, &["members", "g"]).fails(3, &["closed the connection before a session"]);
}

#[test]
fn a_server_that_says_nothing_is_left_in_time() {
    let address = serve_tcp(std::mem::forget);
    let ended = at(&address, &["sub", "--timeout", "100ms", "g"]);
    ended.fails(3, &["answered as a Spread daemon within 0.1 s", "--timeout"]);
}

#[test]
fn what_is_wrong_on_the_command_line_is_told() {
    for (args, text) in [
        (&["sub", "two words"][..], "a group is 1 to 31 bytes"),
        (&["sub", "a-name-of-thirty-two-bytes-is-one"], "a group is 1 to 31 bytes"),
        (&["sub", "--name", "elevenbytes", "g"], "a private name is 1 to 10 bytes"),
        (&["sub", "--raw", "--json", "g"], "cannot be used with"),
        (&["pub", "two words", "x"], "illegal group name \"two words\""),
        (&["pub", "#half", "x"], "a private group is #NAME#DAEMON"),
        (&["pub", "--service", "best", "g", "x"], "one of unreliable, reliable"),
        (&["sub", "--daemon", "port@host", "g"], "illegal daemon address"),
        (&["pub", "--user", "ann", "g", "x"], "--password-file FILE"),
        (
            &["pub", "--user", "ann", "--password-file", "/no/file", "g", "x"],
            "cannot read /no/file",
        ),
        (&["pub", "--rate", "-1", "g", "x"], "'-1' for '--rate <N>': a number above 0"),
        (&["pub", "--count", "-1", "g", "x"], "'-1' for '--count <N>': a whole number above 0"),
        (&["sub", "--count", "-1", "g"], "'-1' for '--count <N>': a whole number above 0"),
        (&["serve", "g", "s"], "<--echo|COMMAND>"),
        (&["serve", "g", "s", "--", "no-such-command"], "there is no command no-such-command"),
        (&["serve", "g", "s", "--", "/etc/passwd"], "/etc/passwd, or it cannot be executed"),
        (&["bench", "--daemon", "1", "--busy-poll", "5"], "--busy-poll is of its own daemon"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        run(command(args)).fails(2, &[text]);
    }
}

#[test]
fn a_usage_demands_no_options_that_the_environment_has() {
    let mut command = command(&["sub"]);
    let variables = ["SPREAD_DAEMON", "SPREAD_USER", "SPREAD_PASSWORD_FILE"];
    command.envs(variables.map(|name| (name, "1@h")));
    let ended = run(command);
    ended.fails(2, &["Usage: spreadctl sub <GROUPS>..."]);
    assert!(!ended.err.contains("--daemon"), "{ended:?}");
}

#[test]
fn a_message_that_is_too_long_is_told() {
    let place = Place::start();
    let group = unique("g");
    let long = vec![b'x'; 143_120];
    let publish = |args: &[&str]| run_with(with_input(place.command(args)), &long);
    publish(&["pub", "--whole", &group]).fails(2, &["too long", "143151 bytes"]);
    publish(&["pub", &group]).fails(2, &["too long"]);
    let longer = vec![b'x'; 300_000];
    let ended = run_with(with_input(place.command(&["pub", &group])), &longer);
    ended.fails(2, &["a line of the standard input is too long", "143151 bytes"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, &longer).unwrap();
    let argument = format!("@{}", file.path().display());
    place.run(&["pub", &group, &argument]).fails(2, &["is too long for a message"]);
    place.run(&["pub", &group, "@/no/such/file"]).fails(1, &["cannot read /no/such/file"]);
}

#[test]
fn a_name_that_is_in_use_is_told() {
    let place = Place::start();
    let name = unique("n");
    let _other = spread::Mailbox::builder(&place.address).private_name(&name).connect().unwrap();
    place.run(&["members", "--name", &name, "g"]).fails(3, &["already in use", "--name"]);
}

#[test]
fn a_password_is_asked_for_and_taken_from_a_file() {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    let daemon = Daemon::builder().authentication(authentication).start().unwrap();
    let address = daemon.address();
    at(&address, &["members", "g"]).fails(3, &["PWORD", "--user NAME --password-file FILE"]);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let with = |text: &str, mode: u32| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let args = ["members", "--user", "ann", "--password-file", file.to_str().unwrap(), "g"];
        at(&address, &args)
    };
    let ended = with("secret\n", 0o600);
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
    let ended = with("secret\n", 0o644);
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("warning: other users can read"), "{ended:?}");
    let args = ["bench", "pingpong", "--size=9", "--count=9", "--warm-up=0", "--runs=1"];
    let user = ["--user", "ann", "--password-file", file.to_str().unwrap()];
    assert_eq!(at(&address, &[&args[..], &user].concat()).code, Some(0));
    for empty in ["", "\nsecret"] {
        with(empty, 0o600).fails(2, &["the first line of", "/password, the password, is empty"]);
    }
    with("guess", 0o600).fails(3, &["does not know this user with this password", "hint"]);

    let mut command = command(&["members", "g", "--daemon", &address]);
    command.env("SPREAD_USER", "ann").env("SPREAD_PASSWORD_FILE", &file);
    run(command).fails(3, &["does not know this user with this password"]);
    fs::remove_file(&file).unwrap();
    with_missing(&address, file.to_str().unwrap());
}

fn with_missing(address: &str, file: &str) {
    let args = ["members", "--user", "ann", "--password-file", file, "g"];
    at(address, &args).fails(2, &["cannot read", "No such file"]);
}

#[test]
fn completions_and_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(command(&["completions", shell])).succeeds();
        assert!(script.contains("spreadctl") && script.contains("doctor"), "{shell}");
    }
    let page = run(command(&["man"])).succeeds();
    assert!(page.contains(".TH spreadctl 1") && page.contains("Exit codes"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    run(command(&["man", "--dir", folder.path().to_str().unwrap()])).succeeds();
    for name in ["spreadctl.1", "spreadctl-sub.1", "spreadctl-pub.1", "spreadctl-doctor.1"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}
