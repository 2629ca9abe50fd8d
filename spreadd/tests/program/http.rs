//! What it serves by HTTP, to whom, and what it bears.

use std::fs;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, DEADLINE};
use crate::support::{Folder, Program, ask, complaint, said, secret_file};

/// The program with its address for HTTP.
pub(crate) struct Served {
    program: Program,
    /// The address of clients.
    pub(crate) clients: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Served {
    /// Starts it, at any ports of 127.0.0.1.
    pub(crate) fn start(folder: &Folder, options: &[&str]) -> Served {
        Served::start_at(folder, "127.0.0.1:0", options)
    }

    pub(crate) fn start_at(folder: &Folder, http: &str, options: &[&str]) -> Served {
        let mut command = folder.command(0);
        command.args(["--http", http, "--log-format", "json"]).args(options);
        let program = Program::start(command.stderr(Stdio::null()));
        let ready: Value = serde_json::from_str(&program.ready).unwrap();
        let ready = &ready["fields"];
        let (port, host) = ready["address"].as_str().unwrap().split_once('@').unwrap();
        let url = ready["http"].as_str().unwrap();
        let http = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        Served { program, clients: format!("{host}:{port}").parse().unwrap(), http }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &["Host: localhost"])
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        self.exchange(head.as_bytes())
    }

    fn kick(&self, name: &str, token: &str) -> Answer {
        let authorization = format!("Authorization: Bearer {token}");
        self.ask("POST", &format!("/kick/{name}"), &["Host: localhost", &authorization])
    }

    /// Sends bytes and returns what comes until the end.
    fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        Answer { head: head.to_owned(), body: body.to_owned() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn signal(&self, signal: &str) {
        let id = self.program.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).body).unwrap()
    }
}

#[derive(Debug)]
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn code(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "it does not come");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Writes a token into a file that only its owner may read.
pub(crate) fn token_file(folder: &Folder, token: &str) -> PathBuf {
    secret_file(folder, "token", token)
}

pub(crate) const TOKEN: &str = "correct-horse-battery";

#[test]
fn each_route_answers_in_its_kind_and_nothing_is_cached_or_framed() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    for (path, content_type, text) in [
        ("/", "text/html; charset=utf-8", "<title>spreadd</title>"),
        ("/page.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", "status.json"),
        ("/icon.svg", "image/svg+xml", "<svg"),
        ("/status.json", "application/json", "\"daemon\":\"localhost\""),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "# TYPE spread_sessions gauge\n"),
        ("/healthz", "text/plain; charset=utf-8", "healthy\n"),
        ("/readyz", "text/plain; charset=utf-8", "healthy\n"),
    ] {
        let answer = served.get(path);
        assert_eq!((answer.code(), answer.header("content-type")), ("200", Some(content_type)));
        assert!(answer.body.contains(text), "{path}: {answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        let head = served.ask("HEAD", path, &["Host: localhost"]);
        assert_eq!((head.code(), &*head.body), ("200", ""));
    }
    let page = served.get("/").body;
    assert!(!page.contains("<style") && !page.contains(" style="), "the policy has no such styles");
    assert!(!page.contains("//"), "it loads nothing from elsewhere");
}

#[test]
fn what_is_not_there_or_not_allowed_is_told() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    for path in ["/nothing", "/kick", "//", "/../spread.conf", "/page.js/"] {
        assert_eq!(served.get(path).code(), "404", "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = served.ask(method, "/status.json", &["Host: localhost"]);
        assert_eq!((answer.code(), answer.header("allow")), ("405", Some("GET, HEAD")), "{method}");
    }
    let answer = served.get("/kick/me");
    assert_eq!((answer.code(), answer.header("allow")), ("405", Some("POST")));
    for garbage in ["\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET\r\n\r\n"] {
        assert_eq!(served.exchange(garbage.as_bytes()).code(), "400", "{garbage:?}");
    }
    assert_eq!(served.get("/healthz").body, "healthy\n");
}

#[test]
fn a_full_daemon_is_alive_and_not_ready() {
    let folder = Folder::new();
    let served = Served::start(&folder, &["--max-sessions", "1"]);
    let client = Client::connect(served.clients, "me");
    wait(|| served.get("/readyz").code() == "503");
    let full = "full: all 1 sessions are open\n";
    assert_eq!(served.get("/readyz").body, full);
    let alive = served.get("/healthz");
    assert_eq!((alive.code(), &*alive.body), ("200", full));
    let health = said(&mut ask(&folder, served.clients.port(), &["health"]));
    assert_eq!(health, ("healthy\n".to_owned(), Some(0)), "its sessions are not ended for that");
    drop(client);
    wait(|| served.get("/readyz").code() == "200");
}

#[test]
fn its_status_has_the_views_with_their_numbers() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let mut ann = Client::connect(served.clients, "ann");
    ann.join("one");
    ann.join("two");
    let status = served.json("/status.json");
    assert_eq!((&status["views_total"], &status["can_kick"]), (&2.into(), &false.into()));
    let view = |number: u64, group: &str| {
        let member = "#ann#localhost";
        serde_json::json!({ "number": number, "group": group, "cause": "join", "member": member,
            "members": 1, "seconds_ago": 0 })
    };
    let mut views = status["views"].as_array().unwrap().clone();
    views.iter_mut().for_each(|view| view["seconds_ago"] = 0.into());
    assert_eq!(views, [view(2, "two"), view(1, "one")]);
    drop(ann);
    wait(|| served.json("/status.json")["views_total"] == 4);
    let status = served.json("/status.json");
    let views = status["views"].as_array().unwrap();
    assert_eq!(views.len(), 4);
    let last = &views[0];
    assert_eq!((&last["cause"], &last["group"]), (&"disconnect".into(), &"two".into()));
}

#[test]
fn its_metrics_come_in_the_text_that_is_wanted() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let _client = Client::connect(served.clients, "me");
    wait(|| served.get("/metrics").body.contains("\nspread_sessions 1\n"));
    let ask = |accept: &str| served.ask("GET", "/metrics", &["Host: localhost", accept]);
    let prometheus = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4";
    let open = ask(prometheus);
    let open_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), Some(open_type));
    let open = open.body;
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(open.contains("# TYPE spread_received_bytes counter\n"), "{open}");
    assert!(open.contains(&format!("{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{open}");
    let plain = ask("Accept: text/plain;version=0.0.4;q=1,*/*;q=0.1");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.body.contains("# TYPE spread_received_bytes_total counter\n"), "{plain:?}");
    assert!(!plain.body.contains("EOF"));
    let refused = ask("Accept: text/plain;q=0.9, application/openmetrics-text;q=0");
    assert!(!refused.body.contains("EOF"), "{refused:?}");
}

#[test]
fn a_request_under_the_name_of_another_site_is_refused() {
    let folder = Folder::new();
    let token = token_file(&folder, TOKEN);
    let served = Served::start(&folder, &["--http-token-file", token.to_str().unwrap()]);
    let ask = |host: &str| served.ask("GET", "/status.json", &[host]).code().to_owned();
    for host in ["Host: localhost:1", "Host: 127.0.0.1:9", "Host: [::1]", "Host: 192.0.2.1"] {
        assert_eq!(ask(host), "200", "{host}");
    }
    for host in ["Host: evil.example", "Host: localhost.evil.example:8080", "Host: spread"] {
        assert_eq!(ask(host), "421", "{host}");
    }
    // A probe without a name is no browser.
    for (request, code) in [
        ("GET / HTTP/1.0\r\n\r\n", "421"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /readyz HTTP/1.0\r\n\r\n", "200"),
        ("GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", "421"),
    ] {
        assert_eq!(served.exchange(request.as_bytes()).code(), code, "{request:?}");
    }
    let rebound = ["Host: evil.example", &format!("Authorization: Bearer {TOKEN}")];
    assert_eq!(served.ask("POST", "/kick/me", &rebound).code(), "421");

    // A container listens at all addresses, and a browser reaches it at one of its host.
    let other = Folder::new();
    let names = ["--http-host", "spread", "--http-host", "spread.example"];
    let everywhere = Served::start_at(&other, "0.0.0.0:0", &names);
    // The address that is told is one to ask at.
    assert!(everywhere.http.ip().is_loopback());
    let ask = |host: &str| everywhere.ask("GET", "/status.json", &[host]).code().to_owned();
    for host in ["Host: spread:8080", "Host: spread.example", "Host: 192.0.2.1:8080"] {
        assert_eq!(ask(host), "200", "{host}");
    }
    for host in ["Host: evil.example:8080", "Host: evil.spread.example"] {
        assert_eq!(ask(host), "421", "{host}");
    }
}

#[test]
fn clients_are_kicked_by_whoever_has_the_token() {
    let folder = Folder::new();
    let token = token_file(&folder, &format!("{TOKEN}\n"));
    let log = folder.0.join("log");
    let options =
        ["--http-token-file", token.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let served = Served::start(&folder, &options);
    assert_eq!(served.json("/status.json")["can_kick"], true);
    let mut client = Client::connect(served.clients, "<b>&/");
    let name = "%23%3Cb%3E%26%2F%23localhost";
    let missing = served.ask("POST", &format!("/kick/{name}"), &["Host: localhost"]);
    assert_eq!((missing.code(), missing.header("www-authenticate")), ("401", Some("Bearer")));
    for wrong in ["", "correct-horse-batterz", "correct-horse-battery2"] {
        assert_eq!(served.kick(name, wrong).code(), "401", "{wrong}");
    }
    let cookie = ["Host: localhost", &format!("Cookie: token={TOKEN}")];
    assert_eq!(served.ask("POST", &format!("/kick/{name}"), &cookie).code(), "401");
    assert_eq!(served.json("/status.json")["kicked_total"], 0);
    let refused = || -> Vec<String> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["level"] == "WARN");
        lines.filter_map(|line| Some(line["fields"]["peer"].as_str()?.to_owned())).collect()
    };
    wait(|| refused().len() == 5);
    let is_here = |peer: &String| peer.starts_with("127.0.0.1:");
    assert!(refused().iter().all(is_here), "{:?}", refused());

    let kicked = served.kick(name, TOKEN);
    assert_eq!((kicked.code(), &*kicked.body), ("200", "{\"kicked\":\"#<b>&/#localhost\"}\n"));
    client.wait_for_close();
    assert_eq!(served.json("/status.json")["kicked_total"], 1);
    let by = |line: &str| line.contains("a client is kicked") && line.contains("HTTP, 127.0.0.1:");
    wait(|| fs::read_to_string(&log).unwrap_or_default().lines().any(by));
    assert_eq!(served.kick(name, TOKEN).code(), "404");
    assert_eq!(served.kick("%FF", TOKEN).code(), "400");
    // By its private name, and a body is of no use.
    let mut client = Client::connect(served.clients, "me");
    let head = format!(
        "POST /kick/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 1000000000\r\n\r\nabc"
    );
    assert_eq!(served.exchange(head.as_bytes()).code(), "200");
    client.wait_for_close();
}

#[test]
fn without_a_token_nobody_kicks() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let _client = Client::connect(served.clients, "me");
    assert_eq!(served.kick("me", "").code(), "403");
    assert_eq!(served.json("/status.json")["sessions"], 1);
}

#[test]
fn the_token_is_read_again_unless_its_file_is_wrong() {
    let folder = Folder::new();
    let token = token_file(&folder, TOKEN);
    let log = folder.0.join("log");
    let options =
        ["--http-token-file", token.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let served = Served::start(&folder, &options);
    assert_eq!(served.kick("nobody", TOKEN).code(), "404");
    let new = "another-word-of-letters";
    token_file(&folder, new);
    served.signal("-HUP");
    wait(|| served.kick("nobody", new).code() == "404");
    assert_eq!(served.kick("nobody", TOKEN).code(), "401");
    token_file(&folder, "short");
    served.signal("-HUP");
    let says = |text: &str| fs::read_to_string(&log).unwrap_or_default().contains(text);
    wait(|| says("not reloaded, all is as before"));
    assert!(says("has fewer than 16 characters"));
    assert_eq!(served.kick("nobody", new).code(), "404");
}

#[test]
fn what_is_wrong_with_its_address_or_token_is_told_at_the_start() {
    let folder = Folder::new();
    let with = |options: &[&str]| complaint(folder.command(0).args(options));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = with(&["--http", &address]);
    assert!(said.contains(&format!("another program, maybe another daemon, listens at {address}")));
    let said = with(&["--http", "192.0.2.1:8080"]);
    assert!(said.contains("cannot listen at 192.0.2.1:8080: "), "{said}");

    let path = folder.0.join("token");
    let file = path.to_str().unwrap();
    let options = ["--http", "0", "--http-token-file", file];
    let said = with(&options);
    assert!(said.contains(&format!("cannot read {file}: No such file")), "{said}");
    for (text, reason) in [
        ("", "is empty: it should have a token"),
        (" \n", "is empty: it should have a token"),
        ("two words are wrong", "a token is one word of printable ASCII"),
        ("short", "the token has fewer than 16 characters"),
        (&*format!("{TOKEN}{}", "\n".repeat(5000)), "has more than 4096 bytes"),
        (&*"x".repeat(4097), "has more than 4096 bytes"),
    ] {
        token_file(&folder, text);
        let said = with(&options);
        assert!(said.contains(file) && said.contains(reason), "{said}");
    }
    let fifo = folder.0.join("fifo");
    assert!(Command::new("mkfifo").arg("-m600").arg(&fifo).status().unwrap().success());
    for path in [&fifo, &folder.0] {
        let path = path.to_str().unwrap();
        let said = with(&["--http", "0", "--http-token-file", path]);
        assert!(said.contains(&format!("{path} is no regular file")), "{said}");
    }
    token_file(&folder, &format!("{}\n", "x".repeat(4095)));
    let checked = folder.command(0).args(options).arg("--check").output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    token_file(&folder, TOKEN);
    for mode in [0o644, 0o602] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let said = with(&options);
        assert!(said.contains(&format!("{file} is open to every user: chmod o= {file}")), "{said}");
        let checked = folder.command(0).args(options).arg("--check").output().unwrap();
        assert_eq!(checked.status.code(), Some(2));
    }
    for wrong in [
        &["--http", "nowhere"][..],
        &["--http-token-file", file],
        &["--http-host", "spread"],
        &["--http", "0", "--http-host", "spread:80"],
    ] {
        let output = folder.command(0).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let mut silent: Vec<TcpStream> = (0..64).map(|_| served.connect()).collect();
    silent.iter_mut().for_each(|stream| stream.write_all(b"GET / HT").unwrap());
    // Each takes the place of the oldest, and stays.
    let others: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            stream
        })
        .collect();
    for stream in &mut silent {
        // The end may come as a reset, because what it had sent was not read.
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    drop(others);
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let mut slow = served.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    let mut idle = served.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    let mut answer = String::new();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("healthy\n"), "{answer}");
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let mut deaf = served.connect();
    deaf.set_write_timeout(Some(DEADLINE)).unwrap();
    // The answers are more than the buffers of both sockets hold.
    deaf.write_all(&b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000)).unwrap();
    // It hears of the end only when it sends something.
    wait(|| deaf.write(b"\n").is_err());
    assert_eq!(served.get("/healthz").code(), "200");
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(1 << 20));
    let mut stream = served.connect();
    // It may be refused before all of it has been sent.
    let _ = stream.write_all(long.as_bytes());
    let mut rest = [0; 12];
    match stream.read(&mut rest) {
        Ok(0) | Err(_) => {}
        Ok(_) => assert!(rest.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&rest)),
    }
    let headers = "X: y\r\n".repeat(100);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    assert_eq!(served.exchange(many.as_bytes()).code(), "431");
    assert_eq!(served.get("/healthz").code(), "200");
}

#[test]
fn clients_that_go_in_the_middle_do_no_harm() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    for part in ["", "GET", "GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        for _ in 0..50 {
            let mut stream = served.connect();
            stream.write_all(part.as_bytes()).unwrap();
            // Dropped without being read, which resets it where an answer has come.
            if part.is_empty() {
                stream.shutdown(Shutdown::Write).unwrap();
            }
        }
    }
    let mut stream = served.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    let mut read = String::new();
    while read.matches("healthy").count() < 3 {
        let mut buffer = [0; 1024];
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "it keeps connections: {read}");
        read.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
}

#[test]
fn while_it_drains_it_is_there_but_not_ready() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let mut client = Client::connect(served.clients, "me");
    client.join("town");
    // More than its socket holds.
    for _ in 0..300 {
        client.multicast("town", &[7; 100_000]);
    }
    wait(|| served.json("/status.json")["received_total"] == 301);
    let port = served.clients.port();
    let (told, code) = said(&mut ask(&folder, port, &["health"]));
    let ready = served.get("/readyz");
    assert_eq!((code, ready.code()), (Some(0), "200"));
    assert_eq!([&*told, &*ready.body], ["healthy\n"; 2]);
    served.signal("-TERM");
    wait(|| served.get("/readyz").code() == "503");
    let draining = "draining: no new clients are taken\n";
    assert_eq!(served.get("/readyz").body, draining);
    let healthy = served.get("/healthz");
    assert_eq!((healthy.code(), &*healthy.body), ("200", draining));
    for _ in 0..300 {
        client.receive_body();
    }
    let Served { mut program, http, .. } = served;
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(http).is_err());
}
