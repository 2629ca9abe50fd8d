//! The log: lines go through a bounded queue to a thread that writes them, so that
//! the daemon never waits for the reader of the log.
//!
//! A line that does not fit into the queue or cannot be written is lost. The number
//! of lost lines is written before the next line that can be written, or at the end
//! of the program, which waits up to a second for the queue to be written. That a file cannot be
//! written is told on stderr, once until it can be.
//!
//! What goes to systemd's journal has its priority in front and no time.

mod journal;
mod out;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, panic, thread};

use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::check::probe_folder;
use crate::files::{linked, refuse_fifo};
use crate::options::LogFormat;
use crate::plan::Outcome;
use journal::TextLines;
pub(crate) use journal::with_priority;
use out::{Out, Report};

/// Lines that may wait to be written.
const WAITING: usize = 1024;

/// Limit of the wait for the last lines at the end of the program.
const LAST_LINES: Duration = Duration::from_secs(1);

/// An entry of the queue.
enum Entry {
    Line(Vec<u8>),
    /// Where to write from now on.
    Out(Out),
    /// Asks for a sign when everything before has been written or lost.
    End(SyncSender<()>),
}

/// A handle to the thread. Writing never waits and never fails.
#[derive(Clone)]
pub(crate) struct Log {
    entries: Sender<Entry>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Lines in the queue, the one included that is being written.
    waiting: AtomicUsize,
    /// Lines lost and not reported yet.
    lost: AtomicU64,
}

/// The log of the program, with what can be changed while it runs.
pub(crate) struct Logging {
    log: Log,
    /// Where the lines go, if not to stderr.
    path: Mutex<Option<PathBuf>>,
    is_to_file: Arc<AtomicBool>,
    set_filter: Box<dyn Fn(EnvFilter) -> Outcome<()> + Send + Sync>,
}

/// Logs to a file or to stderr from now on; `level` counts unless RUST_LOG says
/// otherwise.
pub(crate) fn start(format: LogFormat, file: Option<&Path>, level: &str) -> Outcome<Logging> {
    let out = match file {
        Some(path) => Out::to_file(path, open(path)?),
        None => Out::to_stderr(),
    };
    let is_to_file = Arc::new(AtomicBool::new(file.is_some()));
    let log = Log::start(format, Arc::clone(&is_to_file), out)?;
    let colours = file.is_none() && io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(level, file.is_some()));
    let subscriber = subscriber.with_writer(log.clone());
    let set_filter: Box<dyn Fn(EnvFilter) -> Outcome<()> + Send + Sync> = match format {
        LogFormat::Text => {
            let lines = TextLines::new(Arc::clone(&is_to_file));
            let subscriber = subscriber.with_ansi(colours).event_format(lines);
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |filter| Ok(handle.reload(filter)?))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            // The default hook writes several lines of text.
            panic::set_hook(Box::new(|info| tracing::error!("{info}")));
            Box::new(move |filter| Ok(handle.reload(filter)?))
        }
    };
    let path = Mutex::new(file.map(Path::to_owned));
    Ok(Logging { log, path, is_to_file, set_filter })
}

/// Opens a file to log to its end.
pub(crate) fn open(path: &Path) -> Outcome<File> {
    refuse_fifo(path)?;
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(file.map_err(|e| format!("cannot log to {}: {e}", path.display()))?)
}

/// Checks that a file can be logged to, and leaves it as it is.
pub(crate) fn check_file(path: &Path) -> Outcome<()> {
    refuse_fifo(path)?;
    let opened = match OpenOptions::new().append(true).open(path) {
        // A daemon that runs may create it meanwhile, so its name is left alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let target = linked(path);
            let is_file = |name: &OsStr| {
                // It is not where a slash follows.
                target.as_os_str().as_bytes().ends_with(name.as_bytes())
            };
            match target.file_name().is_some_and(is_file) {
                true => probe_folder(target.parent().unwrap_or(Path::new(""))),
                false => Err(error),
            }
        }
        opened => opened.map(drop),
    };
    Ok(opened.map_err(|e| format!("cannot log to {}: {e}", path.display()))?)
}

/// The parts of the program that log, as the targets of RUST_LOG name them.
const PARTS: [&str; 2] = ["spread_daemon", "spreadd"];

/// Returns what RUST_LOG asks for, unless it is unset or empty; `level` is for what its directives
/// do not name.
///
/// # Errors
///
/// It is no level, and no directive of [`EnvFilter`] such as `spread_daemon=debug`. A single word
/// that is no level would be a target, and silence everything else, so it has to be one of ours.
pub(crate) fn rust_log(level: &str) -> Outcome<Option<EnvFilter>> {
    let Some(value) = rust_log_value() else { return Ok(None) };
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let is_known =
        |word: &str| is_level(word) || word.contains(['=', '[']) || word.starts_with("spread");
    let mut words = value.split(',').map(str::trim);
    let filter = words.clone().all(is_known).then(|| match words.any(is_level) {
        true => EnvFilter::try_new(&value),
        false => EnvFilter::try_new(format!("{level},{value}")),
    });
    let filter = filter.and_then(Result::ok);
    let wrong = || {
        format!("RUST_LOG={value} is not understood: it is error, warn, info, debug, trace or off")
    };
    Ok(Some(filter.ok_or_else(wrong)?))
}

/// Returns a remark on directives of RUST_LOG that name no part of the program.
pub(crate) fn rust_log_warning() -> Option<String> {
    let value = rust_log_value()?;
    let names = value.split(',').filter_map(|word| word.split(['=', '[']).next());
    let mut names = names.map(str::trim).filter(|name| name.parse::<LevelFilter>().is_err());
    let is_part = |name: &str| PARTS.iter().any(|p| p.starts_with(name) || name.starts_with(p));
    let other = names.find(|name| !is_part(name))?;
    let parts = PARTS.join(" and ");
    Some(format!("RUST_LOG={value}: no part of the program is called {other}, but {parts}"))
}

fn rust_log_value() -> Option<String> {
    let value = env::var_os(EnvFilter::DEFAULT_ENV)?.to_string_lossy().into_owned();
    (!value.trim().is_empty()).then_some(value)
}

fn filter(level: &str, is_to_file: bool) -> EnvFilter {
    // What is wrong with it has been told before the log was started.
    let filter = rust_log(level).ok().flatten().unwrap_or_else(|| EnvFilter::new(level));
    match is_to_file {
        true => filter,
        // The program itself says on stderr why the daemon has ended.
        false => filter.add_directive("spread_daemon::end=off".parse().expect("it is one")),
    }
}

impl Logging {
    /// Logs to another file from now on, or to stderr if none is given, and at another level.
    pub(crate) fn change(&self, file: Option<(PathBuf, File)>, level: &str) -> Outcome<()> {
        let mut present = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        (self.set_filter)(filter(level, file.is_some()))?;
        let (path, out) = match file {
            Some((path, file)) => (Some(path.clone()), Out::to_file(&path, file)),
            None if present.is_none() => return Ok(()),
            None => (None, Out::to_stderr()),
        };
        if *present != path {
            let name = path.as_ref().map_or("stderr".into(), |path| path.display().to_string());
            tracing::info!("logs to {name} from now on");
        }
        self.is_to_file.store(path.is_some(), Ordering::Relaxed);
        // Without a thread nothing is logged any more.
        let _ = self.log.entries.send(Entry::Out(out));
        *present = path;
        Ok(())
    }

    /// Opens the file again, if it logs to one: the former may have another name now.
    pub(crate) fn reopen(&self) {
        let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &*path else { return };
        match open(path) {
            Ok(file) => {
                let _ = self.log.entries.send(Entry::Out(Out::to_file(path, file)));
                tracing::info!("opened {} again", path.display());
            }
            Err(error) => tracing::error!("the log is as before: {error}"),
        }
    }

    /// Waits until all lines so far have been written, and the number of the lost ones;
    /// gives up after [`LAST_LINES`].
    pub(crate) fn finish(&self) {
        self.log.finish();
    }
}

impl Log {
    fn start(format: LogFormat, is_to_file: Arc<AtomicBool>, out: Out) -> io::Result<Log> {
        let (entries, queue) = channel();
        let counts = Arc::<Counts>::default();
        let log = Log { entries, counts: Arc::clone(&counts) };
        let report = Report { format, is_to_file };
        let write = move || write_entries(&queue, out, &counts, &report);
        thread::Builder::new().name("spreadd-log".to_owned()).spawn(write)?;
        Ok(log)
    }

    fn finish(&self) {
        let (done, end) = sync_channel(1);
        if self.entries.send(Entry::End(done)).is_ok() {
            // A writer that is stuck does not keep the program from its end.
            let _ = end.recv_timeout(LAST_LINES);
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Counts { waiting, lost } = &*self.counts;
        let has_room = waiting.fetch_add(1, Ordering::Relaxed) < WAITING;
        if !has_room || self.entries.send(Entry::Line(line.to_vec())).is_err() {
            waiting.fetch_sub(1, Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

fn write_entries(entries: &Receiver<Entry>, mut out: Out, counts: &Counts, report: &Report) {
    let Counts { waiting, lost } = counts;
    for entry in entries {
        let so_far = lost.load(Ordering::Relaxed);
        let is_told = so_far == 0 || out.line(report.lost(so_far).as_bytes(), report);
        if is_told {
            lost.fetch_sub(so_far, Ordering::Relaxed);
        }
        match entry {
            Entry::Line(line) => {
                if !is_told || !out.line(&line, report) {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Entry::Out(other) => out.change(other),
            Entry::End(done) => {
                // The program may have stopped waiting.
                let _ = done.try_send(());
            }
        }
    }
}

/// Returns a line of JSON as those of the log are.
pub(crate) fn json_line(
    level: &str,
    target: &str,
    message: &str,
    others: &[(&str, Value)],
) -> String {
    let mut fields = Map::from_iter([("message".to_owned(), message.into())]);
    fields.extend(others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let line = json!({ "timestamp": now(), "level": level, "fields": fields, "target": target });
    format!("{line}\n")
}

fn now() -> String {
    let mut time = String::new();
    // Without its time a line still reports what it is for.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn start(format: LogFormat, out: Disk) -> io::Result<Log> {
        Log::start(format, Arc::default(), Out::new(out, io::sink()))
    }

    /// Fails while it is told to.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut out = self.0.lock().unwrap();
            if out.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            out.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lost_lines_are_counted_and_told_before_the_next_line() {
        let out = Disk::default();
        let mut log = start(LogFormat::Json, out.clone()).unwrap();
        let mut write = |fails: bool, line: &str| {
            out.0.lock().unwrap().0 = fails;
            log.write_all(line.as_bytes()).unwrap();
            log.finish();
        };
        write(false, "one\n");
        write(true, "two\n");
        write(true, "three\n");
        write(false, "four\n");
        write(false, "five\n");
        let said = String::from_utf8(out.0.lock().unwrap().1.clone()).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.len(), lines[0], &lines[2..]), (4, "one", &["four", "five"][..]));
        let told: Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((&told["level"], &told["fields"]["lost"]), (&"WARN".into(), &2.into()));
    }

    #[test]
    fn what_was_logged_before_a_change_is_in_the_former_file() {
        let (first, second) = (Disk::default(), Disk::default());
        let mut log = start(LogFormat::Text, first.clone()).unwrap();
        log.write_all(b"one\n").unwrap();
        log.entries.send(Entry::Out(Out::new(second.clone(), io::sink()))).unwrap();
        log.write_all(b"two\n").unwrap();
        log.finish();
        let said = |out: &Disk| out.0.lock().unwrap().1.clone();
        assert_eq!((&said(&first)[..], &said(&second)[..]), (&b"one\n"[..], &b"two\n"[..]));
    }

    #[test]
    fn lines_lost_last_are_reported_at_the_end() {
        let out = Disk::default();
        let mut log = start(LogFormat::Text, out.clone()).unwrap();
        out.0.lock().unwrap().0 = true;
        log.write_all(b"lost\n").unwrap();
        log.finish();
        assert_eq!(out.0.lock().unwrap().1, b"");
        out.0.lock().unwrap().0 = false;
        log.finish();
        let said = String::from_utf8(out.0.lock().unwrap().1.clone()).unwrap();
        assert!(said.ends_with(" 1 log lines were lost\n"), "{said}");
    }

    #[test]
    fn the_end_waits_for_a_full_queue() {
        let out = Disk::default();
        let mut log = start(LogFormat::Text, out.clone()).unwrap();
        // The writer is stuck for a while.
        let stuck = out.0.lock().unwrap();
        for number in 0..WAITING + 3 {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let end = log.clone();
        let (done, ended) = sync_channel(1);
        let finishing = thread::spawn(move || {
            end.finish();
            done.send(()).unwrap();
        });
        let is_early = ended.recv_timeout(Duration::from_millis(50)).is_ok();
        drop(stuck);
        finishing.join().unwrap();
        let said = String::from_utf8(out.0.lock().unwrap().1.clone()).unwrap();
        let (reports, written): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| line.ends_with(" 3 log lines were lost"));
        let expected: Vec<String> = (0..WAITING).map(|number| number.to_string()).collect();
        assert_eq!((is_early, reports.len(), written.len()), (false, 1, WAITING));
        assert_eq!(written, expected);
    }
}
