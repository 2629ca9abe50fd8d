//! The log: lines go through a bounded queue to a thread that writes them, so that
//! the daemon never waits for whoever reads them.
//!
//! A line that does not fit into the queue or cannot be written is lost. The number
//! of lost lines is written before the next line that can be.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::options::LogFormat;
use crate::plan::Outcome;

/// Lines that may wait to be written.
const WAITING: usize = 1024;

/// How long the end of the program may wait for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the thread gets.
enum Entry {
    Line(Vec<u8>),
    /// Everything before was written or lost.
    End(SyncSender<()>),
}

/// The way to the thread. Writing never waits and never fails.
#[derive(Clone)]
pub(crate) struct Log {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// Logs to a file or to stderr from now on; `level` counts unless RUST_LOG says
/// otherwise.
pub(crate) fn start(format: LogFormat, file: Option<&Path>, level: &str) -> Outcome<Log> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = match file {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|e| format!("cannot log to {}: {e}", path.display()))?;
            Log::start(format, file)?
        }
        None => Log::start(format, io::stderr())?,
    };
    let colours = file.is_none() && io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone());
    match format {
        LogFormat::Text => subscriber.with_ansi(colours).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(log)
}

impl Log {
    fn start(format: LogFormat, out: impl Write + Send + 'static) -> io::Result<Log> {
        let (entries, waiting) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let log = Log { entries, lost: Arc::clone(&lost) };
        let write = move || write_entries(&waiting, out, &lost, format);
        thread::Builder::new().name("spreadd-log".to_owned()).spawn(write)?;
        Ok(log)
    }

    /// Waits for a moment until all lines have been written or lost.
    pub(crate) fn finish(&self) {
        let (done, end) = sync_channel(1);
        if self.entries.try_send(Entry::End(done)).is_ok() {
            // After the time the lines are given up.
            let _ = end.recv_timeout(LAST_LINES);
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.entries.try_send(Entry::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
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

fn write_entries(
    entries: &Receiver<Entry>,
    mut out: impl Write,
    lost: &AtomicU64,
    format: LogFormat,
) {
    for entry in entries {
        match entry {
            Entry::Line(line) => {
                let so_far = lost.load(Ordering::Relaxed);
                let is_told =
                    so_far == 0 || out.write_all(report(format, so_far).as_bytes()).is_ok();
                if is_told {
                    lost.fetch_sub(so_far, Ordering::Relaxed);
                }
                if !is_told || out.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Entry::End(done) => {
                // Who asked may have given up.
                let _ = done.try_send(());
            }
        }
    }
}

/// The line that tells how many lines are missing before it.
fn report(format: LogFormat, lost: u64) -> String {
    let mut time = String::new();
    // Without its time the line still tells what it must.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    match format {
        LogFormat::Text => format!("{time}  WARN spreadd::log: {lost} log lines were lost\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"fields\":{{\"message\":\
             \"log lines were lost\",\"lost\":{lost}}},\"target\":\"spreadd::log\"}}\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Fails while it is told to.
    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Out {
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
        let out = Out::default();
        let mut log = Log::start(LogFormat::Json, out.clone()).unwrap();
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
        let told: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((&told["level"], &told["fields"]["lost"]), (&"WARN".into(), &2.into()));
    }
}
