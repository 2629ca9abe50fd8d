//! `doctor`: what works between here and a daemon, what does not, and what to do.

mod handshake;
mod report;

use std::io;
use std::time::{Duration, Instant};

use spread::{MAX_BODY_AND_GROUPS, Mailbox, Message, Service};
use spread_core::Address;

use crate::admin::{self, Hosts, Status};
use crate::failure::{self, Code, End, Failure, Result};
use crate::options::{Connection, Json, service_name};
use crate::output::{Output, Theme};
use crate::text::count;
use handshake::Greeting;
use report::Report;

/// Messages whose times are taken, for each service.
const ROUND_TRIPS: usize = 20;

/// What to do about a server that says nothing, and that no status socket tells of.
const SILENT: &str = "the daemon is stopped (SIGSTOP, a debugger) or overloaded, or this is another \
                      kind of server, which waits for its client to speak: check the port, and look \
                      at the process that listens there and its log";

pub(crate) fn run(options: &Json, connection: &Connection, theme: Theme) -> Result {
    let password = connection.password()?;
    let mut report = Report::default();
    let mut output = Output::new();
    let mut shown = 0;
    let mut examination = Examination { connection, report: &mut report, told: Told::Nothing };
    let mut next = Some(Step::Begin);
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
    /// Asks for the status where the daemon has its socket: it knows best what is wrong.
    Begin,
    Address,
    Reach(Address),
    Greet(handshake::Reached),
    Session,
    RoundTrips(Mailbox),
    Membership(Mailbox),
    Largest(Mailbox),
    /// Tells why there was no status to be asked for.
    Status,
}

struct Examination<'a> {
    connection: &'a Connection,
    report: &'a mut Report,
    told: Told,
}

/// What the status socket has told.
enum Told {
    /// There is none, or what answers is no `spreadd`.
    Nothing,
    /// It is there, and does not answer.
    Silent,
    Status(Box<Status>),
}

impl Told {
    /// Returns whether a daemon of several hosts is in no configuration.
    fn has_no_configuration(&self) -> bool {
        self.hosts().is_some_and(|hosts| hosts.present.is_empty())
    }

    /// Returns the daemons of other hosts that this one waits for.
    fn waits_for(&self) -> &[String] {
        self.hosts().map_or(&[], |hosts| &hosts.waits_for)
    }

    fn hosts(&self) -> Option<&Hosts> {
        match self {
            Told::Status(status) => status.hosts.as_ref(),
            _ => None,
        }
    }
}

impl Examination<'_> {
    fn go(&mut self, step: Step, password: Option<spread::UserPassword>) -> Option<Step> {
        match step {
            Step::Begin => {
                self.ask();
                Some(Step::Address)
            }
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
                let advice = failure::methods_advice(&permitted);
                self.report.fail("protocol", found, advice.map(str::to_owned));
                Some(Step::Status)
            }
            Greeting::Tls => {
                let found = "what listens there speaks TLS, and this connection does not";
                self.report.fail("protocol", found, Some(failure::TLS.to_owned()));
                Some(Step::Status)
            }
            Greeting::Silent => {
                let found = format!("no answer within {:?}", self.connection.timeout);
                let advice = match self.told {
                    Told::Nothing => SILENT,
                    Told::Silent | Told::Status(_) => admin::STOPPED,
                };
                self.report.fail("protocol", found, Some(advice.to_owned()));
                Some(Step::Status)
            }
            Greeting::Other(why) if self.told.has_no_configuration() => {
                let found = format!("the daemon refuses clients: {why}");
                let advice = "it takes them again when it is in a configuration: see hosts above";
                self.report.fail("protocol", found, Some(advice.to_owned()));
                None
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
                    self.fail_round_trip(service, end);
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

    /// Asks for the status, if its socket is there.
    fn ask(&mut self) {
        let socket = self.connection.status_socket().ok().filter(|socket| socket.exists());
        self.told = match socket.map(|socket| admin::status(&socket)) {
            Some(Ok(status)) => {
                self.judge(&status);
                Told::Status(Box::new(status))
            }
            Some(Err(End::Failure(failure))) if failure.code == Code::NoAnswer => {
                self.report.fail("status", failure.text, failure.advice);
                Told::Silent
            }
            // The end tells it, after what matters more.
            _ => Told::Nothing,
        }
    }

    fn fail_round_trip(&mut self, service: Service, end: End) {
        // The status was asked before the message was sent.
        let status = self.connection.status_socket().ok().and_then(|s| admin::status(&s).ok());
        if let Some(status) = status {
            self.told = Told::Status(Box::new(status));
        }
        let (text, advice) = match end {
            End::Failure(failure) => (failure.text, failure.advice),
            other => (format!("{other:?}"), None),
        };
        let advice = advice.unwrap_or_else(|| overdue(self.told.waits_for()));
        self.report.fail("round trip", format!("{}: {text}", service_name(service)), Some(advice));
    }

    fn status(&mut self) {
        if !matches!(self.told, Told::Nothing) {
            return;
        }
        let note = match self.connection.tls.is_asked_for() {
            false => "status, top and kick work with spreadd, on its own host",
            true => {
                "status, top and kick work with spreadd, on its own host, by its port (the one \
                 without TLS: --daemon 4803 for one with TLS at 4804)"
            }
        };
        let socket = match self.connection.status_socket() {
            Ok(socket) => socket,
            Err(_) => return self.report.warn("status", "the daemon is on another host", note),
        };
        match admin::status(&socket) {
            // It has come meanwhile.
            Ok(status) => self.judge(&status),
            Err(End::Failure(failure)) => self.report.warn("status", failure.text, note),
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
        if let Some(hosts) = &status.hosts {
            self.judge_hosts(hosts);
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

    fn judge_hosts(&mut self, hosts: &Hosts) {
        let waits_for = hosts.waits_for.join(" ");
        if hosts.present.is_empty() {
            let mut found = "in no configuration".to_owned();
            if let Some(reason) = &hosts.reason {
                found.push_str(&format!(": {reason}"));
            }
            if !waits_for.is_empty() {
                found.push_str(&format!("; it waits for {waits_for}"));
            }
            let advice = "no client is served: is Corosync running on this host (systemctl status \
                          corosync)? spreadd joins by itself once it is";
            return self.report.fail("hosts", found, Some(advice.to_owned()));
        }
        let present = hosts.present.join(" ");
        match &hosts.absent[..] {
            [] => self.report.ok("hosts", present),
            absent => {
                let found = format!("{present}; absent: {}", absent.join(" "));
                self.report.warn("hosts", found, "start spreadd there, and look at Corosync");
            }
        }
        if !waits_for.is_empty() {
            let what = if hosts.forming { "the next configuration" } else { "safe messages" };
            let advice = "if it lasts: is spreadd stopped there (SIGSTOP, a debugger)?";
            self.report.warn("waiting", format!("{what}: for {waits_for}"), advice);
        }
    }

    fn fail(&mut self, check: &'static str, end: End) {
        match end {
            End::Failure(failure) => self.report.fail(check, failure.text, failure.advice),
            other => self.report.fail(check, format!("{other:?}"), None),
        }
    }
}

/// Returns what to do about a message that does not come back from a daemon that waits for these.
fn overdue(waits_for: &[String]) -> String {
    match waits_for {
        [] => "look at the log of the daemon: is it overloaded, has it disconnected this client? \
               --timeout allows more time"
            .to_owned(),
        names => format!(
            "the daemon waits for {}: is spreadd stopped there (SIGSTOP, a debugger)?",
            names.join(" ")
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_overdue_is_blamed_on_who_is_waited_for() {
        let stopped = "the daemon waits for d2 d3: is spreadd stopped there";
        assert!(overdue(&["d2".to_owned(), "d3".to_owned()]).starts_with(stopped));
        assert!(overdue(&[]).starts_with("look at the log of the daemon"));
    }
}
