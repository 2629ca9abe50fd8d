//! A user and a password as the method PWORD carries them.

use bytes::BytesMut;

/// Bytes of a user's name.
pub(crate) const USER_LEN: usize = 32;

/// Bytes of a password.
pub(crate) const PASSWORD_LEN: usize = 8;

/// A user and the password that a client gave for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Vec<u8>,
}

impl Login {
    /// Takes a login off the bytes that came; `None` if they are not all there.
    pub(crate) fn decode(input: &mut BytesMut) -> Option<Login> {
        if input.len() < USER_LEN + PASSWORD_LEN {
            return None;
        }
        let (user, password) = (input.split_to(USER_LEN), input.split_to(PASSWORD_LEN));
        let user = String::from_utf8_lossy(text(&user)).into_owned();
        Some(Login { user, password: text(&password).to_vec() })
    }
}

/// Returns the bytes of a field before its first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}
