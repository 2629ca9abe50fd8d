//! `bench`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use spread_daemon::{Authentication, Daemon, Method, Passwords};

use crate::support::{Place, command, run, serve_tcp};

#[test]
fn every_workload_is_measured() {
    let place = Place::start();
    let args = ["bench", "--count", "200", "--warm-up", "20", "--runs", "2", "--size", "64,3000"];
    let more = ["--groups", "1,3", "--receivers", "2,4", "--window", "20", "--batch", "5"];
    let args = [&args[..], &more].concat();
    // A daemon of its own, and the one of the test.
    for ended in [run(command(&args)), place.run(&args)] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for workload in ["flood", "flood to 3 groups", "fanout to 2", "fanout to 4", "pingpong"] {
            for size in ["64", "3000"] {
                let row = ended.out.lines().find_map(|line| {
                    let mut cells = line.strip_prefix(workload)?.split_whitespace();
                    (cells.next() == Some(size)).then(|| cells.collect::<Vec<_>>())
                });
                let row = row.unwrap_or_else(|| panic!("no {workload} {size} in {ended:?}"));
                // The daemon's CPU time is there only if its process is known.
                let figures = row.iter().filter(|cell| cell.parse::<f64>().is_ok()).count();
                let expected = if workload.starts_with("fanout") { 3 } else { 6 };
                assert!(figures >= expected, "{row:?}");
            }
        }
    }
}

const SHORT: [&str; 9] =
    ["bench", "flood", "--size", "64", "--count", "200", "--warm-up", "20", "--runs=1"];

#[test]
fn how_its_daemon_and_clients_wait_is_shown() {
    let args = [&SHORT[..], &["--busy-poll", "50", "--coalesce", "20"]].concat();
    let out = run(command(&args)).succeeds();
    let side = "own, unix, busy-poll 50, coalesce 20";
    assert!(out.lines().any(|line| line.starts_with("flood") && line.contains(side)), "{out}");
}

#[test]
fn runs_are_written_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["runs.csv", "plot.svg"].map(|name| folder.path().join(name));
    let mut bench = command(&SHORT);
    bench.arg("--csv").arg(&files[0]).arg("--plot").arg(&files[1]);
    let ended = run(bench);
    assert!(ended.err.contains("run 1 of 1: "), "{ended:?}");
    ended.succeeds();
    let csv = fs::read_to_string(&files[0]).unwrap();
    assert!(csv.lines().nth(1).unwrap().starts_with("flood,64,1,1,\"own, unix\",1,measured,"));
    assert!(fs::read_to_string(&files[1]).unwrap().starts_with("<svg "));
    let mut bench = command(&SHORT);
    bench.args(["--csv", "/dev/full"]);
    run(bench).fails(1, &["cannot write /dev/full: No space left on device"]);
}

#[test]
fn what_cannot_be_measured_or_written_is_told_before_anything_is_measured() {
    let bench = |args: &[&str]| run(command(&[&SHORT[..], args].concat()));
    for file in ["--csv", "--plot"] {
        let ended = bench(&[file, "/nonexist/x"]);
        ended.fails(1, &["cannot write /nonexist/x: No such file"]);
        assert!(!ended.err.contains("run 1 of 1"), "{ended:?}");
    }
    let ended = run(command(&["bench", "flood", "--size", "64,200000"]));
    ended.fails(2, &["--size 200000: a message has 143119 bytes at most"]);
}

#[test]
fn a_file_is_not_left_behind_empty_when_nothing_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.csv", "new.csv"].map(|name| folder.path().join(name));
    fs::write(&old, "old").unwrap();
    for file in [&old, &new] {
        let mut bench = command(&["bench", "flood", "--daemon", "/nonexist/4803"]);
        bench.arg("--csv").arg(file);
        run(bench).fails(3, &["no Spread daemon listens"]);
    }
    assert_eq!(fs::read_to_string(old).unwrap(), "old");
    assert!(!new.exists());
}

#[test]
fn a_file_of_runs_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("runs.csv");
    fs::write(&csv, "?".repeat(10_000)).unwrap();
    let mut bench = command(&SHORT);
    bench.arg("--csv").arg(&csv);
    run(bench).succeeds();
    let text = fs::read_to_string(&csv).unwrap();
    assert!(text.starts_with("workload,") && !text.contains('?'), "{text}");
}

#[test]
fn a_run_that_stalls_is_told() {
    let args = ["bench", "flood", "--size", "64", "--runs", "1", "--count", "1000000000"];
    let ended = run(command(&[&args[..], &["--deadline", "0.3"]].concat()));
    ended.fails(1, &["run 1 of 1: stalled", "1 of 1 runs stalled or failed"]);
}

#[test]
fn its_own_daemon_has_neither_tls_nor_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let bench = |args: &[&str], variables: &[(&str, &str)]| {
        let mut bench = command(&[&SHORT[..], args].concat());
        bench.envs(variables.iter().copied());
        run(bench)
    };
    let user = [("SPREAD_USER", "ann"), ("SPREAD_PASSWORD_FILE", password.to_str().unwrap())];
    let said = ["a daemon of its own, which has neither TLS nor passwords", "--daemon names"];
    bench(&[], &user).fails(2, &said);
    bench(&[], &[("SPREAD_TLS_CA", "ca.pem")]).fails(2, &said);
    // The second daemon asks for a password, and the first one does not.
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    let daemon = Daemon::builder().authentication(authentication).start().unwrap();
    let versus = daemon.address();
    bench(&["--versus", &versus], &user).succeeds();
    bench(&["--versus", &versus], &[]).fails(3, &["PWORD", "--user NAME --password-file FILE"]);
}

#[test]
fn a_daemon_that_is_none_is_told_before_anything_is_measured() {
    let silent = serve_tcp(std::mem::forget);
    let args = [&SHORT[..], &["--daemon", &silent, "--timeout", "200ms"]].concat();
    run(command(&args)).fails(3, &["answered as a Spread daemon within 0.2 s"]);
}
