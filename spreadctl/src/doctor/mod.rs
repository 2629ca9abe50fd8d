//! `doctor`: what works between here and a daemon, what does not, and what to do.

mod handshake;
mod report;

use std::io;
use std::time::{Duration, Instant};

use spread::{MAX_BODY_AND_GROUPS, Mailbox, Message, Service};
use spread_core::Address;

use crate::admin::{self, Status};
use crate::failure::{Code, End, Failure, Result};
use crate::options::{Connection, Json, service_name};
use crate::output::{Output, Theme};
use crate::text::count;
use handshake::Greeting;
use report::Report;

/// Messages whose times are taken, for each service.
const ROUND_TRIPS: usize = 20;

pub(crate) fn run(options: &Json, connection: &Connection, theme: Theme) -> Result {
    let password = connection.password()?;
    let mut report = Report::default();
    let mut output = Output::new();
    let mut shown = 0;
    let mut examination = Examination { connection, report: &mut report };
    let mut next = Some(Step::Address);
    while let Some(step) = next {
        next = examination.go(step, password.clone());
        // Each line as it comes: some steps take their time.
        if !options.json {
            for check in &examination.report.checks[shown..] {
                output.line(check.lines(&theme))?;
            }
            output.flush()?;
            shown = examination.report.checks.len();
        }
    }
    if options.json {
        output.line(serde_json::to_string(&report).expect("texts can be written"))?;
        output.flush()?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => {
            let text = format!("{failures} of {} failed", count(report.checks.len(), "check"));
            Err(Failure::new(Code::Failed, text).into())
        }
    }
}

/// The steps of an examination. One that fails is followed by those that can succeed all the
/// same.
enum Step {
    Address,
    Reach(Address),
    Greet(handshake::Reached),
    Session,
    RoundTrips(Mailbox),
    Membership(Mailbox),
    Largest(Mailbox),
    Status,
}

struct Examination<'a> {
    connection: &'a Connection,
    report: &'a mut Report,
}

impl Examination<'_> {
    fn go(&mut self, step: Step, password: Option<spread::UserPassword>) -> Option<Step> {
        match step {
            Step::Address => self.address(),
            Step::Reach(address) => self.reach(&address),
            Step::Greet(reached) => self.greet(reached, password),
            Step::Session => self.session(),
            Step::RoundTrips(mailbox) => self.round_trips(mailbox),
            Step::Membership(mailbox) => self.membership(mailbox),
            Step::Largest(mailbox) => self.largest(mailbox),
            Step::Status => {
                self.status();
                None
            }
        }
    }

    fn address(&mut self) -> Option<Step> {
        let text = self.connection.address();
        let origin = match self.connection.named() {
            Some(_) => "from --daemon or SPREAD_DAEMON",
            None => "the default",
        };
        match Address::parse(&text) {
            Ok(address) => {
                self.report.ok("address", format!("{address}, {origin}"));
                Some(Step::Reach(address))
            }
            Err(error) => {
                let advice = "--daemon 4803@host by TCP, --daemon 4803 on this host";
                self.report.fail("address", format!("{text:?}: {error}"), Some(advice.to_owned()));
                None
            }
        }
    }

    fn reach(&mut self, address: &Address) -> Option<Step> {
        match handshake::reach(address, self.connection.timeout) {
            Ok(reached) => {
                let found = format!("{} in {}", reached.at, millis(reached.after));
                self.report.ok("connect", found);
                // What a client is not told is looked at without TLS only.
                let is_plain = !self.connection.tls.is_asked_for();
                Some(if is_plain { Step::Greet(reached) } else { Step::Session })
            }
            Err(error) => {
                self.report.fail(
                    "connect",
                    format!("{address}: {error}"),
                    unreached(address, &error),
                );
                Some(Step::Status)
            }
        }
    }

    fn greet(
        &mut self,
        reached: handshake::Reached,
        password: Option<spread::UserPassword>,
    ) -> Option<Step> {
        match handshake::greet(reached, password) {
            Greeting::Accepted(version) => {
                self.report.ok("protocol", format!("Spread {version}"));
                Some(Step::Session)
            }
            Greeting::Rejected { why, permitted } => {
                let mut found = format!("a Spread daemon, which says no: {why}");
                if !permitted.is_empty() {
                    found.push_str(&format!("; it permits {}", permitted.join(" ")));
                }
                let advice = permitted
                    .iter()
                    .any(|method| method == "PWORD")
                    .then(|| "--user NAME --password-file FILE".to_owned());
                self.report.fail("protocol", found, advice);
                Some(Step::Status)
            }
            Greeting::Other(why) => {
                let advice = "check the port: Spread's is 4803 unless its file says otherwise";
                let found = format!("no Spread daemon: {why}");
                self.report.fail("protocol", found, Some(advice.to_owned()));
                None
            }
        }
    }

    fn session(&mut self) -> Option<Step> {
        let mailbox = self.connection.builder().and_then(|builder| Ok(builder.connect()?));
        match mailbox {
            Ok(mailbox) => {
                self.report.ok("session", mailbox.private_group().to_string());
                Some(Step::RoundTrips(mailbox))
            }
            Err(end) => {
                self.fail("session", end);
                Some(Step::Status)
            }
        }
    }

    fn round_trips(&mut self, mut mailbox: Mailbox) -> Option<Step> {
        let mut found = Vec::new();
        for service in [Service::Fifo, Service::Agreed, Service::Safe] {
            match self.median(&mut mailbox, service) {
                Ok(time) => found.push(format!("{} {}", service_name(service), millis(time))),
                Err(end) => {
                    self.fail("round trip", end);
                    return Some(Step::Status);
                }
            }
        }
        self.report.ok("round trip", found.join(", "));
        Some(Step::Membership(mailbox))
    }

    fn median(&self, mailbox: &mut Mailbox, service: Service) -> Result<Duration> {
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let begin = Instant::now();
            let me = mailbox.private_group();
            mailbox.multicast(service, me, b"doctor")?;
            self.hear(mailbox, |message| matches!(message, Message::Regular(_)))?;
            times.push(begin.elapsed());
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    fn membership(&mut self, mut mailbox: Mailbox) -> Option<Step> {
        let group = format!("doctor-{}", std::process::id());
        let mut examine = || {
            mailbox.join(&group)?;
            self.hear(&mut mailbox, |message| matches!(message, Message::Membership(_)))?;
            mailbox.leave(&group)?;
            self.hear(&mut mailbox, |message| matches!(message, Message::SelfLeave(_)))
        };
        match examine() {
            Ok(()) => self.report.ok("membership", format!("joined and left {group}")),
            Err(end) => {
                self.fail("membership", end);
                return Some(Step::Status);
            }
        }
        Some(Step::Largest(mailbox))
    }

    fn largest(&mut self, mut mailbox: Mailbox) -> Option<Step> {
        let me = mailbox.private_group();
        let body = vec![b'x'; MAX_BODY_AND_GROUPS - 32];
        let mut examine = || {
            mailbox.multicast(Service::Agreed, me, &body)?;
            let len = body.len();
            self.hear(
                &mut mailbox,
                |message| matches!(message, Message::Regular(m) if m.payload().len() == len),
            )
        };
        match examine() {
            Ok(()) => self.report.ok("large", format!("a message of {} bytes", body.len())),
            Err(end) => self.fail("large", end),
        }
        // What matters has been seen.
        let _ = mailbox.disconnect();
        Some(Step::Status)
    }

    /// Waits for a message.
    fn hear(&self, mailbox: &mut Mailbox, is_it: impl Fn(&Message) -> bool) -> Result {
        let deadline = Instant::now() + self.connection.timeout;
        loop {
            match mailbox.receive_deadline(deadline)? {
                Some(Message::Rejected(_)) => {
                    let text = "the daemon's access policy refuses it";
                    return Err(Failure::new(Code::Failed, text).into());
                }
                Some(message) if is_it(&message) => return Ok(()),
                Some(_) => {}
                None => {
                    let text = format!("nothing came within {:?}", self.connection.timeout);
                    return Err(Failure::new(Code::NoAnswer, text).into());
                }
            }
        }
    }

    fn status(&mut self) {
        const NOTE: &str = "status, top and kick work with spreadd, on its own host";
        let socket = match self.connection.status_socket() {
            Ok(socket) => socket,
            Err(_) => return self.report.warn("status", "the daemon is on another host", NOTE),
        };
        match admin::status(&socket) {
            Ok(status) => self.judge(&status),
            Err(End::Failure(failure)) => self.report.warn("status", failure.text, NOTE),
            Err(_) => {}
        }
    }

    fn judge(&mut self, status: &Status) {
        let version = match status.version.as_str() {
            "" => "spreadd".to_owned(),
            version => format!("spreadd {version}"),
        };
        let sessions = count(status.sessions(), "session");
        let groups = count(status.groups(), "group");
        let found = format!(
            "{version} {}, up {} s, {sessions}, {groups}",
            status.daemon, status.uptime_seconds
        );
        self.report.ok("status", found);
        if let Some(hosts) = status.hosts.as_ref().filter(|hosts| !hosts.absent.is_empty()) {
            let found = format!("absent: {}", hosts.absent.join(" "));
            self.report.warn("hosts", found, "start spreadd there, and look at Corosync");
        }
        if status.cut_off_total > 0 {
            let found = format!("{} clients were cut off since it started", status.cut_off_total);
            let advice = "they read too slowly: spreadctl status has their names, or see the log";
            self.report.warn("cut off", found, advice);
        }
        let limit = status.limits.sessions;
        let open = status.sessions() as u64;
        if limit > 0 && open * 10 >= limit * 9 {
            let found = format!("{open} of {limit} sessions are open");
            self.report.warn("sessions", found, "spreadd --max-sessions N allows more");
        }
    }

    fn fail(&mut self, check: &'static str, end: End) {
        match end {
            End::Failure(failure) => self.report.fail(check, failure.text, failure.advice),
            other => self.report.fail(check, format!("{other:?}"), None),
        }
    }
}

/// Returns what to do about an address that cannot be reached.
fn unreached(address: &Address, error: &io::Error) -> Option<String> {
    let text = match (address, error.kind()) {
        (Address::Unix(_), io::ErrorKind::NotFound) => {
            "no daemon has this socket: start spreadd, or reach one by TCP with PORT@HOST"
        }
        (Address::Unix(_), io::ErrorKind::ConnectionRefused) => {
            "a daemon that was killed left this file: start it again"
        }
        (Address::Unix(_), io::ErrorKind::PermissionDenied) => {
            "this user may not use the socket: see its permissions"
        }
        (Address::Tcp { .. }, io::ErrorKind::ConnectionRefused) => {
            "nothing listens there: is the daemon running, is this its port, and does it listen \
             at this address (spreadd --bind)?"
        }
        (Address::Tcp { .. }, io::ErrorKind::TimedOut) => "look at firewalls and routes",
        (Address::Tcp { host, .. }, _) => {
            return Some(format!("is {host} the name of a host? getent hosts {host}"));
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
