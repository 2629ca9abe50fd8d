//! What is to be sent: a text, the standard input or a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use spread::MAX_BODY_AND_GROUPS;

use crate::failure::{Code, End, Failure, Result};
use crate::output::say;

/// The source of messages, as an argument says it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    Text(Vec<u8>),
    Stdin,
    File(PathBuf),
}

impl Source {
    /// Reads `-`, `@FILE`, `@@TEXT` for a text that begins with `@`, or `TEXT`.
    pub(crate) fn parse(argument: &str) -> Source {
        match argument.strip_prefix('@') {
            _ if argument == "-" => Source::Stdin,
            Some(text) if text.starts_with('@') => Source::Text(text.into()),
            Some(file) => Source::File(file.into()),
            None => Source::Text(argument.into()),
        }
    }

    /// Tells on the error output that the standard input is read, if that is a terminal: who
    /// waits there sees nothing else.
    pub(crate) fn announce(&self, what: &str) {
        if *self == Source::Stdin && io::stdin().is_terminal() {
            say(format_args!("reading {what} from the terminal; ctrl-d ends it"));
        }
    }

    /// Reads all of it as one message.
    pub(crate) fn whole(&self) -> Result<Vec<u8>> {
        let (name, reader) = match self {
            Source::Text(text) => return Ok(text.clone()),
            _ => self.open()?,
        };
        let mut bytes = Vec::new();
        let limit = MAX_BODY_AND_GROUPS as u64 + 1;
        let read = reader.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Failure::io(format_args!("cannot read {name}"), &error))?;
        check_len(&name, bytes)
    }

    /// Returns its lines, each of them a message.
    pub(crate) fn lines(&self) -> Result<Box<dyn Iterator<Item = Result<Vec<u8>>> + Send>> {
        let (name, reader) = match self {
            Source::Text(text) => {
                return Ok(Box::new(std::iter::once(Ok(text.clone()))));
            }
            _ => self.open()?,
        };
        let mut lines = Lines { name, reader: BufReader::new(reader), is_over: false };
        Ok(Box::new(std::iter::from_fn(move || lines.next())))
    }

    fn open(&self) -> Result<(String, Box<dyn Read + Send>)> {
        match self {
            Source::Text(_) | Source::Stdin => {
                Ok(("the standard input".to_owned(), Box::new(io::stdin())))
            }
            Source::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path)
                    .map_err(|error| Failure::io(format_args!("cannot read {name}"), &error))?;
                Ok((name, Box::new(file)))
            }
        }
    }
}

struct Lines<R> {
    name: String,
    reader: BufReader<R>,
    is_over: bool,
}

impl<R: Read> Lines<R> {
    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.is_over {
            return None;
        }
        let mut line = Vec::new();
        let limit = MAX_BODY_AND_GROUPS as u64 + 2;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut line);
        let result = match read {
            Ok(0) => return None,
            Ok(_) => {
                if line.ends_with(b"\n") {
                    line.pop();
                }
                check_len(&format!("a line of {}", self.name), line)
            }
            Err(error) => {
                let what = format_args!("cannot read {}", self.name).to_string();
                Err(Failure::io(what, &error).into())
            }
        };
        self.is_over = result.is_err();
        Some(result)
    }
}

fn check_len(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.len() <= MAX_BODY_AND_GROUPS {
        return Ok(bytes);
    }
    let text = format!("{name} is too long for a message");
    let advice = format!("{MAX_BODY_AND_GROUPS} bytes at most, with 32 for each group");
    Err(End::from(Failure::new(Code::Usage, text).advise(advice)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_a_text_a_file_or_the_input() {
        assert_eq!(Source::parse("hello"), Source::Text(b"hello".into()));
        assert_eq!(Source::parse(""), Source::Text(Vec::new()));
        assert_eq!(Source::parse("-"), Source::Stdin);
        assert_eq!(Source::parse("@a/b"), Source::File("a/b".into()));
        assert_eq!(Source::parse("@@a"), Source::Text(b"@a".into()));
    }

    fn lines(text: &[u8]) -> Vec<Result<Vec<u8>>> {
        let reader = BufReader::new(text);
        let mut lines = Lines { name: "here".to_owned(), reader, is_over: false };
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn lines_end_with_a_newline_or_with_the_input() {
        let texts = |text: &[u8]| lines(text).into_iter().map(|l| l.unwrap()).collect::<Vec<_>>();
        assert_eq!(texts(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(texts(b"a\r\n"), [b"a\r"]);
        assert!(texts(b"").is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_ends_it() {
        let mut text = vec![b'x'; MAX_BODY_AND_GROUPS + 1];
        text.extend_from_slice(b"\nshort\n");
        let lines = lines(&text);
        assert!(matches!(&lines[..], [Err(End::Failure(f))] if f.code == Code::Usage));
    }
}
