//! Certificates, keys and authorities: who is trusted, and who is let in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use spread::{Error, Mailbox, Service, TlsConfig, TlsConfigError, TlsError, UserPassword};

use crate::support::program::Program;
use crate::support::tls::{Authority, Certificate, TlsDaemon, built, daemon};
use crate::support::{self, Expect, PATIENCE, unique};
use crate::{HOSTS, over_tls, tls_error};

fn showing(config: TlsConfig, own: &Certificate) -> TlsConfig {
    config.certificate(&own.chain, &own.key).unwrap()
}

#[test]
fn a_daemon_that_is_not_the_one_that_is_meant_is_refused() {
    let authority = Authority::new("the authority");
    let daemon = TlsDaemon::start(&authority, &authority.of_hosts(&HOSTS), &[]);
    let other = Authority::new("another authority").config();
    let error = tls_error(&over_tls(&daemon, other));
    assert!(matches!(error, TlsError::Untrusted(_)), "{error:?}");
    let named = authority.config().server_name("elsewhere.example.org").unwrap();
    let error = tls_error(&over_tls(&daemon, named));
    assert!(matches!(error, TlsError::WrongName(_)), "{error:?}");
    let named = authority.config().server_name("localhost").unwrap();
    over_tls(&daemon, named).connect().unwrap();
}

#[test]
fn a_certificate_that_has_expired_is_refused_until_the_daemon_has_another_one() {
    let authority = Authority::new("the authority");
    let mut daemon = TlsDaemon::start(&authority, &authority.expired(&HOSTS), &[]);
    let builder = over_tls(&daemon, authority.config());
    let error = tls_error(&builder);
    assert!(matches!(error, TlsError::Expired(_)), "{error:?}");
    let mut reload = |certificate: &Certificate, answer: &str| {
        daemon.replace(certificate);
        daemon.program.signal(Signal::SIGHUP);
        daemon.program.line_with(&[answer]);
    };
    reload(&authority.of_hosts(&HOSTS), "reloaded");
    let mut stays = builder.connect().unwrap();
    let mixed = Certificate {
        chain: authority.of_hosts(&HOSTS).chain,
        key: authority.of_hosts(&HOSTS).key,
    };
    reload(&mixed, "not reloaded, all is as before: the key in ");
    let me = stays.private_group().to_string();
    stays.multicast(Service::Fifo, me.as_str(), b"still here").unwrap();
    stays.next_regular();
    builder.clone().private_name(unique("u")).connect().unwrap();
}

#[test]
fn the_expiry_of_the_certificate_in_use_is_a_metric() {
    let authority = Authority::new("the authority");
    let metrics = "--metrics=127.0.0.1:0";
    let mut daemon = TlsDaemon::start(&authority, &authority.expired(&HOSTS), &[metrics]);
    let told = daemon.program.line_with(&["metrics are at http://"]);
    let (_, address) = told.split_once("http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap().to_owned();
    let expiry = || -> u64 {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let sample = "\nspread_tls_certificate_expiry_timestamp_seconds ";
        let (_, value) = answer.split_once(sample).unwrap_or_else(|| panic!("{answer}"));
        value.lines().next().unwrap().parse().unwrap()
    };
    // The end of the year 2001.
    assert_eq!(expiry(), 1_009_756_800);
    daemon.replace(&authority.of_hosts(&HOSTS));
    daemon.program.signal(Signal::SIGHUP);
    daemon.program.line_with(&["reloaded"]);
    // The end of the default certificates of rcgen is in the year 4096.
    assert_eq!(expiry(), 67_090_118_400);
}

#[test]
fn who_does_not_speak_tls_is_rejected_with_its_address() {
    let authority = Authority::new("the authority");
    let mut daemon = TlsDaemon::start(&authority, &authority.of_hosts(&HOSTS), &[]);
    let error = Mailbox::connect(&daemon.address).unwrap_err();
    assert!(matches!(error, Error::SpeaksTls { .. }), "{error:?}");
    let words = ["DEBUG", "rejected a client: received corrupt message", "address=127.0.0.1:"];
    daemon.program.line_with(&words);
    // A client that does not trust the daemon is not rejected by it.
    let other = Authority::new("another authority").config();
    tls_error(&over_tls(&daemon, other));
    daemon.program.line_with(&["DEBUG", "a TLS handshake failed", "address=127.0.0.1:"]);
    daemon.ask(&["status", "--json"]).line_with(&["\"rejected_total\":1"]);
}

#[test]
fn a_client_that_is_rejected_and_keeps_its_connection_is_counted_once() {
    let authority = Authority::new("the authority");
    let mut daemon = TlsDaemon::start(&authority, &authority.of_hosts(&HOSTS), &[]);
    let (port, host) = daemon.address.split_once('@').unwrap();
    let mut client = TcpStream::connect((host, port.parse().unwrap())).unwrap();
    client.write_all(&[b'x'; 64]).unwrap();
    daemon.program.line_with(&["DEBUG", "rejected a client: received corrupt message"]);
    // The daemon closes the connection when its time is over.
    let deadline = Instant::now() + PATIENCE;
    while client.write(b"x").is_ok() {
        assert!(Instant::now() < deadline, "the connection is still open");
        thread::sleep(Duration::from_millis(20));
    }
    daemon.ask(&["status", "--json"]).line_with(&["\"rejected_total\":1"]);
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("cert.pem", &own.chain), file("key.pem", &own.key));
    let (empty, cut) = (file("empty.pem", ""), file("cut.pem", &own.chain[..100]));
    let other = file("other.pem", &authority.of_hosts(&HOSTS).key);
    let version_1 = file("version-1.pem", include_str!("data/version-1.pem"));
    let small = file("small.key", include_str!("data/rsa-1024.key"));
    let encrypted = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                     DEK-Info: AES-128-CBC,00\n\nMAA=\n-----END EC PRIVATE KEY-----\n";
    let encrypted = file("encrypted.key", encrypted);
    let missing = dir.path().join("missing.pem").display().to_string();
    for (cert, key, ca, reason) in [
        (&missing, &key, &cert, format!("cannot read {missing}: No such file")),
        (&empty, &key, &cert, format!("there is no certificate in {empty}")),
        (&cut, &key, &cert, format!("{cut} is not PEM")),
        (&cert, &empty, &cert, format!("there is no private key in {empty}")),
        (&cert, &other, &cert, format!("the key in {other} does not belong to the certificate")),
        (&cert, &key, &missing, format!("cannot read {missing}: No such file")),
        (&version_1, &key, &cert, format!("certificate in {version_1} is of X.509 version 1")),
        (&cert, &encrypted, &cert, format!("the private key in {encrypted} is encrypted")),
        (&cert, &small, &cert, format!("key in {small} cannot be used: it has to be RSA of 2048")),
    ] {
        let options = [
            "--no-config",
            "--check",
            &format!("--tls-cert={cert}"),
            &format!("--tls-key={key}"),
            &format!("--tls-client-ca={ca}"),
        ];
        daemon(&options).line_with(&[&reason]);
    }
}

#[test]
fn a_certificate_or_key_that_a_client_cannot_use_is_told() {
    let authority = Authority::new("the authority");
    let own = authority.of_user("ann");
    let error = |certificate: &str, key: &str| {
        authority.config().certificate(certificate, key).unwrap_err()
    };
    let version_1 = error(include_str!("data/version-1.pem"), &own.key);
    assert!(matches!(version_1, TlsConfigError::Version { .. }), "{version_1}");
    let small = error(&own.chain, include_str!("data/rsa-1024.key"));
    assert!(matches!(small, TlsConfigError::KeyKind { .. }), "{small}");
    let other = error(&own.chain, &authority.of_user("ann").key);
    assert!(matches!(other, TlsConfigError::Certificate { .. }), "{other}");
}

#[test]
fn a_client_shows_the_certificate_that_the_daemon_wants() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let mut daemon = TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA"]);
    let trusting = authority.config();
    let error = tls_error(&over_tls(&daemon, trusting.clone()));
    assert!(matches!(error, TlsError::CertificateRequired), "{error:?}");
    daemon.program.line_with(&["rejected a client: peer sent no certificates"]);
    let strange = Authority::new("another authority").of_user("mallory");
    let error = tls_error(&over_tls(&daemon, showing(trusting.clone(), &strange)));
    assert!(matches!(error, TlsError::CertificateRefused(_)), "{error:?}");
    daemon.program.line_with(&["rejected a client: invalid peer certificate"]);
    for (certificate, user) in [
        (authority.of_user("ann"), "ann"),
        (authority.without_common_name(&["bob.example.org"]), "bob.example.org"),
    ] {
        over_tls(&daemon, showing(trusting.clone(), &certificate)).connect().unwrap();
        let user = format!("user={user:?}");
        let shown = daemon.program.line_with(&["has shown its certificate", &user]);
        let address = shown.split(' ').find(|word| word.starts_with("address=127.0.0.1:")).unwrap();
        daemon.program.line_with(&["a session begins", address, &user, "transport=\"tls\""]);
    }
    let nameless = authority.without_common_name(&[]);
    let error = tls_error(&over_tls(&daemon, showing(trusting, &nameless)));
    assert!(matches!(error, TlsError::CertificateRefused(_)), "{error:?}");
    daemon.program.line_with(&["rejected a client: its certificate has no name", "address=127."]);
    daemon.ask(&["status", "--json"]).line_with(&["\"rejected_total\":3"]);
}

#[test]
fn a_certificate_stands_for_the_password_unless_both_are_demanded() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let ann = showing(authority.config(), &authority.of_user("ann"));
    let dir = tempfile::tempdir().unwrap();
    let passwords = with_password(&dir, "ann", "secret");
    let options = ["--tls-client-ca=CA", &passwords];
    let daemon = TlsDaemon::start(&authority, &own, &options);
    let both = |daemon: &TlsDaemon, password: &str| {
        over_tls(daemon, ann.clone()).authenticate(UserPassword::new("ann", password)).connect()
    };
    over_tls(&daemon, ann.clone()).connect().unwrap();
    both(&daemon, "secret").unwrap();
    let error = both(&daemon, "wrong").unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
    let error = Mailbox::connect(&daemon.plain).unwrap_err();
    assert!(matches!(error, Error::NotAuthorized { .. }), "{error:?}");
    let daemon =
        TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA", &passwords, "--tls-passwords"]);
    let error = over_tls(&daemon, ann.clone()).connect().unwrap_err();
    assert!(matches!(error, Error::NotAuthorized { .. }), "{error:?}");
    both(&daemon, "secret").unwrap();
}

/// Makes a file with the password of a user; returns the option for it.
fn with_password(dir: &tempfile::TempDir, user: &str, password: &str) -> String {
    let file = dir.path().join("spread.access_pword").display().to_string();
    let mut passwd = Program::start(&built("spreadd"), &["passwd", &file, user], &[]);
    passwd.type_line(password);
    passwd.finish();
    format!("--passwords={file}")
}

#[test]
fn passwords_over_tls_have_to_be_demanded_of_every_client() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let passwords = with_password(&dir, "ann", "secret");
    let conf = dir.path().join("spread.conf").display().to_string();
    let methods = |methods: &str| {
        let segment = "Spread_Segment 127.0.0.255:4803 {\n localhost 127.0.0.1\n}";
        std::fs::write(&conf, format!("{segment}\n{methods}\n")).unwrap();
    };
    let config = format!("--config={conf}");
    let options = ["--tls-client-ca=CA", "--tls-passwords", &config];
    methods("RequiredAuthMethods = \"PWORD\"");
    let mut daemon = TlsDaemon::start(&authority, &own, &options);
    methods("AllowedAuthMethods = \"NULL PWORD\"");
    daemon.program.signal(Signal::SIGHUP);
    let refused = "--tls-passwords without a password that every client has to give";
    daemon.program.line_with(&["not reloaded, all is as before: ", refused]);
    let ann = showing(authority.config(), &authority.of_user("ann"));
    // The daemon still waits for the password.
    let error = over_tls(&daemon, ann).timeout(Duration::from_millis(500)).connect().unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
    let (cert, key, ca) = (daemon.file("cert.pem"), daemon.file("key.pem"), daemon.file("ca.pem"));
    let fixed = [
        "--check",
        &format!("--tls-cert={cert}"),
        &format!("--tls-key={key}"),
        &format!("--tls-client-ca={ca}"),
        "--tls-passwords",
    ];
    let checked = |others: &[&str], said: &str| {
        support::tls::daemon(&[&fixed[..], others].concat()).line_with(&[said]);
    };
    checked(&["--no-config"], refused);
    checked(&[&config], refused);
    checked(&[&config, &passwords], "is fine");
}

#[test]
fn a_key_that_all_users_can_read_is_warned_of() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, &own.chain).unwrap();
    std::fs::write(&key, &own.key).unwrap();
    let options = [
        "--no-config",
        "--check",
        &format!("--tls-cert={}", cert.display()),
        &format!("--tls-key={}", key.display()),
    ];
    for (mode, warns) in [(0o640, false), (0o644, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let lines = daemon(&options).succeed();
        let warned = lines.iter().any(|line| line.contains("all users can read the private key"));
        assert_eq!(warned, warns, "{lines:?}");
    }
}

#[test]
fn what_clients_will_not_accept_and_a_port_that_is_taken_are_told_at_the_start() {
    let authority = Authority::new("the authority");
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let start = |own: &Certificate, options: &[&str]| {
        std::fs::write(&cert, &own.chain).unwrap();
        std::fs::write(&key, &own.key).unwrap();
        let files =
            [format!("--tls-cert={}", cert.display()), format!("--tls-key={}", key.display())];
        daemon(&[&["--no-config", &*files[0], &*files[1]], options].concat())
    };
    let checked = start(&authority.expired(&HOSTS), &["--check"]).succeed();
    let expired = |line: &String| line.contains("cert.pem expired at 20");
    assert_eq!(checked.iter().filter(|line| expired(line)).count(), 1, "{checked:?}");
    let nameless = |line: &String| line.contains("cert.pem is for no host, neither a DNS name nor");
    assert!(!checked.iter().any(nameless), "{checked:?}");
    let checked = start(&authority.of_user("spread.example"), &["--check"]).succeed();
    assert_eq!(checked.iter().filter(|line| nameless(line)).count(), 1, "{checked:?}");
    let valid = authority.of_hosts(&HOSTS);
    let checked = start(&valid, &["--check"]).succeed();
    assert!(!checked.iter().any(|line| expired(line) || nameless(line)), "{checked:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    let folder = dir.path().display().to_string();
    let options = ["--port=0", "--unix-dir", &folder, &format!("--tls-port={}", taken.port())];
    start(&valid, &options).line_with(&["another program", &taken.to_string()]);
}

#[test]
fn an_address_list_holds_for_clients_over_tls() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("allowed");
    for (allowed, is_in) in [("127.0.0.1\n", true), ("10.0.0.0/8\n", false)] {
        std::fs::write(&list, allowed).unwrap();
        let option = format!("--allow={}", list.display());
        let daemon = TlsDaemon::start(&authority, &own, &[&option]);
        let connected = over_tls(&daemon, authority.config()).connect();
        match is_in {
            true => drop(connected.unwrap()),
            false => assert!(matches!(connected, Err(Error::NotAuthorized { .. }))),
        }
    }
}
