//! Where lines are written, and what is told when they cannot be.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;

use super::journal::{is_journal, with_priority};
use super::{json_line, now};
use crate::options::LogFormat;

/// Where lines are written.
pub(super) struct Out {
    out: Box<dyn Write + Send>,
    /// Where it is told that they cannot be.
    errors: Box<dyn Write + Send>,
    /// The file, if it is one.
    file: Option<LogFile>,
    /// Whether a line has come to its middle only.
    is_cut: bool,
    /// Whether the last line could not be written.
    has_failed: bool,
}

struct LogFile {
    name: String,
    /// Its device and number, if they can be read.
    identity: Option<(u64, u64)>,
}

impl Out {
    pub(super) fn new(
        out: impl Write + Send + 'static,
        errors: impl Write + Send + 'static,
    ) -> Out {
        let (out, errors) = (Box::new(out), Box::new(errors));
        Out { out, errors, file: None, is_cut: false, has_failed: false }
    }

    pub(super) fn to_stderr() -> Out {
        Out::new(io::stderr(), io::sink())
    }

    pub(super) fn to_file(path: &Path, file: File) -> Out {
        let identity = file.metadata().ok().map(|file| (file.dev(), file.ino()));
        let name = path.display().to_string();
        Out { file: Some(LogFile { name, identity }), ..Out::new(file, io::stderr()) }
    }

    /// Writes to another file from now on, or to the same one that was opened again.
    pub(super) fn change(&mut self, to: Out) {
        let identity = |out: &Out| out.file.as_ref().and_then(|file| file.identity);
        let is_same = identity(self).is_some_and(|former| identity(&to) == Some(former));
        let (is_cut, has_failed) = (is_same && self.is_cut, is_same && self.has_failed);
        *self = Out { is_cut, has_failed, ..to };
    }

    /// Writes a line; returns whether it could.
    pub(super) fn line(&mut self, line: &[u8], report: &Report) -> bool {
        let written = self.try_line(line);
        if let (Err(error), false) = (&written, self.has_failed) {
            // There is nowhere else to tell it.
            let name = self.file.as_ref().map_or("", |file| &file.name);
            let _ = self.errors.write_all(report.failed(name, error).as_bytes());
        }
        self.has_failed = written.is_err();
        written.is_ok()
    }

    fn try_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.out.write_all(b"\n")?;
            self.is_cut = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = &rest[len..];
                    self.is_cut = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What the log says of itself.
pub(super) struct Report {
    pub(super) format: LogFormat,
    pub(super) is_to_file: Arc<AtomicBool>,
}

impl Report {
    /// Returns the line that reports how many lines were lost.
    pub(super) fn lost(&self, lost: u64) -> String {
        match self.format {
            LogFormat::Text => {
                let line = format!(" WARN spreadd::log: {lost} log lines were lost\n");
                match self.is_to_file.load(Ordering::Relaxed) || !is_journal() {
                    true => format!("{} {line}", now()),
                    false => with_priority(Level::WARN, &line),
                }
            }
            LogFormat::Json => {
                json_line("WARN", "spreadd::log", "log lines were lost", &[("lost", lost.into())])
            }
        }
    }

    /// Returns the line for stderr when a file cannot be written.
    fn failed(&self, file: &str, error: &io::Error) -> String {
        let text = format!("cannot write to the log file {file}, lines are lost: {error}");
        match self.format {
            LogFormat::Text => with_priority(Level::ERROR, &format!("spreadd: {text}\n")),
            LogFormat::Json => json_line("ERROR", "spreadd::log", &text, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Has room for some bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let len = bytes.len().min(disk.0);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= len;
            disk.1.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_cuts_one_line_and_is_told_once_also_if_the_file_is_opened_again() {
        let (disk, stderr) = (Disk::default(), Disk::default());
        stderr.0.lock().unwrap().0 = 1000;
        let open = |number| {
            let file = LogFile { name: "log".to_owned(), identity: Some((1, number)) };
            Out { file: Some(file), ..Out::new(disk.clone(), stderr.clone()) }
        };
        let mut out = open(1);
        let report = Report { format: LogFormat::Text, is_to_file: Arc::default() };
        for (room, line) in [(6, "one\n"), (0, "two\n"), (0, "three\n"), (1000, "four\n")] {
            disk.0.lock().unwrap().0 += room;
            let is_written = out.line(line.as_bytes(), &report);
            assert_eq!(is_written, ["one\n", "four\n"].contains(&line), "{line}");
            out.change(open(1));
        }
        out.is_cut = true;
        out.change(open(2));
        assert!(out.line(b"five\n", &report));
        let written = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines, ["one", "tw", "four", "five"]);
        let told = String::from_utf8(stderr.0.lock().unwrap().1.clone()).unwrap();
        assert!(told.starts_with("spreadd: cannot write to the log file log, lines"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
