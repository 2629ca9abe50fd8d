//! The token that whoever kicks clients has to present.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::plan::Outcome;

/// Characters without which a token could be guessed.
const MIN_LEN: usize = 16;

/// Bytes of the file that are read.
const MAX_FILE: u64 = 4096;

/// A secret in printable ASCII.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Reads the token in a file, which is all that the file has.
    ///
    /// # Errors
    ///
    /// The file cannot be read, can be used by every user of the host, or has no token.
    pub(crate) fn load(path: &Path) -> Outcome<Token> {
        let name = path.display();
        let unreadable = |e| format!("cannot read {name}: {e}");
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(format!("{name} is open to every user: chmod o= {name}").into());
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(unreadable)?;
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
