//! `chat`: a conversation in groups, with line editing, history and completion.

mod editor;
mod state;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::ExternalPrinter;
use rustyline::error::ReadlineError;
use spread::{SessionOptions, SessionReceiver, SessionSender};

use crate::failure::{Code, End, Failure, Result};
use crate::options::{Chat as Options, Connection};
use crate::output::{Output, Theme, say, styled};
use crate::stop::Stop;
use state::{Action, Chat};

/// The number that a terminal's interrupt has.
const SIGINT: i32 = 2;

pub(crate) fn run(options: &Options, connection: &Connection, theme: Theme, stop: &Stop) -> Result {
    let session = connection.builder()?.session(SessionOptions::new())?;
    let me = session.private_group().map_or(String::new(), |me| me.to_string());
    let (sender, receiver) = session.split();
    let chat = Arc::new(Mutex::new(Chat::new(me.clone(), &options.groups)));
    let mut editor = editor::Editor::new(Arc::clone(&chat), !options.no_history)?;
    let screen = Screen::new(editor.printer());
    let terminal = Terminal::now();
    // A signal ends the process, because nothing interrupts a line that is being edited.
    stop.on_exit({
        let (sender, terminal) = (sender.clone(), terminal.clone());
        move || {
            sender.shut_down();
            terminal.restore();
        }
    });
    let faint = |text: &str| styled(theme.faint, text);
    screen.show(&faint(&format!("you are {me}; /help lists the commands, ctrl-d ends it")))?;
    for group in &options.groups {
        sender.join(group)?;
    }
    let listener = listen(receiver, Arc::clone(&chat), screen.clone(), theme, terminal);
    let talked = talk(&mut editor, &chat, &sender, &screen);
    editor.save();
    let said_goodbye = listener.stop();
    talked?;
    said_goodbye
}

fn lock(chat: &Mutex<Chat>) -> MutexGuard<'_, Chat> {
    chat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what lines say until the user ends it.
fn talk(
    editor: &mut editor::Editor,
    chat: &Mutex<Chat>,
    sender: &SessionSender,
    screen: &Screen,
) -> Result {
    loop {
        let prompt = lock(chat).prompt();
        let line = match editor.line(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted) => return Err(End::Signal(SIGINT)),
            Err(error) => {
                let text = format!("cannot read a line: {error}");
                return Err(Failure::new(Code::Failed, text).into());
            }
        };
        let (action, service) = {
            let mut chat = lock(chat);
            (chat.line(&line), chat.service)
        };
        let done = match action {
            Action::Quit => return Ok(()),
            Action::Show(text) if text.is_empty() => Ok(()),
            Action::Show(text) => {
                screen.show(&text)?;
                Ok(())
            }
            Action::Join(group) => sender.join(group),
            Action::Leave(group) => sender.leave(group),
            Action::Send { groups, text, times } => {
                (0..times).try_for_each(|_| sender.multicast(service, &groups[..], &text))
            }
        };
        if let Err(error) = done {
            screen.show(&format!("not done: {}", crate::failure::chain(&error)))?;
        }
    }
}

/// The thread that receives.
struct Listener {
    interrupter: spread::Interrupter,
    thread: thread::JoinHandle<Result<SessionReceiver>>,
}

fn listen(
    mut receiver: SessionReceiver,
    chat: Arc<Mutex<Chat>>,
    screen: Screen,
    theme: Theme,
    terminal: Terminal,
) -> Listener {
    let interrupter = receiver.interrupter().expect("no process has been forked");
    let thread = thread::spawn(move || {
        loop {
            match receiver.receive() {
                Ok(event) => {
                    let record = lock(&chat).take(&event);
                    if let Some(record) = record {
                        screen.show(&record.line(&theme))?;
                    }
                }
                Err(spread::Error::Interrupted) => return Ok(receiver),
                // This program has ended it.
                Err(spread::Error::ShutDown) => return Ok(receiver),
                Err(error) => {
                    let end = End::from(error);
                    terminal.restore();
                    if let End::Failure(failure) = &end {
                        say(failure);
                    }
                    // The other thread waits for a line, which nothing interrupts.
                    std::process::exit(end.code().into());
                }
            }
        }
    });
    Listener { interrupter, thread }
}

impl Listener {
    /// Ends the session, when the daemon has taken what was sent.
    fn stop(self) -> Result {
        self.interrupter.interrupt();
        let receiver =
            self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        match receiver.disconnect() {
            // There was none, or it is over.
            Ok(()) | Err(spread::Error::ConnectionClosed { .. } | spread::Error::ShutDown) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Where lines are shown: above the line that is being edited, or on the standard output.
#[derive(Clone)]
struct Screen {
    printer: Arc<Mutex<Option<Box<dyn ExternalPrinter + Send>>>>,
}

impl Screen {
    fn new(printer: Option<Box<dyn ExternalPrinter + Send>>) -> Screen {
        Screen { printer: Arc::new(Mutex::new(printer)) }
    }

    fn show(&self, text: &str) -> Result {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *printer {
            Some(printer) => printer.print(format!("{text}\n")).map_err(|error| {
                Failure::new(Code::Failed, format!("cannot write to the terminal: {error}")).into()
            }),
            None => {
                let mut output = Output::new();
                output.line(text)?;
                output.flush()
            }
        }
    }
}

/// How the terminal was before a line was edited.
#[derive(Clone)]
struct Terminal(Option<Termios>);

impl Terminal {
    fn now() -> Terminal {
        let stdin = io::stdin();
        Terminal(stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten())
    }

    fn restore(&self) {
        if let Some(termios) = &self.0 {
            // The terminal may be gone. What follows begins below the line that was edited.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, termios);
            let _ = writeln!(io::stderr());
        }
    }
}
