//! `top`: a live screen of the daemon on this host.

mod layout;
mod rows;
mod screen;
mod state;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input, KeyEvent, KeyEventKind};

use crate::admin::{self, Status};
use crate::failure::{Code, End, Failure, Result};
use crate::options::{Connection, Top as Options};
use crate::output::Theme;
use crate::stop::Stop;
use state::{Request, Top};

/// The shortest time between two questions.
const SHORTEST: Duration = Duration::from_millis(50);

pub(crate) fn run(options: &Options, connection: &Connection, theme: Theme, stop: &Stop) -> Result {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Code::Usage, "top needs a terminal")
            .advise("spreadctl status prints the same once, with --json for programs")
            .into());
    }
    let socket = connection.status_socket()?;
    let mut top = Top::default();
    top.update(Ok(admin::status(&socket)?), Duration::ZERO);

    let (events, next) = mpsc::channel();
    let wake = events.clone();
    stop.on_wake(move || drop(wake.send(Event::Wake)));
    stop.on_exit(ratatui::restore);
    let refresh = poll(socket.clone(), options.interval.max(SHORTEST), events.clone());
    let mut terminal = ratatui::try_init()
        .map_err(|error| End::from(Failure::io("cannot use the terminal", &error)))?;
    read_keys(events);
    let colors = theme != Theme::PLAIN;
    let ended = watch(&mut terminal, &mut top, colors, &next, |request| match request {
        Request::Refresh => {
            // It is about to ask anyway if it has been told already.
            let _ = refresh.try_send(());
            None
        }
        Request::Kick(client) => {
            let told = match admin::kick(&socket, &client) {
                Ok(kicked) => format!("kicked {kicked}"),
                Err(End::Failure(failure)) => failure.text,
                Err(other) => format!("{other:?}"),
            };
            let _ = refresh.try_send(());
            Some(told)
        }
        Request::Quit => None,
    });
    ratatui::restore();
    stop.check()?;
    ended
}

enum Event {
    Key(KeyEvent),
    /// The screen has another size.
    Resize,
    Status(std::result::Result<Box<Status>, String>, Duration),
    /// A signal has come.
    Wake,
    /// The terminal is gone.
    Gone(io::Error),
}

/// Shows the state, and changes it, until the user or a signal ends it.
fn watch(
    terminal: &mut DefaultTerminal,
    top: &mut Top,
    colors: bool,
    next: &Receiver<Event>,
    act: impl Fn(Request) -> Option<String>,
) -> Result {
    loop {
        terminal
            .draw(|frame| screen::draw(frame, top, colors))
            .map_err(|error| Failure::io("cannot draw", &error))?;
        // Threads that send end with the process.
        let Ok(event) = next.recv() else {
            return Ok(());
        };
        match event {
            Event::Key(key) => match top.key(key) {
                Some(Request::Quit) => return Ok(()),
                Some(request) => {
                    if let Some(told) = act(request) {
                        top.notice = Some(told);
                    }
                }
                None => {}
            },
            Event::Resize => {}
            Event::Status(status, after) => top.update(status.map(|status| *status), after),
            Event::Wake => return Ok(()),
            Event::Gone(error) => {
                return Err(Failure::io("cannot read the terminal", &error).into());
            }
        }
    }
}

/// Asks the daemon again and again, in a thread of its own; returns what makes it ask at once.
fn poll(socket: PathBuf, interval: Duration, events: Sender<Event>) -> SyncSender<()> {
    let (refresh, asked) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut last = Instant::now();
        while let Ok(()) | Err(RecvTimeoutError::Timeout) = asked.recv_timeout(interval) {
            let status = admin::status(&socket).map(Box::new).map_err(|end| match end {
                End::Failure(failure) => failure.text,
                other => format!("{other:?}"),
            });
            let now = Instant::now();
            if events.send(Event::Status(status, now - last)).is_err() {
                return;
            }
            last = now;
        }
    });
    refresh
}

/// Reads keys in a thread of its own, which ends with the process.
fn read_keys(events: Sender<Event>) {
    thread::spawn(move || {
        loop {
            let event = match event::read() {
                Ok(Input::Key(key)) if key.kind == KeyEventKind::Press => Event::Key(key),
                Ok(Input::Resize(..)) => Event::Resize,
                Ok(_) => continue,
                Err(error) => Event::Gone(error),
            };
            let is_last = matches!(event, Event::Gone(_));
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    });
}
