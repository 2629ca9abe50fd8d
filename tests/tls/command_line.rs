//! The command line over TLS.

use crate::HOSTS;
use crate::support::program::Program;
use crate::support::tls::{Authority, TlsDaemon, built};

#[test]
fn the_command_line_connects_over_tls() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&["spread.example.org"]);
    let daemon = TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA"]);
    let ann = authority.of_user("ann");
    let file = |name: &str| daemon.dir.path().join(name).display().to_string();
    std::fs::write(file("ann.pem"), &ann.chain).unwrap();
    std::fs::write(file("ann.key"), &ann.key).unwrap();
    let (ca, cert, key) = (file("ca.pem"), file("ann.pem"), file("ann.key"));
    let told = [
        "-d",
        &daemon.address,
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-name",
        "spread.example.org",
        "pub",
        "g",
        "hello",
    ];
    Program::start(&built("spreadctl"), &told, &[]).succeed();
    let variables = [
        ("SPREAD_DAEMON", &*daemon.address),
        ("SPREAD_TLS_CA", &ca),
        ("SPREAD_TLS_CERT", &cert),
        ("SPREAD_TLS_KEY", &key),
        ("SPREAD_TLS_NAME", "spread.example.org"),
    ];
    Program::start(&built("spreadctl"), &["pub", "g", "hello"], &variables).succeed();
    let mut without = told[..4].to_vec();
    without.extend(["pub", "g", "hello"]);
    let mut program = Program::start(&built("spreadctl"), &without, &[]);
    program.line_with(&["for another name"]);
}

#[test]
fn the_command_line_takes_tls_where_there_is_some() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let daemon = TlsDaemon::start(&authority, &own, &[]);
    let ca = daemon.file("ca.pem");
    let spreadctl = |args: &[&str]| {
        let variables = [("SPREAD_TLS_CA", &*ca), ("SPREAD_DAEMON", &*daemon.address)];
        Program::start(&built("spreadctl"), args, &variables)
    };
    let short = ["bench", "flood", "--size=64", "--count=100", "--warm-up=10", "--runs=1"];
    spreadctl(&short).succeed();
    // A session is opened, because the status socket has the name of the other port.
    spreadctl(&["health"]).line_with(&["healthy: a session was opened"]);
    spreadctl(&["status"]).line_with(&["the one without TLS"]);
    spreadctl(&["doctor"]).line_with(&["the one without TLS"]);
    let mut plain = Program::start(&built("spreadctl"), &["-d", &daemon.address, "pub", "g"], &[]);
    plain.line_with(&["speaks TLS, and this connection does not"]);
    plain.line_with(&["hint: --tls-ca FILE connects over TLS"]);
    let mut plain = Program::start(&built("spreadctl"), &["-d", &daemon.address, "doctor"], &[]);
    plain.line_with(&["protocol", "speaks TLS"]);
    plain.line_with(&["-> --tls-ca FILE connects over TLS"]);
    let own = [&["-d", ""], &short[..]].concat();
    spreadctl(&own).line_with(&["a daemon of its own, which has neither TLS nor passwords"]);
}
