//! Names of groups, of clients and of their private groups.

#[cfg(feature = "serde")]
mod text;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::limits::{MAX_DAEMON_NAME, MAX_GROUP_NAME, MAX_PRIVATE_NAME, NAME_FIELD};

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A name has at least one byte.
    #[error("a name must not be empty")]
    Empty,
    /// More bytes than such a name may have.
    #[error("a name of {len} bytes is too long: the limit is {max}")]
    TooLong {
        /// Bytes of the text.
        len: usize,
        /// Bytes that are allowed.
        max: usize,
    },
    /// A byte that is not printable ASCII, or is a space, `!`, `"` or `#`.
    #[error(
        "byte {byte:#04x} at position {at} is not allowed: a name is printable ASCII except \
         space, `!`, `\"` and `#`"
    )]
    IllegalByte {
        /// The byte.
        byte: u8,
        /// Its place, from 0.
        at: usize,
    },
    /// A private group is written `#private_name#daemon`.
    #[error("not of the form #private_name#daemon")]
    NotPrivate,
}

fn check_bytes(bytes: &[u8], max: usize) -> Result<(), NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > max {
        return Err(NameError::TooLong { len: bytes.len(), max });
    }
    match bytes.iter().position(|b| !(0x24..=0x7e).contains(b)) {
        Some(at) => Err(NameError::IllegalByte { byte: bytes[at], at }),
        None => Ok(()),
    }
}

/// A name as it stands in a message: of a group, or of a client's private
/// group.
///
/// A received name may be anything that the peer put into its 32-byte field;
/// the name is what stands before the first zero byte, at most 31 bytes.
/// Names compare, order and hash by those bytes, so a map that has names as keys is asked by
/// bytes, as in `map.get("#alice#host1".as_bytes())`; by a text it cannot be, because a name
/// need not be UTF-8. What follows the zero is kept, so that a field goes out as it came in.
///
/// ```
/// # use spread_wire::Name;
/// let sender = Name::new("#alice#host1")?;
/// assert_eq!(sender, "#alice#host1");
/// assert_eq!(sender.private_name(), Some("alice"));
/// assert_eq!(sender.daemon(), Some("host1"));
/// # Ok::<(), spread_wire::NameError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Name([u8; NAME_FIELD]);

impl Name {
    /// A field of zeros: the name of nothing.
    pub const EMPTY: Name = Name([0; NAME_FIELD]);

    /// Takes any text of 1 to 31 bytes without a zero byte.
    ///
    /// For a name to send, parse a [`GroupName`], [`PrivateName`] or
    /// [`PrivateGroup`] instead.
    ///
    /// # Errors
    ///
    /// [`NameError`] if the text is empty, too long or has a zero byte.
    pub fn new(text: impl AsRef<[u8]>) -> Result<Name, NameError> {
        let bytes = text.as_ref();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_GROUP_NAME {
            return Err(NameError::TooLong { len: bytes.len(), max: MAX_GROUP_NAME });
        }
        match bytes.iter().position(|&b| b == 0) {
            Some(at) => Err(NameError::IllegalByte { byte: 0, at }),
            None => Ok(Name::padded(bytes)),
        }
    }

    /// Takes a field off the wire, as it is.
    pub const fn from_field(field: [u8; NAME_FIELD]) -> Name {
        Name(field)
    }

    /// The field as it stands on the wire.
    pub const fn as_field(&self) -> &[u8; NAME_FIELD] {
        &self.0
    }

    fn padded(bytes: &[u8]) -> Name {
        let mut field = [0; NAME_FIELD];
        field[..bytes.len()].copy_from_slice(bytes);
        Name(field)
    }

    /// The bytes of the name, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0[..MAX_GROUP_NAME].iter().position(|&b| b == 0);
        &self.0[..len.unwrap_or(MAX_GROUP_NAME)]
    }

    /// The name as text; `None` if it is not UTF-8.
    ///
    /// A name that passed a daemon's or a library's checks is ASCII.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// Whether there is no name in the field.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    /// Whether this names one client: it is of the form `#name#daemon`.
    pub fn is_private_group(&self) -> bool {
        self.split_private().is_some()
    }

    /// The private name in `#name#daemon`, for example `alice`.
    pub fn private_name(&self) -> Option<&str> {
        self.split_private().map(|(name, _)| name)
    }

    /// The daemon in `#name#daemon`, for example `host1`.
    pub fn daemon(&self) -> Option<&str> {
        self.split_private().map(|(_, daemon)| daemon)
    }

    fn split_private(&self) -> Option<(&str, &str)> {
        let (name, daemon) = self.as_str()?.strip_prefix('#')?.split_once('#')?;
        check_bytes(name.as_bytes(), MAX_PRIVATE_NAME).ok()?;
        check_bytes(daemon.as_bytes(), MAX_DAEMON_NAME).ok()?;
        Some((name, daemon))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::new(text)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Name, NameError> {
        Name::new(text)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        // Most fields that hold the same name are the same all over.
        self.0 == other.0 || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        *self == **other
    }
}

/// A name compares, orders and hashes as its bytes do.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) if text.bytes().all(|b| b.is_ascii_graphic()) => f.pad(text),
            _ => f.pad(&self.as_bytes().escape_ascii().to_string()),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Gives a checked name its text form, comparisons and conversions.
macro_rules! checked_name {
    ($type:ident, $check:expr) => {
        impl $type {
            /// Checks a text.
            ///
            /// # Errors
            ///
            /// [`NameError`] says what is wrong with it.
            pub fn new(text: impl AsRef<[u8]>) -> Result<$type, NameError> {
                let bytes = text.as_ref();
                let check: fn(&[u8]) -> Result<(), NameError> = $check;
                check(bytes)?;
                Ok($type(Name::padded(bytes)))
            }

            /// The name as text; it is ASCII.
            pub fn as_str(&self) -> &str {
                self.0.as_str().unwrap_or_default()
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$type, NameError> {
                $type::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<$type, NameError> {
                $type::new(text)
            }
        }

        impl TryFrom<Name> for $type {
            type Error = NameError;

            fn try_from(name: Name) -> Result<$type, NameError> {
                $type::new(name.as_bytes())
            }
        }

        impl From<$type> for Name {
            fn from(name: $type) -> Name {
                name.0
            }
        }

        impl PartialEq<Name> for $type {
            fn eq(&self, other: &Name) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<$type> for Name {
            fn eq(&self, other: &$type) -> bool {
                *self == other.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                self.0 == **other
            }
        }

        impl PartialEq<String> for $type {
            fn eq(&self, other: &String) -> bool {
                self.0 == **other
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        /// It compares, orders and hashes as its text does.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// The name of a group that can be joined: 1 to 31 bytes of printable ASCII except space, `!`, `"` and `#`.
///
/// ```
/// # use spread_wire::{GroupName, NameError};
/// assert!(GroupName::new("chat").is_ok());
/// assert!(matches!(GroupName::new("two words"), Err(NameError::IllegalByte { at: 3, .. })));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(Name);

checked_name!(GroupName, |bytes| check_bytes(bytes, MAX_GROUP_NAME));

/// The name that a client asks for when it connects: 1 to 10 bytes of printable ASCII except
/// space, `!`, `"` and `#`.
///
/// ```
/// # use spread_wire::{NameError, PrivateName};
/// assert_eq!(PrivateName::new("alice")?, "alice");
/// assert_eq!(
///     PrivateName::new("bartholomew"),
///     Err(NameError::TooLong { len: 11, max: 10 }),
/// );
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrivateName(Name);

checked_name!(PrivateName, |bytes| check_bytes(bytes, MAX_PRIVATE_NAME));

/// The private group of one client, `#private_name#daemon`: its name in every
/// view, the sender of its messages, and where to send to it alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrivateGroup(Name);

checked_name!(PrivateGroup, |bytes| {
    if Name::new(bytes)?.is_private_group() { Ok(()) } else { Err(NameError::NotPrivate) }
});

impl PrivateGroup {
    /// The private group of the client `name` at the daemon `daemon`.
    ///
    /// # Errors
    ///
    /// [`NameError`] if `daemon` is not 1 to 19 bytes of printable ASCII except space, `!`, `"` and `#`.
    pub fn of(name: PrivateName, daemon: &str) -> Result<PrivateGroup, NameError> {
        check_bytes(daemon.as_bytes(), MAX_DAEMON_NAME)?;
        PrivateGroup::new(format!("#{name}#{daemon}"))
    }

    /// The private name, for example `alice`.
    pub fn private_name(&self) -> &str {
        self.0.private_name().unwrap_or_default()
    }

    /// The daemon that the client is connected to, for example `host1`.
    pub fn daemon(&self) -> &str {
        self.0.daemon().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;

    #[test]
    fn every_name_is_parsed_from_text() {
        fn parse<T: FromStr<Err = NameError> + for<'a> TryFrom<&'a str, Error = NameError>>(
            text: &str,
        ) -> bool {
            assert_eq!(text.parse::<T>().err(), T::try_from(text).err());
            text.parse::<T>().is_ok()
        }
        assert!(parse::<Name>("two words") && !parse::<Name>(""));
        assert!(parse::<GroupName>("chat") && !parse::<GroupName>("two words"));
        assert!(parse::<PrivateName>("alice") && !parse::<PrivateName>("elevenchars"));
        assert!(parse::<PrivateGroup>("#alice#host") && !parse::<PrivateGroup>("alice"));
    }

    #[test]
    fn a_group_name_has_1_to_31_bytes() {
        assert_eq!(GroupName::new(""), Err(NameError::Empty));
        assert!(GroupName::new("x".repeat(31)).is_ok());
        assert_eq!(GroupName::new("x".repeat(32)), Err(NameError::TooLong { len: 32, max: 31 }));
    }

    #[test]
    fn the_letters_of_a_name_go_from_dollar_to_tilde() {
        for byte in 0..=255u8 {
            let allowed = (b'$'..=b'~').contains(&byte);
            assert_eq!(GroupName::new([b'a', byte]).is_ok(), allowed, "{byte:#x}");
            assert_eq!(PrivateName::new([b'a', byte]).is_ok(), allowed, "{byte:#x}");
        }
    }

    #[test]
    fn a_private_group_is_taken_apart() {
        let group = PrivateGroup::new("#alice#localhost").unwrap();
        assert_eq!((group.private_name(), group.daemon()), ("alice", "localhost"));
        assert_eq!(PrivateGroup::of(PrivateName::new("alice").unwrap(), "localhost"), Ok(group));
        for wrong in ["alice", "#alice", "##d", "#a#", "#a#b#c", "#elevenchars#d", "#a b#d"] {
            assert_eq!(PrivateGroup::new(wrong), Err(NameError::NotPrivate), "{wrong}");
        }
    }

    #[test]
    fn what_follows_the_zero_is_kept_but_does_not_count() {
        let mut field = [b'?'; NAME_FIELD];
        field[..3].copy_from_slice(b"g1\0");
        let name = Name::from_field(field);
        assert_eq!(name, Name::new("g1").unwrap());
        assert_eq!(name.as_field(), &field);
        let full = Name::from_field([b'x'; NAME_FIELD]);
        assert_eq!(full.as_bytes().len(), 31);
    }

    #[test]
    fn names_order_by_their_bytes() {
        let mut names = ["zed", "amy", "Bob", "$x", "mia"].map(|n| Name::new(n).unwrap());
        names.sort();
        assert_eq!(names, ["$x", "Bob", "amy", "mia", "zed"].map(|n| Name::new(n).unwrap()));
    }

    #[test]
    fn maps_of_names_are_asked_by_texts_and_bytes() {
        let texts = ["a", "ab", "b", "chat", "x#y", "~"];
        let names = texts.map(|text| Name::new(text).unwrap());
        let hashed: HashSet<Name> = names.into();
        let ordered: BTreeSet<Name> = names.into();
        for text in texts {
            assert!(hashed.contains(text.as_bytes()) && ordered.contains(text.as_bytes()));
        }
        assert!(!hashed.contains(&b"c"[..]) && !ordered.contains(&b"c"[..]));

        // What follows the zero does not count.
        let mut field = [b'?'; NAME_FIELD];
        field[..3].copy_from_slice(b"ab\0");
        assert_eq!(hashed.get(&b"ab"[..]), hashed.get(&Name::from_field(field)));

        let groups = ["a", "chat"].map(|text| GroupName::new(text).unwrap());
        assert!(HashSet::from(groups).contains("chat") && BTreeSet::from(groups).contains("chat"));
        assert!(!HashSet::from(groups).contains("b") && !BTreeSet::from(groups).contains("b"));
        let clients = HashSet::from([PrivateGroup::new("#a#d").unwrap()]);
        assert!(clients.contains("#a#d") && !clients.contains("#a#e"));
        assert!(HashSet::from([PrivateName::new("ann").unwrap()]).contains("ann"));
    }

    #[test]
    fn names_are_compared_with_texts() {
        let text = String::from("chat");
        assert!(Name::new("chat").unwrap() == text && GroupName::new("chat").unwrap() == text);
        assert!(Name::new("chat").unwrap() != "cha" && GroupName::new("chat").unwrap() != "c");
    }

    #[test]
    fn a_name_of_any_bytes_can_be_shown() {
        assert_eq!(Name::new(b"a\x01\xff").unwrap().to_string(), "a\\x01\\xff");
    }
}
