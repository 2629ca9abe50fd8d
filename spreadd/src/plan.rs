//! The plan of a run: the options over the configuration over the defaults.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spread_daemon::{
    AddressList, Authentication, Builder, Daemon, Method, Passwords, SlowReceivers,
};

use crate::conf::{Conf, ConfDaemon};
use crate::options::{Run, Slow};

/// The outcome of anything that can fail for many reasons, each told to the user.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A daemon to be started.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) builder: Builder,
    /// The file to log to instead of stderr.
    pub(crate) log_file: Option<PathBuf>,
    /// The level of the log unless RUST_LOG sets another.
    pub(crate) log_level: &'static str,
    /// Remarks on parts of the configuration that have no effect.
    pub(crate) warnings: Vec<String>,
}

/// Derives the plan from the options and the configuration.
pub(crate) fn plan(run: &Run) -> Outcome<Plan> {
    let path = run.config.as_deref();
    let conf = match path {
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            Conf::parse(&text).map_err(|remark| format!("{}: {remark}", path.display()))?
        }
        None => Conf::default(),
    };
    let daemon = match path {
        Some(path) => Some(
            chosen(&conf, run.name.as_deref())
                .map_err(|reason| format!("{}: {reason}", path.display()))?,
        ),
        None => None,
    };
    let name = daemon.map(|daemon| daemon.name.clone()).or(run.name.clone());
    let name = name.unwrap_or_else(|| "localhost".to_owned());
    let port = run.port.or(daemon.map(|daemon| daemon.port)).unwrap_or(4803);
    let addresses = match daemon {
        _ if !run.bind.is_empty() => run.bind.clone(),
        Some(daemon) => addresses(daemon)?,
        None => vec![Ipv4Addr::LOCALHOST.into()],
    };
    let mut builder = Daemon::builder()
        .name(&name)
        .port(port)
        .unix_dir(&run.unix_dir)
        .remove_stale_socket(run.remove_stale_socket)
        .status_socket(true)
        .max_sessions(run.max_sessions)
        .max_queued_bytes(run.max_queued.saturating_mul(1 << 20))
        .slow_receivers(match run.slow_receivers {
            Slow::Disconnect => SlowReceivers::Disconnect,
            Slow::Backpressure => SlowReceivers::Backpressure,
        })
        .busy_poll(Duration::from_micros(run.busy_poll))
        .authentication(authentication(run, &conf)?);
    for (number, address) in addresses.into_iter().enumerate() {
        builder = if number == 0 { builder.bind(address) } else { builder.bind_also(address) };
    }
    if let Some(messages) = run.max_session_messages.or(conf.max_session_messages) {
        builder = builder.max_session_messages(messages);
    }
    if let Some(address) = run.metrics {
        builder = builder.metrics(address);
    }
    let file = path.map(|path| path.display().to_string()).unwrap_or_default();
    Ok(Plan {
        name,
        builder,
        log_file: conf.event_log_file.as_deref().map(log_file),
        log_level: conf.event_priority.as_deref().map_or("warn", log_level),
        warnings: conf.warnings.iter().map(|remark| format!("{file}: {remark}")).collect(),
    })
}

/// Returns the daemon of a configuration to be: the one that is named, or the only one,
/// or the one that is called like this host.
fn chosen<'a>(conf: &'a Conf, name: Option<&str>) -> Result<&'a ConfDaemon, String> {
    let names: Vec<&str> = conf.daemons.iter().map(|daemon| &*daemon.name).collect();
    let find = |name: &str| conf.daemons.iter().find(|daemon| daemon.name == name);
    match (name, &conf.daemons[..]) {
        (_, []) => Err("it has no daemon".to_owned()),
        (Some(name), _) => {
            find(name).ok_or_else(|| format!("it has no daemon {name}, but {}", names.join(", ")))
        }
        (None, [daemon]) => Ok(daemon),
        (None, _) => find(&hostname())
            .ok_or_else(|| format!("choose its daemon with -n: {}", names.join(", "))),
    }
}

/// Returns the addresses at which a daemon of a configuration listens for clients.
fn addresses(daemon: &ConfDaemon) -> Outcome<Vec<IpAddr>> {
    match (&daemon.client_addresses[..], daemon.address) {
        ([_, ..], _) => Ok(daemon.client_addresses.clone()),
        ([], Some(address)) => Ok(vec![address]),
        ([], None) => {
            let found = (&*daemon.name, daemon.port).to_socket_addrs();
            let found = found.map_err(|e| format!("cannot look up {}: {e}", daemon.name))?;
            let address = found.map(|address| address.ip()).next();
            Ok(vec![address.ok_or_else(|| format!("{} has no address", daemon.name))?])
        }
    }
}

/// Returns the authentication by the configuration and the files given.
fn authentication(run: &Run, conf: &Conf) -> Outcome<Authentication> {
    let beside = |name: &str| {
        let folder = run.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        folder.join(name)
    };
    let passwords = |file: Option<&PathBuf>| -> Outcome<Method> {
        let file = file.cloned().unwrap_or_else(|| beside("spread.access_pword"));
        Ok(Method::Password(Passwords::load(file)?))
    };
    let addresses = |file: Option<&PathBuf>| -> Outcome<Method> {
        let file = file.cloned().unwrap_or_else(|| beside("spread.access_ip"));
        let text = fs::read_to_string(&file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let list: AddressList = text.parse().map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Method::Address(list))
    };
    let method = |name: &str| match name {
        "PWORD" => passwords(run.passwords.as_ref()),
        "IP" => addresses(run.allow.as_ref()),
        _ => Ok(Method::Anyone),
    };
    let mut authentication = match &conf.allowed_methods {
        Some(names) => names.iter().try_fold(Authentication::none(), |a, name| {
            Ok::<_, Box<dyn Error>>(a.allow(method(name)?))
        })?,
        // Clients that know no password are not to be told of another way.
        None if run.passwords.is_some() => Authentication::none(),
        None => Authentication::default(),
    };
    for name in &conf.required_methods {
        authentication = authentication.require(method(name)?);
    }
    if run.passwords.is_some() {
        authentication = authentication.require(passwords(run.passwords.as_ref())?);
    }
    if run.allow.is_some() {
        authentication = authentication.require(addresses(run.allow.as_ref())?);
    }
    Ok(authentication)
}

/// Returns the name of a log file, in which `%h` stands for the host.
fn log_file(name: &str) -> PathBuf {
    name.replace("%h", &hostname()).replace("%H", &hostname()).into()
}

fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Returns the level of the log for one of Spread's priorities of events.
fn log_level(priority: &str) -> &'static str {
    match priority {
        "pDEBUG" => "debug",
        "INFO" => "info",
        "ERROR" | "CRITICAL" | "FATAL" => "error",
        _ => "warn",
    }
}
