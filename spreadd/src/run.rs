//! A run of the daemon: its start, its signals and its end.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use listenfd::ListenFd;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use spread_daemon::{Daemon, ReloadHandle, Sockets};

use crate::http::{HttpPlan, HttpReloader, HttpServer};
use crate::log::{self, Logging, json_line};
use crate::notify::notify;
use crate::options::{LogFormat, Run};
use crate::plan::{DEFAULT_SESSIONS, Outcome, Plan, plan, with_config};
use crate::{chain, check, print, tls};

/// How long clients may take to read what is queued for them at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// File descriptors beside those of the sessions: connections without a session,
/// listeners, files.
const OTHER_DESCRIPTORS: u64 = 1200;

/// File descriptors beside those of the sessions without which nothing works: listeners, files,
/// a few connections without a session.
const LEAST_DESCRIPTORS: u64 = 32;

/// Runs the daemon, or only checks its configuration. Returns the exit code for an error, too.
pub(crate) fn run(run: Run) -> (Outcome<()>, u8) {
    let run = with_config(run);
    match start(&run) {
        Ok(None) => (Ok(()), 0),
        Ok(Some(started)) => serve(run, started),
        Err(error) => (Err(error), 2),
    }
}

/// A daemon that runs, and what belongs to it.
struct Started {
    name: String,
    daemon: Daemon,
    http: Option<HttpServer>,
    tls: tls::Running,
    signals: Signals,
    logging: Logging,
}

/// Starts the daemon, or only checks its configuration.
fn start(run: &Run) -> Outcome<Option<Started>> {
    // Before anything else takes one of their numbers.
    let (sockets, has_tcp) = inherited_sockets()?;
    let mut plan = plan(run)?;
    log::rust_log(plan.log_level)?;
    plan.warnings.extend(log::rust_log_warning());
    plan.warnings.extend(raise_descriptor_limit(run.max_sessions, &plan.tls)?);
    if run.check {
        check::check(run, &plan)?;
        return Ok(None);
    }
    check::check_addresses(run, &plan, !has_tcp)?;
    let Plan { name, builder, tls, log_file, log_level, http, warnings, .. } = plan;
    let logging = log::start(run.log_format, log_file.as_deref(), log_level)?;
    let started = || {
        if let Some(path) = &run.config {
            tracing::info!("read {}", path.display());
        }
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        // Before anything that a signal would leave behind.
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
        let http = http.map(HttpPlan::listen).transpose()?;
        let tls = tls.bind()?;
        let daemon = builder.start_with(sockets)?;
        let http = http.map(|http| http.serve(daemon.admin_handle())).transpose()?;
        let sessions = run.max_sessions.unwrap_or(DEFAULT_SESSIONS);
        let tls = tls.start(sessions, daemon.admit_handle())?;
        Outcome::Ok((signals, daemon, http, tls))
    };
    match started() {
        Ok((signals, daemon, http, tls)) => {
            Ok(Some(Started { name, daemon, http, tls, signals, logging }))
        }
        Err(error) => {
            logging.finish();
            Err(error)
        }
    }
}

/// Returns the listening sockets that the service manager has opened, and whether there is one for
/// TCP; see sd_listen_fds(3).
fn inherited_sockets() -> Outcome<(Sockets, bool)> {
    let mut descriptors = ListenFd::from_env();
    let (mut sockets, mut has_tcp) = (Sockets::default(), false);
    for number in 0..descriptors.len() {
        // Which kind it is shows when it is taken; one of another kind stays.
        if let Ok(Some(socket)) = descriptors.take_tcp_listener(number) {
            sockets = sockets.tcp(socket);
            has_tcp = true;
        } else {
            let socket = descriptors.take_unix_listener(number);
            if let Some(socket) =
                socket.map_err(|e| format!("socket {number} of LISTEN_FDS: {e}"))?
            {
                sockets = sockets.unix(socket);
            }
        }
    }
    Ok((sockets, has_tcp))
}

/// Tells that the daemon is ready.
fn announce(
    format: LogFormat,
    name: &str,
    daemon: &Daemon,
    http: Option<&HttpServer>,
    tls: &[SocketAddr],
) {
    let (addresses, metrics) = (daemon.addresses(), daemon.metrics_addr().map(from_here));
    let tls: Vec<String> = tls.iter().copied().map(at_host).collect();
    let page = http.map(|http| format!("http://{}/", from_here(http.address())));
    let file = daemon.unix_path().unwrap_or("".as_ref()).display().to_string();
    let text = match format {
        LogFormat::Text => {
            let mut text = format!("{name} is ready at {} and {file}\n", addresses.join(" and "));
            if !tls.is_empty() {
                text += &format!("TLS is at {}\n", tls.join(" and "));
            }
            if let Some(address) = metrics {
                text += &format!("metrics are at http://{address}/metrics\n");
            }
            if let Some(page) = page {
                text += &format!("the page is at {page}\n");
            }
            text
        }
        LogFormat::Json => {
            let metrics = metrics.map(|address| format!("http://{address}/metrics"));
            let mut fields: Vec<(&str, Value)> = vec![
                ("name", name.into()),
                ("address", daemon.address().into()),
                ("addresses", addresses.into()),
                ("unix_socket", file.into()),
                ("metrics", metrics.into()),
                ("http", page.into()),
            ];
            if let Some(first) = tls.first().cloned() {
                fields.extend([("tls", first.into()), ("tls_addresses", tls.into())]);
            }
            json_line("INFO", "spreadd", "ready", &fields)
        }
    };
    // Stdout may be closed.
    let _ = print(text);
    let _ = io::stdout().flush();
    notify(&ready(daemon.address()));
}

/// Returns the state for the service manager of a daemon that clients can connect to.
fn ready(address: impl Display) -> String {
    format!("READY=1\nSTATUS=clients connect to {address}")
}

/// Returns an address as clients name it.
fn at_host(address: SocketAddr) -> String {
    let address = from_here(address);
    format!("{}@{}", address.port(), address.ip())
}

/// Returns the address by which one that is listened at is reached on this host: the loopback
/// address stands for all of them.
fn from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Waits until the daemon has ended: gently on the first SIGTERM, at once on SIGINT or another
/// SIGTERM. Returns the exit code for an error, too.
fn serve(run: Run, started: Started) -> (Outcome<()>, u8) {
    let Started { name, daemon, http, tls, mut signals, logging } = started;
    let format = run.log_format;
    let (stop, handle) = (daemon.stop_handle(), signals.handle());
    let tls_stop = tls.stopper();
    let logging = Arc::new(logging);
    let is_up = Arc::<AtomicBool>::default();
    let reloader = Reloader {
        run,
        ready: ready(daemon.address()),
        handle: daemon.reload_handle(),
        http: http.as_ref().map(HttpServer::reloader),
        tls: tls.reload(),
        logging: Arc::clone(&logging),
        is_up: Arc::clone(&is_up),
    };
    // One more that waits reads all that has changed while the one before was in work.
    let (reload_later, reloads) = sync_channel(1);
    // In a thread of its own, for which the program does not wait: it reads files and resolves
    // names, however long that takes.
    thread::spawn(move || reloads.into_iter().for_each(|()| reloader.reload()));
    // As this one, which may wait for a file.
    let (reopen_later, reopens) = sync_channel(1);
    let reopened = Arc::clone(&logging);
    thread::spawn(move || reopens.into_iter().for_each(|()| reopened.reopen()));
    let listener = thread::spawn(move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                if !is_stopping {
                    // Full: one waits already.
                    let _ = reload_later.try_send(());
                }
                continue;
            }
            if signal == SIGUSR1 {
                // Full: what waits opens the file after this, too.
                let _ = reopen_later.try_send(());
                continue;
            }
            notify("STOPPING=1");
            let at_once = is_stopping || signal != SIGTERM;
            let signal = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
            match at_once {
                true => tracing::info!(signal, "ends at once"),
                false => tracing::info!(
                    signal,
                    "takes nothing new, and ends when what is queued for clients has been sent, \
                     after {} s at the latest",
                    DRAIN.as_secs()
                ),
            }
            // First, or the end of the daemon might come before it.
            tls_stop.signal(at_once);
            match at_once {
                false => stop.drain(DRAIN),
                true => stop.stop(),
            }
            is_stopping = true;
        }
    });
    let is_ready = daemon.wait_until_ready();
    if is_ready {
        is_up.store(true, Ordering::Release);
        announce(format, &name, &daemon, http.as_ref(), tls.addresses());
    }
    let ended = daemon.wait();
    if ended.is_ok() {
        tracing::info!("the daemon has ended");
    }
    http.into_iter().for_each(HttpServer::stop);
    tls.finish();
    handle.close();
    // It does not panic, and the error of the daemon matters more.
    let _ = listener.join();
    logging.finish();
    (ended.map_err(Into::into), if is_ready { 3 } else { 2 })
}

/// Reads the settings of the daemon again.
struct Reloader {
    run: Run,
    /// The state for the service manager when all is well.
    ready: String,
    handle: ReloadHandle,
    http: Option<HttpReloader>,
    tls: tls::Reload,
    logging: Arc<Logging>,
    is_up: Arc<AtomicBool>,
}

impl Reloader {
    /// Reads again what can change while the daemon runs, and takes it over as a whole or not
    /// at all.
    fn reload(&self) {
        self.notify("RELOADING=1");
        match self.try_reload() {
            Ok(()) => self.notify(&self.ready),
            Err(error) => {
                let failed = format!("not reloaded, all is as before: {}", chain(&*error));
                tracing::error!("{failed}");
                self.notify(&format!("READY=1\nSTATUS={}", failed.replace('\n', " ")));
            }
        }
    }

    fn try_reload(&self) -> Outcome<()> {
        let Plan { builder, tls, log_file, log_level, http, warnings, .. } = plan(&self.run)?;
        let open = |path: PathBuf| log::open(&path).map(|file| (path, file));
        let file = log_file.map(open).transpose()?;
        let differences = self.handle.reload(&builder)?;
        if let (Some(reloader), Some(plan)) = (&self.http, http) {
            reloader.reload(plan);
        }
        self.tls.take(tls);
        if let Err(error) = self.logging.change(file, log_level) {
            tracing::error!("the log is as before: {}", chain(&*error));
        }
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        for name in differences {
            tracing::warn!("a change takes a new start to count: {name}");
        }
        tracing::info!("reloaded");
        Ok(())
    }

    /// Notifies the service manager, but not before the daemon is ready.
    fn notify(&self, state: &str) {
        if self.is_up.load(Ordering::Acquire) {
            notify(state);
        }
    }
}

/// Raises the limit of file descriptors to what the sessions need, as far as the
/// system allows it. Returns a remark if it has no room for the default of them.
///
/// # Errors
///
/// The number of sessions that was asked for is beyond the limit.
fn raise_descriptor_limit(asked: Option<usize>, tls: &tls::Plan) -> Outcome<Option<String>> {
    let sessions = asked.unwrap_or(DEFAULT_SESSIONS);
    let sessions = u64::try_from(sessions).unwrap_or(u64::MAX);
    let (for_each, others) = tls.descriptors();
    let all = sessions.saturating_mul(1 + for_each);
    let (wanted, least) =
        (all.saturating_add(OTHER_DESCRIPTORS + others), all.saturating_add(LEAST_DESCRIPTORS));
    match rlimit::increase_nofile_limit(wanted) {
        Ok(limit) if limit < least && asked.is_some() => Err(format!(
            "--max-sessions {sessions} takes {least} file descriptors, and the limit is {limit}: \
             raise it with ulimit -n or LimitNOFILE="
        )
        .into()),
        Ok(limit) if limit < least => {
            let room = limit.saturating_sub(LEAST_DESCRIPTORS) / (1 + for_each);
            Ok(Some(format!(
                "the limit of {limit} file descriptors has room for {room} of {sessions} sessions: \
                 raise it with ulimit -n or LimitNOFILE="
            )))
        }
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(format!("cannot raise the limit of file descriptors: {error}"))),
    }
}
