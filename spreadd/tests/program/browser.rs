//! The page, in Chromium.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::{env, thread};

use serde_json::{Value, json};

use crate::client::{Client, DEADLINE};
use crate::http::{Served, TOKEN, token_file};
use crate::support::Folder;

/// A browser that is told what to do by the DevTools protocol over pipes.
struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    /// The page, once there is one.
    session: Option<String>,
    /// What it found wrong with the page.
    complaints: Vec<Value>,
}

impl Browser {
    /// Starts Chromium; says in one line that there is none, with `REQUIRE_ALL` as well.
    fn start(folder: &Folder) -> Option<Browser> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
        let places = names.iter().flat_map(|name| folders.iter().map(move |path| path.join(name)));
        let Some(program) = places.into_iter().find(|path| path.exists()) else {
            // Past what the test harness captures.
            let line = "!!! spreadd/tests/program/browser.rs: NO CHROMIUM, so the page is NOT TESTED !!!\n";
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        };
        // It reads commands from descriptor 3 and writes messages to descriptor 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"])
            // Of containers: neither namespaces nor a large /dev/shm. It sees this page only.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", folder.0.join("profile").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                // The test may be over.
                let _ = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let (last, session, complaints) = (0, None, Vec::new());
        Some(Browser { child, commands, messages, last, session, complaints })
    }

    /// Calls a method of the protocol, and returns its result.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(DEADLINE).expect(method);
            let told = message["method"].as_str().unwrap_or_default();
            let is_error = message["params"]["entry"]["level"] == "error";
            if told == "Runtime.exceptionThrown" || told == "Log.entryAdded" && is_error {
                self.complaints.push(message);
            } else if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    /// Opens a page.
    fn open(&mut self, url: &str) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach);
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Returns the value of an expression.
    fn value(&mut self, expression: &str) -> Value {
        let evaluate =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", evaluate);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn wait(&mut self, expression: &str) {
        let limit = DEADLINE.as_millis() / 2;
        let looked = self.value(&format!(
            "new Promise((done) => {{
                const end = Date.now() + {limit};
                const look = () => {{
                    const is = (() => {{ try {{ return {expression}; }} catch {{ return false; }} }})();
                    if (is || Date.now() > end) done(Boolean(is)); else setTimeout(look, 10);
                }};
                look();
            }})"
        ));
        if looked != true {
            let text = self.value("document.body.innerText");
            panic!("{expression} is not so:\n{}", text.as_str().unwrap_or_default());
        }
    }

    fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    fn resize(&mut self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own end takes the processes with it that it has started.
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.messages.recv_timeout(DEADLINE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_shows_members_as_they_come_and_go_and_comes_back_with_the_daemon() {
    let folder = Folder::new();
    let token = token_file(&folder, TOKEN);
    let options = ["--http-token-file", token.to_str().unwrap()];
    let profile = Folder::new();
    let Some(mut browser) = Browser::start(&profile) else { return };
    let served = Served::start(&folder, &options);
    browser.open(&format!("http://{}/", served.http));
    browser.wait("document.querySelector('#daemon').textContent === 'localhost'");
    browser.wait("document.querySelector('#sessions caption').textContent === '0 sessions.'");

    // A member appears, whatever its name is.
    let mut client = Client::connect(served.clients, "<b>&");
    client.join("<i>town</i>");
    let row = "document.querySelector('#sessions tbody tr')";
    browser.wait(&format!("{row}.cells[0].textContent === '#<b>&#localhost'"));
    browser.wait(&format!("{row}.cells[8].textContent === '<i>town</i>'"));
    let group = "document.querySelector('#groups tbody tr')";
    browser.wait(&format!("{group}.cells[0].textContent === '<i>town</i>'"));
    browser.wait(&format!("{group}.cells[2].textContent === '#<b>&#localhost'"));
    let view = "document.querySelector('#views tbody tr')";
    browser.wait(&format!("{view}.cells[3].textContent === '#<b>&#localhost joined'"));
    assert_eq!(browser.value("document.querySelectorAll('b, i').length"), 0);

    // It leaves, and is gone.
    client.request(&spread_wire::Request::Leave(spread_wire::Name::new("<i>town</i>").unwrap()));
    browser.wait("document.querySelector('#groups tbody').rows.length === 0");
    browser.wait(&format!("{view}.cells[3].textContent === '#<b>&#localhost left'"));

    // Every answer has the last views, and each view is told once.
    let message = "document.querySelector('#message').textContent";
    browser.value("document.querySelector('#aloud').checked = true");
    client.receive_until_handled();
    client.join("<i>town</i>");
    browser.wait(&format!("{message} === '<i>town</i>: #<b>&#localhost joined'"));
    let counted = "(...all) => { polls++; return realFetch(...all); }";
    let count = format!("window.polls = 0; window.realFetch = fetch; fetch = {counted}; null");
    browser.value(&format!("{message} = ''; {count}"));
    browser.wait("polls >= 3");
    assert_eq!(browser.value(message), "");
    browser.value("document.querySelector('#aloud').checked = false");

    // Sorting and filters by the keyboard, with what stands for them.
    let mut other = Client::connect(served.clients, "zoe");
    browser.wait("document.querySelector('#sessions tbody').rows.length === 2");
    assert_eq!(browser.value("document.querySelector('#sessions th').ariaSort"), "ascending");
    browser.value("document.querySelector('#sessions th button').focus()");
    browser.press("Enter", 13, "\r");
    browser.wait("document.querySelector('#sessions th').ariaSort === 'descending'");
    browser.wait(&format!("{row}.cells[0].textContent === '#zoe#localhost'"));
    let waiting = "document.querySelector('#sessions').tHead.rows[0].cells[4]";
    browser.value(&format!("{waiting}.querySelector('button').click()"));
    assert_eq!(browser.value(&format!("{waiting}.ariaSort")), "descending", "the highest first");
    let address = format!("/^127\\.0\\.0\\.1:\\d+$/.test({row}.cells[1].textContent)");
    assert_eq!(browser.value(&address), true);
    browser.value("document.querySelector('#sessions-filter').focus()");
    browser.press("z", 90, "z");
    browser.wait("document.querySelector('#message').textContent === '1 of 2 sessions.'");
    assert_eq!(browser.value("document.querySelector('#sessions tbody').rows.length"), 1);
    browser.press("Backspace", 8, "");
    browser.wait("document.querySelector('#sessions tbody').rows.length === 2");

    // A kick takes the token and a confirmation.
    let kick = "[...document.querySelectorAll('#sessions tr button')]
        .find((button) => button.ariaLabel === 'Kick #<b>&#localhost')";
    browser.value(&format!("{kick}.click()"));
    browser.wait("document.activeElement.id === 'token'");
    browser.value(&format!("document.querySelector('#token').value = '{TOKEN}'; {kick}.click()"));
    browser.wait("document.querySelector('#confirm').open && document.activeElement.id === 'no'");
    browser.value("document.querySelector('#yes').click()");
    client.wait_for_close();
    browser.wait("document.querySelector('#message').textContent === 'Kicked #<b>&#localhost.'");
    browser.wait("document.querySelector('#sessions tbody').rows.length === 1");
    let cut_off = "document.querySelector('#cut-offs tbody tr')";
    browser.wait(&format!("{cut_off}.cells[3].textContent === 'it was kicked'"));

    // A client in many groups has a row of one line where only a part of the table is seen.
    (0..30).for_each(|number| other.join(&format!("group-{number}")));
    browser.wait(&format!("{row}.cells[8].textContent.includes('and 18 more')"));
    browser.resize(360);
    browser.wait(&format!("{row}.offsetHeight < 50"));

    // Nothing is wider than the window, and everything that is drawn has a text.
    for width in [360, 1280] {
        browser.resize(width);
        browser.wait("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(browser.value("innerWidth"), width);
    }
    let named = "[...document.querySelectorAll('svg')].every((svg) => svg.ariaLabel.includes('per second'))";
    assert_eq!(browser.value(named), true);
    assert_eq!(browser.complaints, Vec::<Value>::new());

    // It tells what stands between it and the daemon.
    let refusal = "new Response('Not here.\\n', { status: 421 })";
    browser.value(&format!("fetch = async () => {refusal}; null"));
    browser.wait(&format!("{message}.includes('(421: Not here.)')"));
    browser.value("fetch = realFetch; null");
    browser.wait(&format!("{message} === 'The daemon answers again.'"));

    // Whom a dialog asks about can go, and a later client can have the name.
    let ask = |name: &str| {
        format!(
            "[...document.querySelectorAll('#sessions tr button')]
            .find((button) => button.ariaLabel === 'Kick #{name}#localhost').click()"
        )
    };
    let mut brief = Client::connect(served.clients, "brief");
    browser.wait("document.querySelector('#sessions tbody').rows.length === 2");
    browser.value(&ask("brief"));
    browser.wait("document.querySelector('#confirm').open");
    brief.request(&spread_wire::Request::Disconnect(brief.private_group));
    browser.wait("!document.querySelector('#confirm').open");
    browser.wait(&format!("{message} === 'The session of #brief#localhost has ended.'"));
    browser.value(&ask("zoe"));
    browser.wait(&format!("document.querySelector('#confirm').open && {message} === ''"));

    // Without the daemon it says so, and comes back with it.
    let http = served.http.to_string();
    drop(served);
    browser.wait("document.body.classList.contains('lost')");
    browser.wait(&format!("{message}.startsWith('No status since')"));
    browser.wait("document.title === 'No status of localhost · spreadd'");
    assert_eq!(browser.value("document.querySelector('#confirm').open"), false);
    let served = Served::start_at(&folder, &http, &options);
    browser.wait("document.querySelector('#message').textContent === 'The daemon has restarted.'");
    browser.wait("document.title === 'localhost · spreadd'");
    let _late = Client::connect(served.clients, "late");
    browser.wait(&format!("{row}.cells[0].textContent === '#late#localhost'"));
    assert_eq!(browser.value("document.body.classList.contains('lost')"), false);
}
