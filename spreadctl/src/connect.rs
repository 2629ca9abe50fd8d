//! From options to a connection.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gethostname::gethostname;
use spread::{Builder, DEFAULT_SPREAD_PORT, Mailbox, UserPassword};
use spread_core::Address;

use crate::failure::{Code, Failure, Result};
use crate::options::{Connection, Tls};
use crate::output::say;

/// Bytes of a file that can be one with a password.
const MAX_PASSWORD_FILE: u64 = 4096;

impl Connection {
    /// Returns the daemon that was named, or else the usual one on this host.
    pub(crate) fn address(&self) -> String {
        self.named().map_or_else(|| DEFAULT_SPREAD_PORT.to_string(), str::to_owned)
    }

    /// Returns the daemon that was named by an option or the environment.
    pub(crate) fn named(&self) -> Option<&str> {
        self.daemon.as_deref().filter(|address| !address.trim().is_empty())
    }

    /// Takes from the environment what no option says. If the parser of the options did so, it
    /// would show the options as required in each usage.
    pub(crate) fn with_environment(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Connection {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        self.daemon = self.daemon.or_else(|| text("SPREAD_DAEMON"));
        self.user = self.user.or_else(|| text("SPREAD_USER"));
        let file = || variable("SPREAD_PASSWORD_FILE").map(PathBuf::from);
        self.password_file = self.password_file.or_else(file);
        self.tls = self.tls.with_environment(variable);
        self
    }

    /// Returns a connection that is to be made.
    pub(crate) fn builder(&self) -> Result<Builder> {
        let mut builder = Mailbox::builder(self.address()).timeout(self.timeout);
        if let Some(name) = &self.name {
            builder = builder.private_name(name);
        }
        let builder = self.tls.apply(builder)?;
        Ok(match self.password()? {
            Some(password) => builder.authenticate(password),
            None => builder,
        })
    }

    /// Returns the user and the password, if they are given.
    pub(crate) fn password(&self) -> Result<Option<UserPassword>> {
        match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => Ok(Some(UserPassword::new(user, read_password(file)?))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Failure::new(Code::Usage, "--user without a password")
                .advise("--password-file FILE, or SPREAD_PASSWORD_FILE: a file with the password")
                .into()),
            (None, Some(_)) => Err(Failure::new(Code::Usage, "--password-file without a user")
                .advise("--user NAME, or SPREAD_USER")
                .into()),
        }
    }

    /// The variables that [`environment`](Connection::environment) may have.
    pub(crate) const VARIABLES: [&str; 6] = [
        "SPREAD_USER",
        "SPREAD_PASSWORD_FILE",
        "SPREAD_TLS_CA",
        "SPREAD_TLS_CERT",
        "SPREAD_TLS_KEY",
        "SPREAD_TLS_NAME",
    ];

    /// Returns the variables that tell another process of this program the user, the file of the
    /// password and those of TLS.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let user = self.user.as_ref().map(|user| ("SPREAD_USER", user.into()));
        let file = self.password_file.as_ref().map(|file| ("SPREAD_PASSWORD_FILE", file.into()));
        user.into_iter().chain(file).chain(self.tls.environment()).collect()
    }

    /// Returns the status socket of the daemon, which is on the daemon's host.
    pub(crate) fn status_socket(&self) -> Result<PathBuf> {
        let named = self.address();
        let address = Address::parse(&named)
            .map_err(|reason| spread::Error::IllegalAddress { address: named.clone(), reason })?;
        match address {
            Address::Unix(path) if named.trim().starts_with('/') => {
                let mut path = path.into_os_string();
                path.push(".status");
                Ok(path.into())
            }
            Address::Unix(path) => {
                let port = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Ok(self.unix_dir.join(format!("{port}.status")))
            }
            Address::Tcp { port, host } if is_this_host(&host) => {
                Ok(self.unix_dir.join(format!("{port}.status")))
            }
            Address::Tcp { host, .. } => Err(Failure::new(
                Code::Usage,
                format!(
                    "a daemon can be looked into on its own host only, not from here at {host}"
                ),
            )
            .advise(format!("run spreadctl on {host}"))
            .into()),
        }
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Takes from the environment what no option says.
    fn with_environment(self, variable: impl Fn(&str) -> Option<OsString>) -> Tls {
        let file = |name| variable(name).map(PathBuf::from);
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        Tls {
            ca: self.ca.or_else(|| file("SPREAD_TLS_CA")),
            cert: self.cert.or_else(|| file("SPREAD_TLS_CERT")),
            key: self.key.or_else(|| file("SPREAD_TLS_KEY")),
            name: self.name.or_else(|| text("SPREAD_TLS_NAME")),
        }
    }

    /// Connects over TLS, if that is asked for.
    fn apply(&self, builder: Builder) -> Result<Builder> {
        let wrong = |error: spread::TlsConfigError| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Failure::new(Code::Usage, format!("{error}{}", cause.unwrap_or_default()))
        };
        let Some(ca) = &self.ca else {
            if self.cert.is_some() || self.key.is_some() || self.name.is_some() {
                let text = "--tls-cert, --tls-key and --tls-name without --tls-ca";
                return Err(Failure::new(Code::Usage, text)
                    .advise("--tls-ca FILE: the authority of the daemon's certificate")
                    .into());
            }
            return Ok(builder);
        };
        let mut tls = spread::TlsConfig::from_file(ca).map_err(wrong)?;
        tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => tls.certificate_files(cert, key).map_err(wrong)?,
            (None, None) => tls,
            _ => {
                let text = "--tls-cert and --tls-key belong together";
                return Err(Failure::new(Code::Usage, text).into());
            }
        };
        if let Some(name) = &self.name {
            tls = tls.server_name(name).map_err(wrong)?;
        }
        Ok(builder.tls(tls))
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let Tls { ca, cert, key, name } = self;
        let files = [("SPREAD_TLS_CA", ca), ("SPREAD_TLS_CERT", cert), ("SPREAD_TLS_KEY", key)];
        let files = files.map(|(variable, file)| Some((variable, file.as_ref()?.into())));
        let name = name.as_ref().map(|name| ("SPREAD_TLS_NAME", name.into()));
        files.into_iter().flatten().chain(name)
    }

    /// Returns whether connections go over TLS.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.ca.is_some()
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    fn with_environment(self, variable: impl Fn(&str) -> Option<OsString>) -> Tls {
        Tls { is_asked_for: variable("SPREAD_TLS_CA").is_some() }
    }

    /// Fails if TLS is asked for: the password would go over the wire as it is.
    fn apply(&self, builder: Builder) -> Result<Builder> {
        if self.is_asked_for {
            let text = "SPREAD_TLS_CA is set, and this spreadctl is built without TLS";
            return Err(Failure::new(Code::Usage, text)
                .advise("install spreadctl with the feature tls, or unset the variable")
                .into());
        }
        Ok(builder)
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> + use<> {
        std::iter::empty()
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        self.is_asked_for
    }
}

/// Returns whether a host is this one: by its name, or by an address that can be bound.
fn is_this_host(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok(),
        Err(_) => {
            let is = |name: &str| host.eq_ignore_ascii_case(name);
            is("localhost") || gethostname().to_str().is_some_and(is)
        }
    }
}

/// Reads a password, and warns if others can do so.
fn read_password(file: &Path) -> Result<String> {
    let unreadable = |error: io::Error| {
        Failure::new(Code::Usage, format!("cannot read {}: {error}", file.display()))
    };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let file = file.display();
        say(format_args!("warning: other users can read {file}; chmod 600 '{file}'"));
    }
    if metadata.len() > MAX_PASSWORD_FILE {
        let text = format!("{} is too long for a password", file.display());
        return Err(Failure::new(Code::Usage, text).into());
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => {
            let text = format!("the first line of {}, the password, is empty", file.display());
            Err(Failure::new(Code::Usage, text).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn connection(daemon: &str) -> Connection {
        Connection {
            daemon: Some(daemon.to_owned()),
            name: None,
            user: None,
            password_file: None,
            timeout: Duration::from_secs(1),
            unix_dir: "/run/s".into(),
            tls: Tls::default(),
        }
    }

    #[test]
    fn an_option_overrides_the_environment() {
        let variable = |name: &str| match name {
            "SPREAD_DAEMON" => Some("1@h".into()),
            "SPREAD_USER" => Some("ann".into()),
            _ => Some("".into()),
        };
        let named = connection("2@h").with_environment(variable);
        assert_eq!((named.named(), named.user.as_deref()), (Some("2@h"), Some("ann")));
        assert_eq!(named.password_file, None, "an empty variable is none");
        let unnamed = Connection { daemon: None, ..connection("") }.with_environment(variable);
        assert_eq!(unnamed.named(), Some("1@h"));
    }

    #[test]
    #[cfg(feature = "tls")]
    fn the_environment_stands_for_the_options_of_tls() {
        let variable = |name: &str| match name {
            "SPREAD_TLS_CERT" => Some("".into()),
            name if name.starts_with("SPREAD_TLS_") => Some(name.into()),
            _ => None,
        };
        let tls = Tls { ca: Some("ca.pem".into()), ..Tls::default() };
        let Tls { ca, cert, key, name } =
            Connection { tls, ..connection("") }.with_environment(variable).tls;
        assert_eq!((ca, cert), (Some("ca.pem".into()), None));
        assert_eq!(key, Some("SPREAD_TLS_KEY".into()));
        assert_eq!(name.as_deref(), Some("SPREAD_TLS_NAME"));
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn tls_is_refused_by_a_program_without_it() {
        let asking = |value: &'static str| {
            let variable = move |name: &str| (name == "SPREAD_TLS_CA").then(|| value.into());
            connection("4804@localhost").with_environment(variable)
        };
        let Err(crate::failure::End::Failure(failure)) = asking("ca.pem").builder() else {
            panic!("a connection in the clear");
        };
        assert_eq!(failure.code, Code::Usage);
        assert_eq!(failure.text, "SPREAD_TLS_CA is set, and this spreadctl is built without TLS");
        assert!(asking("").builder().is_ok(), "an empty variable is none");
    }

    #[test]
    fn the_status_socket_stands_beside_the_socket() {
        let own_name = format!("4807@{}", gethostname().display());
        for (daemon, socket) in [
            (&*own_name, "/run/s/4807.status"),
            ("4807@127.0.0.2", "/run/s/4807.status"),
            ("", "/run/s/4803.status"),
            ("4804", "/run/s/4804.status"),
            ("4805@localhost", "/run/s/4805.status"),
            ("4805@[::1]", "/run/s/4805.status"),
            ("/var/x/4806", "/var/x/4806.status"),
        ] {
            assert_eq!(connection(daemon).status_socket().unwrap(), Path::new(socket), "{daemon}");
        }
        for elsewhere in ["4803@elsewhere", "4803@203.0.113.1", "4803@0.0.0.0"] {
            assert!(connection(elsewhere).status_socket().is_err(), "{elsewhere}");
        }
        assert!(connection("port@localhost").status_socket().is_err());
    }
}
