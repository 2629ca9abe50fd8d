//! The standard output: buffered, in colours where they are wanted, and with the errors that
//! an output has.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::failure::{End, Failure, Result};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// Returns the colours of the standard output.
    pub(crate) fn theme(self) -> Theme {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = match self {
            Color::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            Color::Always => true,
            Color::Never => false,
        };
        if wanted { Theme::COLORS } else { Theme::PLAIN }
    }
}

/// The styles of what is printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Theme {
    pub(crate) group: Style,
    pub(crate) name: Style,
    pub(crate) faint: Style,
    pub(crate) notice: Style,
    pub(crate) good: Style,
    pub(crate) bad: Style,
}

impl Theme {
    pub(crate) const PLAIN: Theme = Theme {
        group: Style::new(),
        name: Style::new(),
        faint: Style::new(),
        notice: Style::new(),
        good: Style::new(),
        bad: Style::new(),
    };

    const COLORS: Theme = Theme {
        group: AnsiColor::Cyan.on_default(),
        name: AnsiColor::Blue.on_default().bold(),
        faint: Style::new().dimmed(),
        notice: AnsiColor::Yellow.on_default(),
        good: AnsiColor::Green.on_default().bold(),
        bad: AnsiColor::Red.on_default().bold(),
    };
}

/// Returns a text in a style.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The standard output.
pub(crate) struct Output {
    writer: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new() -> Output {
        Output { writer: BufWriter::new(io::stdout()) }
    }

    pub(crate) fn line(&mut self, line: impl Display) -> Result {
        writeln!(self.writer, "{line}").map_err(failed)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result {
        self.writer.write_all(bytes).map_err(failed)
    }

    pub(crate) fn flush(&mut self) -> Result {
        self.writer.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::BrokenPipe => End::OutputClosed,
        _ => Failure::io("cannot write the output", &error).into(),
    }
}

/// Writes a line to the error output; ignores errors.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "spreadctl: {line}");
}
