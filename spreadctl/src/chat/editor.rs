//! Lines that are edited, with their history and completion.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History};
use rustyline::validate::Validator;
use rustyline::{Config, Context, ExternalPrinter, Helper};

use super::lock;
use super::state::Chat;
use crate::failure::{Code, Failure, Result};

/// Lines that are kept.
const MAX_HISTORY: usize = 1000;

pub(super) struct Editor {
    editor: rustyline::Editor<Completion, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    pub(super) fn new(chat: Arc<Mutex<Chat>>, with_history: bool) -> Result<Editor> {
        let failed = |error: ReadlineError| {
            Failure::new(Code::Failed, format!("cannot use the terminal: {error}"))
        };
        let config = Config::builder().max_history_size(MAX_HISTORY).map_err(failed)?;
        let config = config.auto_add_history(true).build();
        let mut editor = rustyline::Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Completion(chat)));
        let history = with_history.then(history_file).flatten();
        if let Some(file) = &history {
            // There is none at first.
            let _ = editor.load_history(file);
        }
        Ok(Editor { editor, history })
    }

    /// Returns what prints above a line that is being edited; `None` without a terminal.
    pub(super) fn printer(&mut self) -> Option<Box<dyn ExternalPrinter + Send>> {
        let printer = self.editor.create_external_printer().ok()?;
        Some(Box::new(printer))
    }

    pub(super) fn line(&mut self, prompt: &str) -> rustyline::Result<String> {
        self.editor.readline(prompt)
    }

    /// Keeps the history. A history that cannot be kept is no reason to fail.
    pub(super) fn save(&mut self) {
        let Some(file) = &self.history else {
            return;
        };
        if self.editor.history().is_empty() {
            return;
        }
        if let Some(folder) = file.parent() {
            let _ = fs::create_dir_all(folder);
        }
        let _ = self.editor.save_history(file);
    }
}

/// Returns the file of the history, where the XDG base directories have it.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
    Some(state.join("spreadctl/chat_history"))
}

/// Completes commands, groups and members.
struct Completion(Arc<Mutex<Chat>>);

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = lock(&self.0).candidates(&line[..pos]);
        let pair = |text: String| Pair { display: text.clone(), replacement: text };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}
