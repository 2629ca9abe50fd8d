//! The plan of a run: the options over the configuration over the defaults.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spread_daemon::{
    AddressList, Authentication, Builder, Corosync, Daemon, Method, Passwords, SlowReceivers,
};

use crate::conf::{Conf, ConfDaemon};
use crate::http::HttpPlan;
use crate::options::{Run, Slow};
use crate::secrets::readable_by_all;
use crate::tls;

/// The outcome of anything that can fail for many reasons, each told to the user.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sessions that may be open unless an option says otherwise.
pub(crate) const DEFAULT_SESSIONS: usize = 1000;

/// A daemon to be started.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) builder: Builder,
    /// Where clients connect without TLS.
    pub(crate) addresses: Vec<IpAddr>,
    /// What is offered over TLS.
    pub(crate) tls: tls::Plan,
    /// The file to log to instead of stderr.
    pub(crate) log_file: Option<PathBuf>,
    /// The level of the log unless RUST_LOG sets another.
    pub(crate) log_level: &'static str,
    /// What is served by HTTP, if anything is.
    pub(crate) http: Option<HttpPlan>,
    /// Remarks on parts of the configuration that have no effect.
    pub(crate) warnings: Vec<String>,
}

/// Where a configuration is looked for, in this order.
const PLACES: [&str; 4] =
    ["./spread.conf", "/usr/local/etc/spread.conf", "/etc/spread.conf", "/etc/spread/spread.conf"];

/// Returns the options with the configuration that is found, if none is named.
pub(crate) fn with_config(mut run: Run) -> Run {
    if run.config.is_none() && !run.no_config {
        run.config = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    }
    run
}

/// Reads a configuration.
pub(crate) fn read(path: &Path) -> Outcome<Conf> {
    let bytes = fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let conf = Conf::parse_bytes(&bytes);
    Ok(conf.map_err(|remark| format!("{}: {remark}", path.display()))?)
}

/// Derives the plan from the options and the configuration.
pub(crate) fn plan(run: &Run) -> Outcome<Plan> {
    let path = run.config.as_deref();
    let file = path.map(|path| path.display().to_string()).unwrap_or_default();
    if run.corosync.is_some() && path.is_none() {
        let places = PLACES.join(", ");
        return Err(format!(
            "--corosync takes its daemons from a spread.conf: give -c FILE; there is none of {places}"
        )
        .into());
    }
    let conf = path.map(read).transpose()?.unwrap_or_default();
    let daemon = match path {
        Some(path) => {
            Some(chosen(&conf, run).map_err(|reason| format!("{}: {reason}", path.display()))?)
        }
        None => None,
    };
    let name = daemon.map(|daemon| daemon.name.clone()).or(run.name.clone());
    let name = name.unwrap_or_else(|| "localhost".to_owned());
    let port = run.port.or(daemon.map(|daemon| daemon.port)).unwrap_or(4803);
    let addresses = match daemon {
        _ if !run.bind.is_empty() => run.bind.clone(),
        Some(daemon) => addresses(daemon).map_err(|e| format!("{file}: {e}"))?,
        None => vec![Ipv4Addr::LOCALHOST.into()],
    };
    let authentication = authentication(run, &conf)?;
    let mut builder = Daemon::builder()
        .name(&name)
        .port(port)
        .unix_dir(&run.unix_dir)
        .status_socket(true)
        .max_sessions(run.max_sessions.unwrap_or(DEFAULT_SESSIONS))
        .max_queued_bytes(run.max_queued.saturating_mul(1 << 20))
        .slow_receivers(match run.slow_receivers {
            Slow::Disconnect => SlowReceivers::Disconnect,
            Slow::Backpressure => SlowReceivers::Backpressure,
        })
        .busy_poll(Duration::from_micros(run.busy_poll))
        .authentication(authentication.clone());
    let tls = tls::Plan::new(&run.tls, &addresses, &authentication)?;
    let tls_warnings = tls::Plan::warnings(&run.tls, &tls, &authentication);
    for (number, address) in addresses.iter().enumerate() {
        builder = if number == 0 { builder.bind(*address) } else { builder.bind_also(*address) };
    }
    if let Some(messages) = run.max_session_messages.or(conf.max_session_messages) {
        builder = builder.max_session_messages(messages);
    }
    if let Some(group) = &run.corosync {
        let names = conf.daemons.iter().map(|daemon| &daemon.name);
        builder = builder.corosync(Corosync::new(names).group(group));
    }
    if let Some(address) = run.metrics {
        builder = builder.metrics(address);
    }
    Ok(Plan {
        name,
        builder,
        addresses,
        http: HttpPlan::of(run)?,
        tls,
        log_file: run.log_file.clone().or(conf.event_log_file.as_deref().map(log_file)),
        log_level: conf.event_priority.map_or("warn", log_level),
        warnings: conf
            .warnings
            .iter()
            .map(|remark| format!("{file}: {remark}"))
            .chain(tls_warnings)
            .chain(password_file(run, &conf).and_then(|file| readable_by_all("passwords", &file)))
            .chain(empty_list(run, &conf)?)
            .collect(),
    })
}

/// Returns the daemon of a configuration to be: the one that is named, or the only one, or
/// the first with an address of this host, or the one that is called like this host.
fn chosen<'a>(conf: &'a Conf, run: &Run) -> Result<&'a ConfDaemon, String> {
    let names = || conf.daemons.iter().map(|d| &*d.name).collect::<Vec<_>>().join(", ");
    let find = |name: &str| conf.daemons.iter().find(|daemon| daemon.name == name);
    let is_here = |daemon: &&ConfDaemon| address(daemon).is_ok_and(is_own);
    let daemon = match (&run.name, &conf.daemons[..]) {
        (_, []) => return Err("it has no daemon".to_owned()),
        (Some(name), _) => {
            find(name).ok_or_else(|| format!("it has no daemon {name}, but {}", names()))?
        }
        (None, [daemon]) => daemon,
        (None, daemons) => {
            let found = daemons.iter().find(is_here).or_else(|| find(&hostname()));
            found.ok_or_else(|| format!("choose its daemon with -n: {}", names()))?
        }
    };
    if conf.daemons.len() > 1 && run.corosync.is_none() && !run.alone {
        return Err(format!(
            "it has several daemons ({}), and {} would know nothing of the groups of the others: \
             with --corosync they have them in common; if that is what you want, give --alone",
            names(),
            daemon.name
        ));
    }
    Ok(daemon)
}

/// Returns whether an address is one of this host.
pub(crate) fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Returns the addresses at which a daemon of a configuration listens for clients.
fn addresses(daemon: &ConfDaemon) -> Outcome<Vec<IpAddr>> {
    match &daemon.client_addresses {
        None => Ok(vec![address(daemon)?]),
        Some(addresses) if addresses.is_empty() => {
            Err(format!("no interface of {} is for clients (C)", daemon.name).into())
        }
        Some(addresses) => Ok(addresses.clone()),
    }
}

/// Returns the address of a daemon, which may stand in its name.
pub(crate) fn address(daemon: &ConfDaemon) -> Outcome<IpAddr> {
    if let Some(address) = daemon.address {
        return Ok(address);
    }
    let found = (&*daemon.name, daemon.port).to_socket_addrs();
    let found = found.map_err(|e| format!("cannot look up {}: {e}", daemon.name))?;
    let address = found.map(|address| address.ip()).next();
    Ok(address.ok_or_else(|| format!("{} has no address", daemon.name))?)
}

/// Returns the authentication by the configuration and the files given.
fn authentication(run: &Run, conf: &Conf) -> Outcome<Authentication> {
    let passwords = || -> Outcome<Method> {
        let file = passwords_path(run);
        Ok(Method::Password(Passwords::load(file)?))
    };
    let addresses = || -> Outcome<Method> { Ok(Method::Address(address_list(run)?)) };
    let method = |name: &str| match name {
        "PWORD" => passwords(),
        "IP" => addresses(),
        _ => Ok(Method::Anyone),
    };
    let mut authentication = match &conf.allowed_methods {
        Some(names) => names.iter().try_fold(Authentication::deny_all(), |a, name| {
            Ok::<_, Box<dyn Error>>(a.allow(method(name)?))
        })?,
        // Clients that know no password are not to be told of another way.
        None if run.passwords.is_some() => Authentication::deny_all(),
        None => Authentication::default(),
    };
    for name in &conf.required_methods {
        authentication = authentication.require(method(name)?);
    }
    if run.passwords.is_some() {
        authentication = authentication.require(passwords()?);
    }
    if run.allow.is_some() {
        authentication = authentication.require(addresses()?);
    }
    Ok(authentication)
}

/// Reads the addresses that clients may come from.
fn address_list(run: &Run) -> Outcome<AddressList> {
    let file = addresses_path(run);
    let text =
        fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    Ok(text.parse().map_err(|e| format!("{}: {e}", file.display()))?)
}

/// Returns where the file of addresses is.
fn addresses_path(run: &Run) -> PathBuf {
    run.allow.clone().unwrap_or_else(|| beside(run, "spread.access_ip"))
}

/// Returns a remark on a list of addresses that every client has to be in, and none is.
fn empty_list(run: &Run, conf: &Conf) -> Outcome<Option<String>> {
    let is_required = run.allow.is_some() || conf.required_methods.iter().any(|name| name == "IP");
    if !is_required || address_list(run)? != AddressList::default() {
        return Ok(None);
    }
    let file = addresses_path(run);
    Ok(Some(format!("nobody can connect: there is no address in {}", file.display())))
}

/// Returns the file of passwords, if there is to be one.
fn password_file(run: &Run, conf: &Conf) -> Option<PathBuf> {
    let mut methods = conf.allowed_methods.iter().flatten().chain(&conf.required_methods);
    let by_conf = methods.any(|method| method == "PWORD");
    (by_conf || run.passwords.is_some()).then(|| passwords_path(run))
}

/// Returns where the file of passwords is.
fn passwords_path(run: &Run) -> PathBuf {
    run.passwords.clone().unwrap_or_else(|| beside(run, "spread.access_pword"))
}

/// Returns where a file is looked for: as Spread does it, and first beside the configuration.
fn beside(run: &Run, name: &str) -> PathBuf {
    let folder = run.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let places = [folder.join(name), Path::new("/etc").join(name)];
    places.iter().find(|path| path.exists()).unwrap_or(&places[0]).clone()
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
