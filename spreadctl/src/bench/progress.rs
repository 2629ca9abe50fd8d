//! How far a measurement is: a bar on a terminal, and a line for each run.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar shows that time goes by.
const TICK: Duration = Duration::from_millis(200);

pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Returns a bar of so many runs on the error output; nothing is drawn if that is no terminal.
    pub(super) fn new(runs: usize) -> Progress {
        let bar = ProgressBar::new(runs as u64);
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    pub(super) fn begin(&self, run: String) {
        self.0.set_message(run);
    }

    /// Tells of a run that is over.
    pub(super) fn done(&self, line: String) {
        // Nobody may read it.
        self.0.suspend(|| drop(writeln!(io::stderr(), "{line}")));
        self.0.inc(1);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
