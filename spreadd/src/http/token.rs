//! The token that whoever kicks clients has to present.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::plan::Outcome;

/// Characters without which a token could be guessed.
const MIN_LEN: usize = 16;

/// Bytes that the file may have.
const MAX_FILE: u64 = 4096;

/// A secret in printable ASCII.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Reads the token in a file, which is all that the file has.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is no regular file, can be used by every user of the host, has
    /// more than [`MAX_FILE`] bytes, or has no token.
    pub(crate) fn load(path: &Path) -> Outcome<Token> {
        let name = path.display();
        let unreadable = |e| format!("cannot read {name}: {e}");
        // Opening a FIFO would wait for somebody who writes into it.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(format!("{name} is no regular file").into());
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(format!("{name} is open to every user: chmod o= {name}").into());
        }
        let mut text = String::new();
        let len = file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        if len as u64 > MAX_FILE {
            return Err(
                format!("{name} has more than {MAX_FILE} bytes: it should have a token").into()
            );
        }
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(format!("{name} is empty: it should have a token").into());
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("{name}: a token is one word of printable ASCII").into());
        }
        if token.len() < MIN_LEN {
            let reason = format!("{name}: the token has fewer than {MIN_LEN} characters");
            return Err(reason.into());
        }
        Ok(Token(token.to_owned()))
    }

    /// Returns whether a text is the token; how long that takes does not tell how much of it
    /// is right.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(text).into()
    }
}
