//! Lines for systemd's journal, which has their times itself, and takes their priorities from what
//! stands in front of them: see sd-daemon(3).

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Returns whether stderr goes to systemd's journal: JOURNAL_STREAM has its device and inode then.
pub(super) fn is_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    let stderr = || File::from(io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok();
    stream.is_some_and(|stream| {
        stderr().is_some_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
    })
}

/// Returns a line for people with what systemd's journal takes for its priority in front, if it
/// goes there.
pub(crate) fn with_priority(level: Level, line: &str) -> String {
    if is_journal() { format!("<{}>{line}", priority(level)) } else { line.to_owned() }
}

/// Returns the priority of syslog for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The format of text: to the journal with a priority and without a time.
pub(super) struct TextLines {
    is_to_journal: bool,
    is_to_file: Arc<AtomicBool>,
    timed: Format<Full>,
    untimed: Format<Full, ()>,
}

impl TextLines {
    pub(super) fn new(is_to_file: Arc<AtomicBool>) -> TextLines {
        TextLines {
            is_to_journal: is_journal(),
            is_to_file,
            timed: Format::default(),
            untimed: Format::default().without_time(),
        }
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.is_to_journal || self.is_to_file.load(Ordering::Relaxed) {
            return self.timed.format_event(context, writer, event);
        }
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.untimed.format_event(context, writer, event)
    }
}
