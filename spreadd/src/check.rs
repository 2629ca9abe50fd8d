//! `--check`: what would keep the daemon from its start, as far as that shows without one.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net;
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tracing::Level;

use crate::http::HttpPlan;
use crate::log::{self, json_line};
use crate::options::{LogFormat, Run};
use crate::plan::{Outcome, Plan, is_own};
use crate::{print, say};

/// Tells whether a daemon could start by this plan, with its warnings.
///
/// # Errors
///
/// What it could not start with. Whether a port is free is no part of that: the daemon whose
/// configuration is checked may run.
pub(crate) fn check(run: &Run, plan: &Plan) -> Outcome<()> {
    plan.builder.check()?;
    plan.log_file.as_deref().map_or(Ok(()), log::check_file)?;
    check_folder(&run.unix_dir, plan.addresses[0].port())?;
    check_addresses(run, plan, true)?;
    let mut addresses: Vec<IpAddr> =
        listening(run, plan, true).iter().map(|(_, address)| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let elsewhere = addresses.into_iter().filter(|address| !is_own(*address));
    // It may be one by the time of the start, or the configuration be for another host.
    let elsewhere = elsewhere.map(|address| format!("{address} is no address of this host now"));
    for warning in plan.warnings.iter().cloned().chain(elsewhere) {
        say(run.log_format, Level::WARN, &format!("warning: {warning}"));
    }
    let file = run.config.as_ref().map(|path| format!(" ({})", path.display()));
    let fine = format!("the configuration of {} is fine{}", plan.name, file.unwrap_or_default());
    print(match run.log_format {
        LogFormat::Text => format!("{fine}\n"),
        LogFormat::Json => json_line("INFO", "spreadd", &fine, &[]),
    })
}

/// Returns all addresses at which the daemon would listen, and what for; `clients` says whether it
/// opens the sockets for clients without TLS itself.
fn listening(run: &Run, plan: &Plan, clients: bool) -> Vec<(&'static str, SocketAddr)> {
    let clients = plan.addresses.iter().copied().filter(|_| clients);
    let clients = clients.map(|address| ("clients", address));
    let tls = plan.tls.addresses().into_iter().map(|address| ("TLS", address));
    let metrics = run.metrics.map(|address| ("metrics", address));
    let http = plan.http.as_ref().map(|http: &HttpPlan| ("HTTP", http.address()));
    clients.chain(tls).chain(metrics).chain(http).collect()
}

/// Checks that no two addresses at which the daemon would listen overlap.
pub(crate) fn check_addresses(run: &Run, plan: &Plan, clients: bool) -> Outcome<()> {
    let all = listening(run, plan, clients);
    for (number, (purpose, address)) in all.iter().enumerate() {
        let overlaps = |(other, at): &&(&str, SocketAddr)| {
            // All of one purpose have the port that is chosen for the first.
            let is_chosen = address.port() == 0 && other != purpose;
            address.port() == at.port() && !is_chosen && overlap(address.ip(), at.ip())
        };
        if let Some((other, at)) = all[..number].iter().find(overlaps) {
            let both = format!("at {at} for {other} and at {address} for {purpose}");
            return Err(format!("cannot listen {both}: they overlap").into());
        }
    }
    Ok(())
}

/// Returns whether a port of one address cannot be listened at beside that of another one.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let covers = |all: IpAddr, ip: IpAddr| {
        all.is_unspecified() && (all.is_ipv4() == ip.is_ipv4() || all.is_ipv6() && takes_ipv4())
    };
    one == other || covers(one, other) || covers(other, one)
}

/// Returns whether a socket at all IPv6 addresses is one at all IPv4 addresses, too.
fn takes_ipv4() -> bool {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None);
    socket.and_then(|socket| socket.only_v6()).is_ok_and(|only_v6| !only_v6)
}

/// Checks that socket files can be made in a folder.
fn check_folder(folder: &Path, port: u16) -> Outcome<()> {
    let wrong = |error| format!("cannot make the unix socket in {}: {error}", folder.display());
    // The longest one, whose path must not be too long for an address.
    let longest = folder.join(format!("{}.status", if port == 0 { u16::MAX } else { port }));
    let checked = net::SocketAddr::from_pathname(longest).and_then(|_| probe_folder(folder));
    checked.map_err(wrong)?;
    for path in [format!("{port}"), format!("{port}.status")].map(|name| folder.join(name)) {
        if fs::symlink_metadata(&path).is_ok_and(|file| !file.file_type().is_socket()) {
            return Err(format!("{} is no socket; remove it", path.display()).into());
        }
    }
    Ok(())
}

/// Checks that a file can be made in a folder; an empty one is the current folder. The file has a
/// random name: in a folder for all users, such as `/tmp`, they could take a name that they guess.
pub(crate) fn probe_folder(folder: &Path) -> io::Result<()> {
    tempfile::Builder::new()
        .prefix("spreadd-check-")
        .make_in(folder, |path| File::create_new(path))?
        .close()
}
