//! Why a command ends: exit codes, and errors with advice.

use std::error::Error;
use std::fmt;
use std::io;

use spread::MAX_BODY_AND_GROUPS;

/// The result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, End>;

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) enum End {
    /// An error, which is printed.
    Failure(Failure),
    /// This signal.
    Signal(i32),
    /// Nobody reads the output any more, which is no error.
    OutputClosed,
}

impl End {
    pub(crate) fn code(&self) -> u8 {
        match self {
            End::Failure(failure) => failure.code as u8,
            End::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            End::OutputClosed => 0,
        }
    }
}

/// The exit codes of failures, which `--help` and the readme list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    NoDaemon = 3,
    NoAnswer = 4,
}

/// An error, and what the user can do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) text: String,
    pub(crate) advice: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into(), advice: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }

    /// Returns the failure of a file or of an output.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Failure {
        let failure = Failure::new(Code::Failed, format!("{what}: {error}"));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failure.advise("free space there, or write to another place")
            }
            _ => failure,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.advice.iter().try_for_each(|advice| write!(f, "\n  hint: {advice}"))
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failure(failure)
    }
}

impl From<spread::Error> for End {
    fn from(error: spread::Error) -> End {
        End::Failure(Failure::from(&error))
    }
}

impl From<spread_groups::Error> for End {
    fn from(error: spread_groups::Error) -> End {
        use spread_groups::Error as Groups;
        let failure = match &error {
            Groups::Connect(error) => Failure::from(&**error),
            Groups::NoResponders { .. } => Failure::new(Code::NoAnswer, error.to_string()).advise(
                "a server is started with: spreadctl serve GROUP SERVICE -- COMMAND; --wait waits for \
                 it; a service of a program has to take bytes and answer with bytes",
            ),
            Groups::TimedOut => Failure::new(Code::NoAnswer, "no answer came in time")
                .advise("--within allows more time; the request may still be executed"),
            Groups::TooLarge { .. } => Failure::new(Code::Usage, error.to_string()),
            Groups::Busy | Groups::Disconnected | Groups::ServerDeparted(_) => {
                Failure::new(Code::NoAnswer, error.to_string())
            }
            _ => Failure::new(Code::Failed, chain(&error)),
        };
        End::Failure(failure)
    }
}

impl From<&spread::Error> for Failure {
    fn from(error: &spread::Error) -> Failure {
        let failure = Failure::new(code(error), chain(error));
        match advice(error) {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

fn code(error: &spread::Error) -> Code {
    use spread::Error::*;
    match error {
        IllegalAddress { .. }
        | IllegalPrivateName { .. }
        | IllegalGroup { .. }
        | PrivateGroup { .. }
        | NoGroups
        | TooManyGroups { .. }
        | MessageTooLong { .. } => Code::Usage,
        UnknownHost { .. }
        | Refused { .. }
        | Unreachable { .. }
        | ConnectTimeout { .. }
        | NotSpread { .. }
        | SpeaksTls { .. }
        | NoDaemon(_)
        | ClosedInHandshake { .. }
        | NameInUse { .. }
        | TooManySessions
        | IncompatibleVersion
        | NotAuthorized { .. }
        | Authentication { .. } => Code::NoDaemon,
        #[cfg(feature = "tls")]
        Tls { .. } => Code::NoDaemon,
        _ => Code::Failed,
    }
}

fn advice(error: &spread::Error) -> Option<String> {
    use spread::Error::*;
    let fixed = |text: &str| Some(text.to_owned());
    match error {
        IllegalAddress { .. } => fixed("--daemon 4803@host by TCP, --daemon 4803 on this host"),
        UnknownHost { .. } => fixed("check the name of the host in --daemon or SPREAD_DAEMON"),
        Refused { address, .. } if !address.contains('@') => Some(format!(
            "start a daemon (spreadd), or reach one by TCP: --daemon {}@localhost",
            spread::DEFAULT_SPREAD_PORT
        )),
        Refused { .. } | Unreachable { .. } => fixed(
            "start the daemon, or name another with --daemon or SPREAD_DAEMON; a daemon in a \
             container has to listen at more than its loopback",
        ),
        ConnectTimeout { .. } => fixed("--timeout allows more time; spreadctl doctor looks closer"),
        SpeaksTls { .. } => fixed(TLS),
        NotSpread { .. } => {
            fixed("check the port: Spread's is 4803 unless its file says otherwise")
        }
        #[cfg(feature = "tls")]
        Tls { source, .. } => tls_advice(source).map(str::to_owned),
        NameInUse { .. } => fixed("choose another with --name, or leave --name out"),
        TooManySessions => fixed("spreadd --max-sessions N allows more"),
        NotAuthorized { offered: Some(offered), .. } if methods_advice(offered).is_some() => {
            methods_advice(offered).map(str::to_owned)
        }
        NotAuthorized { .. } | Authentication { .. } => fixed("check --user and the password"),
        IllegalPrivateName { .. } => {
            fixed("a private name is 1 to 10 bytes of printable ASCII except space, ! \" and #")
        }
        IllegalGroup { .. } | PrivateGroup { .. } => Some(format!(
            "a group is 1 to {} bytes of printable ASCII except space, ! \" and #",
            spread::MAX_GROUP_NAME
        )),
        MessageTooLong { .. } => Some(format!(
            "a message and 32 bytes for each of its groups have {MAX_BODY_AND_GROUPS} bytes at most"
        )),
        ConnectionClosed { .. } => fixed(
            "the daemon may have ended, or have cut this client off; spreadctl doctor looks closer",
        ),
        Resource(_) => fixed("this process or host is short of descriptors or memory: see ulimit"),
        _ => None,
    }
}

/// Returns what to do about a daemon that permits these authentication methods only.
pub(crate) fn methods_advice(permitted: &[String]) -> Option<&'static str> {
    let permits = |method: &str| permitted.iter().any(|permitted| permitted == method);
    if permits("PWORD") {
        return Some("it wants a password: --user NAME --password-file FILE");
    }
    permits("IP").then_some("it lets in certain addresses only: see its list, spreadd --allow")
}

/// What to do about a daemon that speaks TLS.
pub(crate) const TLS: &str = if cfg!(feature = "tls") {
    "--tls-ca FILE connects over TLS; the port without is 4803 unless the daemon says otherwise"
} else {
    "take its port without TLS, or a spreadctl that is built with the feature tls"
};

#[cfg(feature = "tls")]
fn tls_advice(error: &spread::TlsError) -> Option<&'static str> {
    use spread::TlsError::*;
    Some(match error {
        Untrusted(_) => "--tls-ca FILE: the authority that has signed the daemon's certificate",
        WrongName(_) => "name the host as the certificate does, or give its name by --tls-name",
        Expired(_) => "the daemon needs another certificate, and a SIGHUP; or a clock is wrong",
        CertificateRequired => "--tls-cert FILE --tls-key FILE: a certificate of yours",
        CertificateRefused(_) => {
            "the daemon takes certificates of its --tls-client-ca only, with one common name (or \
             none, and a DNS name or e-mail address), and none that has expired"
        }
        NotTls(_) | Closed(_) => {
            "check the port: that of TLS is 4804 unless --tls-port says otherwise"
        }
        NoHost => "--daemon 4804@host",
        _ => return None,
    })
}

/// Returns an error with its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> spread::Error {
        let source = io::ErrorKind::ConnectionRefused.into();
        spread::Error::Refused { address: address.to_owned(), source }
    }

    #[test]
    fn a_daemon_that_is_down_has_a_code_and_advice() {
        let failure = Failure::from(&refused("4803"));
        assert_eq!(failure.code, Code::NoDaemon);
        assert!(failure.to_string().contains("hint: start a daemon"), "{failure}");
        assert!(failure.to_string().contains("--daemon 4803@localhost"), "{failure}");
        assert!(!Failure::from(&refused("1@h")).to_string().contains("@localhost"));
    }

    #[test]
    fn a_connection_that_ends_in_the_handshake_is_no_session() {
        let error = spread::Error::ClosedInHandshake { address: "1@h".to_owned(), source: None };
        assert_eq!(Failure::from(&error).code, Code::NoDaemon);
    }

    #[test]
    fn a_password_that_is_wanted_is_named() {
        let offered = Some(vec!["PWORD".to_owned()]);
        let error = spread::Error::NotAuthorized { wanted: vec!["NULL".to_owned()], offered };
        let failure = Failure::from(&error);
        assert!(failure.to_string().contains("--password-file"), "{failure}");
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        let ends = [
            (End::Signal(2), 130),
            (End::Signal(15), 143),
            (End::OutputClosed, 0),
            (Failure::new(Code::NoAnswer, "").into(), 4),
        ];
        for (end, code) in ends {
            assert_eq!(end.code(), code);
        }
    }
}
