//! `--check`: what would keep the daemon from its start, as far as that shows without one.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use tracing::Level;

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
    check_folder(&run.unix_dir)?;
    let elsewhere = addresses(run, plan).into_iter().filter(|address| !is_own(*address));
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

/// Returns all addresses at which the daemon would listen, each once.
fn addresses(run: &Run, plan: &Plan) -> Vec<IpAddr> {
    let mut addresses = plan.addresses.clone();
    addresses.extend(run.metrics.map(|metrics| metrics.ip()));
    #[cfg(feature = "http")]
    addresses.extend(run.http.map(|http| http.ip()));
    #[cfg(feature = "tls")]
    addresses.extend(&run.tls.bind);
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Checks that socket files can be made in a folder.
fn check_folder(folder: &Path) -> Outcome<()> {
    let wrong = |error| format!("cannot make the unix socket in {}: {error}", folder.display());
    Ok(probe_folder(folder).map_err(wrong)?)
}

/// Checks that a file can be made in a folder; an empty one is the current folder. The file has a
/// random name: in a folder for all users, such as `/tmp`, they could take a name that they guess.
pub(crate) fn probe_folder(folder: &Path) -> io::Result<()> {
    tempfile::Builder::new()
        .prefix("spreadd-check-")
        .make_in(folder, |path| File::create_new(path))?
        .close()
}
