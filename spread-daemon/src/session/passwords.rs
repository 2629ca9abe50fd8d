//! Users and their passwords, of which only hashes are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use crypt3_rs::crypt::unix;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use tempfile::NamedTempFile;

use super::login::{PASSWORD_LEN, USER_LEN};

/// An error of a password or of the password file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read, locked or written.
    #[error("cannot {what} the password file {}", path.display())]
    Io {
        /// The action: "read", "lock" or "write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line of the file is not `USER:HASH`.
    #[error(
        "{}:{line}: a line is USER:HASH; the hash is argon2 (`spreadd passwd` makes it) or the 13 \
         characters of DES crypt(3) (Spread's `spread.access_pword` has it)",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
    },
    /// The name of a user has 1 to 32 bytes, none of them a colon, a `#` in front
    /// or a control character.
    #[error(
        "{name:?} cannot be the name of a user: that has 1 to 32 bytes, no colon, no control \
         character, and no # in front"
    )]
    User {
        /// The name.
        name: String,
    },
    /// A password has 1 to 8 bytes, for more the protocol has no room, and no
    /// zero byte.
    #[error("a password has 1 to 8 bytes: the protocol has no room for more")]
    Password,
    /// The hash could not be made.
    #[error("cannot hash a password: {reason}")]
    Hash {
        /// The message of the hash function.
        reason: String,
    },
}

/// The users that may connect with the method `PWORD`, with the hashes of their
/// passwords. It shows neither passwords nor hashes.
///
/// A hash is one of argon2id, which takes some tens of milliseconds to check, in a thread
/// beside the daemon's; or one of crypt(3) with DES, as in the `spread.access_pword` of
/// Spread, which the daemon checks in microseconds. Then the answer is there as soon as that
/// of Spread's daemon, for clients that read it without waiting; but who gets hold of
/// the file finds the passwords in hours, and in a file with both kinds the time of an answer
/// tells who has which.
///
/// ```
/// # use spread_daemon::Passwords;
/// let mut passwords = Passwords::default();
/// passwords.set("ann", "secret")?;
/// assert!(passwords.verify("ann", b"secret"));
/// assert!(!passwords.verify("ann", b"guess"));
/// # Ok::<(), spread_daemon::PasswordError>(())
/// ```
#[derive(Clone, Default)]
pub struct Passwords {
    hashes: Arc<BTreeMap<String, String>>,
}

impl Passwords {
    /// Reads a file with a line `USER:HASH` for each user, as
    /// `spreadd passwd` writes it and Spread's `spread.access_pword` has it; `#` begins a line
    /// that is a comment.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Io`], [`PasswordError::Line`].
    pub fn load(path: impl AsRef<Path>) -> Result<Passwords, PasswordError> {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).map_err(|error| PasswordError::io("read", path, error))?;
        Passwords::parse(&text, path)
    }

    /// Reads the text of a file.
    fn parse(text: &str, path: &Path) -> Result<Passwords, PasswordError> {
        let mut hashes = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let is_hash = |hash| is_crypt(hash) || PasswordHash::new(hash).is_ok();
            let entry = line
                .split_once(':')
                .map(|(user, hash)| (user.trim(), hash.trim()))
                .filter(|(user, hash)| check_user(user).is_ok() && is_hash(hash));
            let (user, hash) =
                entry.ok_or_else(|| PasswordError::Line { path: path.into(), line: number + 1 })?;
            hashes.insert(user.to_owned(), hash.to_owned());
        }
        Ok(Passwords { hashes: Arc::new(hashes) })
    }

    /// Writes the file that [`Passwords::load`] reads. A file that is there is replaced at once or
    /// not at all, and keeps its owner, group and mode; a new one is for its owner's eyes only.
    /// Where a symbolic link leads to the file, the link stays; it has to belong to root or to the
    /// effective user of the process.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Io`], also if the owner or group cannot be kept, or a symbolic link belongs
    /// to another user.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PasswordError> {
        let path = path.as_ref();
        let write = || {
            let target = linked(path)?;
            let former = match fs::symlink_metadata(&target) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Ok(found) if found.is_symlink() => return Err(Errno::LOOP.into()),
                former => Some(former?),
            };
            let file = self.written(&target, former.as_ref())?;
            file.persist(&target)?;
            Ok(())
        };
        write().map_err(|error| PasswordError::io("write", path, error))
    }

    /// Changes the passwords in a file: loads them, or begins with none if there is no file, and
    /// saves what `change` makes of them as [`Passwords::save`] does. Of several calls for one
    /// file, also in several processes, each goes on from what the one before has saved. `change`
    /// is called again if another program has made the file meanwhile.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Io`], [`PasswordError::Line`], and the errors of `change`, after which the
    /// file is as before.
    pub fn edit<T, E: From<PasswordError>>(
        path: impl AsRef<Path>,
        mut change: impl FnMut(&mut Passwords) -> Result<T, E>,
    ) -> Result<T, E> {
        let path = path.as_ref();
        let of = |what| move |error| PasswordError::io(what, path, error);
        let target = linked(path).map_err(of("lock"))?;
        loop {
            // The target is not looked up again: the path may lead elsewhere meanwhile.
            let mut locked = lock(&target).map_err(of("lock"))?;
            let mut passwords = match &mut locked {
                Some(file) => {
                    Passwords::parse(&io::read_to_string(file).map_err(of("read"))?, path)?
                }
                None => Passwords::default(),
            };
            let result = change(&mut passwords)?;
            let write = || {
                let former = locked.as_ref().map(File::metadata).transpose()?;
                let file = passwords.written(&target, former.as_ref())?;
                if former.is_some() {
                    file.persist(&target)?;
                    return Ok(true);
                }
                match file.persist_noclobber(&target) {
                    Ok(_) => Ok(true),
                    Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(error.error),
                }
            };
            if write().map_err(of("write"))? {
                return Ok(result);
            }
        }
    }

    /// Writes a file beside the one that it is to replace, with the owner, group and mode of that.
    fn written(&self, target: &Path, former: Option<&fs::Metadata>) -> io::Result<NamedTempFile> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Only its owner may read a file of this kind.
        let mut file =
            NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(without_path)?;
        for (user, hash) in &*self.hashes {
            writeln!(file, "{user}:{hash}").map_err(without_path)?;
        }
        let out = file.as_file();
        if let Some(former) = former {
            let new = out.metadata()?;
            let owner = (new.uid() != former.uid()).then_some(former.uid());
            let group = (new.gid() != former.gid()).then_some(former.gid());
            if owner.is_some() || group.is_some() {
                fchown(out, owner, group).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("its owner and group cannot be kept: {error}"),
                    )
                })?;
            }
            // Last, for a change of the owner takes rights away, and whom the rights are for counts.
            // Read, write and execute alone: the others are not for data.
            out.set_permissions(fs::Permissions::from_mode(former.mode() & 0o777))?;
        }
        out.sync_all()?;
        Ok(file)
    }

    /// Gives a user a password, in place of the one there was.
    ///
    /// # Errors
    ///
    /// [`PasswordError::User`], [`PasswordError::Password`],
    /// [`PasswordError::Hash`].
    pub fn set(&mut self, user: &str, password: &str) -> Result<(), PasswordError> {
        check_user(user)?;
        if !(1..=PASSWORD_LEN).contains(&password.len()) || password.contains('\0') {
            return Err(PasswordError::Password);
        }
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(|e| PasswordError::Hash { reason: e.to_string() })?;
        Arc::make_mut(&mut self.hashes).insert(user.to_owned(), hash.to_string());
        Ok(())
    }

    /// Takes over the users of another file, in place of those of the same names. Returns the
    /// names of the users whose hash was another one, in alphabetical order.
    pub fn import(&mut self, others: &Passwords) -> Vec<String> {
        let mut replaced = Vec::new();
        let hashes = Arc::make_mut(&mut self.hashes);
        for (user, hash) in &*others.hashes {
            let former = hashes.insert(user.clone(), hash.clone());
            if former.is_some_and(|former| former != *hash) {
                replaced.push(user.clone());
            }
        }
        replaced
    }

    /// Returns what [`Passwords::verify`] does, if that takes microseconds.
    pub(crate) fn verify_quickly(&self, user: &str, password: &[u8]) -> Option<bool> {
        // Of a user that there is not, in a file whose users are all checked quickly.
        const NOBODY: &str = "NOxxxxxxxxxxx";
        let known = self.hashes.get(user);
        let is_quick = match known {
            Some(hash) => is_crypt(hash),
            None => self.hashes.values().all(|hash| is_crypt(hash)),
        };
        is_quick.then(|| {
            let matches = unix::verify(password, known.map_or(NOBODY, String::as_str));
            matches && known.is_some()
        })
    }

    /// Returns whether this is the password of the user. It takes long on purpose, some
    /// tens of milliseconds, also for a user that there is not; but see [`Passwords`].
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        // Of the password "unknown"; no user is accepted by it.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3ByZWFkLWRhZW1vbg$\
            q4uX3rYB0m2CEHvzOYZ3u3pg4sV6sFf2xV6nP0m0j4s";
        if let Some(is_right) = self.verify_quickly(user, password) {
            return is_right;
        }
        let known = self.hashes.get(user);
        let hash = known.map_or(NOBODY, String::as_str);
        let matches = PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
        matches && known.is_some()
    }

    /// Returns how many users there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Returns whether nobody may connect.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl PasswordError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> PasswordError {
        PasswordError::Io { what, path: path.into(), source }
    }
}

/// Returns the file that a path leads to, or would if it were there.
///
/// # Errors
///
/// A symbolic link belongs neither to root nor to the effective user, who would else be led to
/// another file by somebody who can write to the folder.
fn linked(path: &Path) -> io::Result<PathBuf> {
    // As many links as Linux follows; more lead nowhere, which opening the file tells.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        // Opening or writing the file tells other errors.
        let Ok(link) = fs::symlink_metadata(&path) else { break };
        if !link.is_symlink() {
            break;
        }
        if link.uid() != 0 && link.uid() != geteuid().as_raw() {
            let (link, uid) = (path.display(), link.uid());
            let reason = format!("the symbolic link {link} belongs to another user ({uid})");
            return Err(io::Error::new(ErrorKind::PermissionDenied, reason));
        }
        let target = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Ok(path)
}

/// Opens a file that is no symbolic link.
fn open(path: &Path, to_write: bool) -> io::Result<File> {
    let no_link = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).write(to_write).custom_flags(no_link).open(path)
}

/// Locks a file until the result is dropped; `None` if there is none. The file is the one that is
/// there under its name, and not one that another program has replaced meanwhile.
fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let mut file = match open(path, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match flock(&file, FlockOperation::LockExclusive) {
            // NFS locks what is open to write.
            Err(Errno::BADF | Errno::NOLCK) => {
                file = open(path, true)?;
                flock(&file, FlockOperation::LockExclusive)?;
            }
            locked => locked?,
        }
        let locked = file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) if (found.dev(), found.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(Some(file));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// Returns an error without the name of a temporary file, which `tempfile` has put behind the text
/// of the system: it tells the user nothing.
fn without_path(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((text, _)) => io::Error::new(error.kind(), text),
        None => error,
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

/// Returns whether a hash is one of crypt(3) with DES: two characters of salt, and eleven.
fn is_crypt(hash: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
    hash.len() == 13 && hash.bytes().all(is_digit)
}

fn check_user(name: &str) -> Result<(), PasswordError> {
    let fits = (1..=USER_LEN).contains(&name.len());
    if fits && !name.starts_with('#') && !name.contains(|c: char| c == ':' || c.is_control()) {
        return Ok(());
    }
    Err(PasswordError::User { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_there_is_not_takes_as_long_as_one_that_there_is() {
        let hash = "$argon2id$v=19$m=19456,t=2,p=1$c3ByZWFkLWRhZW1vbg$\
            q4uX3rYB0m2CEHvzOYZ3u3pg4sV6sFf2xV6nP0m0j4s";
        let hash = PasswordHash::new(hash).unwrap();
        assert_eq!(hash.params.get_decimal("m"), Some(Argon2::default().params().m_cost()));
        assert!(hash.hash.is_some(), "there is something to compare with");
    }

    /// Returns the passwords of a file with these lines.
    fn load(lines: &str) -> Result<Passwords, PasswordError> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        Passwords::load(file.path())
    }

    #[test]
    fn the_users_of_spread_are_read_and_checked_at_once() {
        // By crypt(3) of the GNU C library.
        let file = load("# users\nann:aZGJuE6EXrjEE\nbob: abcva5N.A6D7I \n").unwrap();
        for (user, password, expected) in [
            ("ann", &b"test"[..], true),
            ("ann", b"tesT", false),
            ("ann", b"", false),
            ("bob", b"8 bytes!", true),
            ("eve", b"test", false),
        ] {
            assert_eq!(file.verify_quickly(user, password), Some(expected), "{user}");
            assert_eq!(file.verify(user, password), expected, "{user}");
        }
        let wrong = load("ann:aZGJuE6EXrjEE\nbob:too-short\n").unwrap_err();
        assert!(matches!(wrong, PasswordError::Line { line: 2, .. }), "{wrong}");
    }

    #[test]
    fn imported_users_stand_beside_the_others() {
        let mut passwords = Passwords::default();
        passwords.set("cid", "secret").unwrap();
        let imported = load("ann:aZGJuE6EXrjEE\n").unwrap();
        assert!(passwords.import(&imported).is_empty() && passwords.import(&imported).is_empty());
        assert_eq!(passwords.len(), 2);
        assert_eq!(passwords.verify_quickly("ann", b"test"), Some(true));
        assert_eq!(passwords.verify_quickly("cid", b"secret"), None);
        assert_eq!(passwords.verify_quickly("eve", b"secret"), None, "as long as most");
        assert!(passwords.verify("cid", b"secret") && !passwords.verify("eve", b"test"));
    }

    #[test]
    fn an_import_names_the_users_whose_hash_it_replaces() {
        let mut passwords = load("ann:aZGJuE6EXrjEE\nbob:abcva5N.A6D7I\n").unwrap();
        let others = load("bob:aZGJuE6EXrjEE\nann:aZGJuE6EXrjEE\neve:aZGJuE6EXrjEE\n").unwrap();
        assert_eq!(passwords.import(&others), ["bob"]);
        assert_eq!(passwords.verify_quickly("bob", b"test"), Some(true));
    }

    #[test]
    fn what_is_kept_shows_nothing_of_a_password() {
        let mut passwords = Passwords::default();
        passwords.set("ann", "secret").unwrap();
        let shown = format!("{passwords:?}");
        assert!(!shown.contains("secret") && !shown.contains("argon2"), "{shown}");
        assert!(!passwords.hashes["ann"].contains("secret"));
    }

    #[test]
    fn names_and_passwords_are_those_that_the_protocol_can_carry() {
        let mut passwords = Passwords::default();
        for user in ["", "a:b", "#a", "a\nb", &"x".repeat(33)] {
            assert!(
                matches!(passwords.set(user, "x"), Err(PasswordError::User { .. })),
                "{user:?}"
            );
        }
        for password in ["", "ninebytes", "zero\0"] {
            assert!(matches!(passwords.set("a", password), Err(PasswordError::Password)));
        }
        assert!(passwords.is_empty());
    }
}
