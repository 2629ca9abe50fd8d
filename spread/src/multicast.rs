//! What goes into a multicast besides its payload: options and groups.

use std::io::IoSlice;

#[cfg(feature = "tokio")]
use bytes::Bytes;
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{GroupName, Name, NameError, PrivateGroup, PrivateName, Service, ServiceType};

use crate::Error;

/// How a message is multicast. A [`Service`] alone will do in most cases.
///
/// ```
/// use spread::{SendOptions, Service};
///
/// let options = SendOptions::new(Service::Safe).message_type(7).self_discard(true);
/// ```
///
/// A message has one service. A daemon closes the connection of a client that sets
/// two, as the bits of the C interface allow:
///
/// ```compile_fail,E0369
/// # use spread::{SendOptions, Service};
/// let options = SendOptions::new(Service::Agreed | Service::Safe);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    service: Service,
    message_type: i16,
    self_discard: bool,
}

impl SendOptions {
    /// A message with this guarantee and message type 0, of which its sender
    /// gets a copy, too, if it is a member of the group.
    pub fn new(service: Service) -> SendOptions {
        SendOptions { service, message_type: 0, self_discard: false }
    }

    /// Gives the message a number that means what applications agree on.
    pub fn message_type(self, message_type: i16) -> SendOptions {
        SendOptions { message_type, ..self }
    }

    /// Whether the message is kept from its sender (`SELF_DISCARD`).
    pub fn self_discard(self, self_discard: bool) -> SendOptions {
        SendOptions { self_discard, ..self }
    }

    pub(crate) fn service_type(self) -> ServiceType {
        ServiceType::regular(self.service, self.self_discard)
    }

    pub(crate) fn number(self) -> i16 {
        self.message_type
    }
}

impl From<Service> for SendOptions {
    fn from(service: Service) -> SendOptions {
        SendOptions::new(service)
    }
}

/// A message to be sent later: its options, its groups, checked, and its payload. The
/// sinks of async mailboxes take it.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use futures_util::SinkExt;
/// use spread::{AsyncMailbox, Mailbox, Outgoing, Service};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut mailbox = AsyncMailbox::connect(Mailbox::builder(address)).await?;
/// for line in ["one", "two"] {
///     mailbox.feed(Outgoing::new(Service::Agreed, "lines", line)?).await?;
/// }
/// mailbox.flush().await?;
/// # Ok::<(), spread::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "tokio")]
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) options: SendOptions,
    pub(crate) groups: GroupList,
    pub(crate) payload: Bytes,
}

#[cfg(feature = "tokio")]
impl Outgoing {
    /// Checks what [`Sender::multicast`](crate::Sender::multicast) would. The payload is not
    /// copied; [`Bytes`](https://docs.rs/bytes) are made from a `Vec<u8>`, a `String` and what is
    /// `'static`, or by `Bytes::copy_from_slice`.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup), [`NoGroups`](Error::NoGroups),
    /// [`TooManyGroups`](Error::TooManyGroups) and
    /// [`MessageTooLong`](Error::MessageTooLong).
    pub fn new(
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl Into<Bytes>,
    ) -> Result<Outgoing, Error> {
        let (groups, payload) = (GroupList::of(groups)?, payload.into());
        groups.check_payload(payload.len())?;
        Ok(Outgoing { options: options.into(), groups, payload })
    }
}

/// A group, or a private group: a text, bytes, or one of the types of names.
///
/// Names that are not typed are checked where they are used; see
/// [`IllegalGroup`](Error::IllegalGroup).
pub trait ToGroup: sealed::Sealed {
    #[doc(hidden)]
    fn to_group(&self) -> Result<Name, Error>;

    /// The name, unchecked: to be compared with names that were received.
    #[doc(hidden)]
    fn group_bytes(&self) -> &[u8];
}

/// Where a message can go: the name of a group or a private group, or several.
///
/// Implemented for everything that is a group ([`ToGroup`]), and for arrays, slices and
/// vectors of it. A message to several groups comes to each client once.
pub trait ToGroups: sealed::Sealed {
    #[doc(hidden)]
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error>;
}

mod sealed {
    pub trait Sealed {}
}

/// The checked groups of one multicast.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct GroupList {
    names: Names,
    /// As given, though more than are allowed are not kept.
    count: usize,
}

/// Most messages go to one group, and need no memory for it.
#[derive(Clone, Debug)]
enum Names {
    One(Name),
    Several(Vec<Name>),
}

impl GroupList {
    #[inline]
    pub(crate) fn of(groups: impl ToGroups) -> Result<GroupList, Error> {
        let mut list = GroupList { names: Names::One(Name::EMPTY), count: 0 };
        groups.add_to(&mut list)?;
        match list.count {
            0 => Err(Error::NoGroups),
            count if count > MAX_GROUPS => Err(Error::TooManyGroups { count, max: MAX_GROUPS }),
            _ => Ok(list),
        }
    }

    pub(crate) fn names(&self) -> &[Name] {
        match &self.names {
            Names::One(name) => std::slice::from_ref(name),
            Names::Several(names) => names,
        }
    }

    /// Checks that a payload of `len` bytes can go to these groups.
    pub(crate) fn check_payload(&self, len: usize) -> Result<(), Error> {
        let len = len.saturating_add(self.count * NAME_FIELD);
        if len > MAX_BODY_AND_GROUPS {
            return Err(Error::MessageTooLong { len, max: MAX_BODY_AND_GROUPS });
        }
        Ok(())
    }

    /// As [`check_payload`](GroupList::check_payload), for one in pieces.
    pub(crate) fn check_pieces(&self, pieces: &[IoSlice<'_>]) -> Result<(), Error> {
        let len = pieces.iter().fold(0usize, |len, piece| len.saturating_add(piece.len()));
        self.check_payload(len)
    }

    #[inline]
    fn push(&mut self, name: Name) {
        match &mut self.names {
            Names::One(first) if self.count == 0 => *first = name,
            Names::One(first) => self.names = Names::Several(vec![*first, name]),
            Names::Several(names) if names.len() < MAX_GROUPS => names.push(name),
            Names::Several(_) => {}
        }
        self.count += 1;
    }
}

/// Checks a text that is to be a destination: a group or a private group.
fn destination(text: &[u8]) -> Result<Name, NameError> {
    match text.first() {
        Some(b'#') => PrivateGroup::new(text).map(Name::from),
        _ => GroupName::new(text).map(Name::from),
    }
}

/// Says which name is the illegal one.
pub(crate) fn illegal_group(text: &[u8]) -> impl FnOnce(NameError) -> Error + use<'_> {
    |source| Error::IllegalGroup { name: String::from_utf8_lossy(text).into_owned(), source }
}

/// Texts and bytes are checked, and so is a name that came off the wire.
macro_rules! checked_group {
    ($type:ty, $bytes:expr $(, const $len:ident)?) => {
        impl$(<const $len: usize>)? sealed::Sealed for $type {}

        impl$(<const $len: usize>)? ToGroup for $type {
            fn to_group(&self) -> Result<Name, Error> {
                let bytes: fn(&$type) -> &[u8] = $bytes;
                destination(bytes(self)).map_err(illegal_group(bytes(self)))
            }

            fn group_bytes(&self) -> &[u8] {
                let bytes: fn(&$type) -> &[u8] = $bytes;
                bytes(self)
            }
        }

        impl$(<const $len: usize>)? ToGroups for $type {
            fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
                list.push(self.to_group()?);
                Ok(())
            }
        }
    };
}

checked_group!(str, |text| text.as_bytes());
checked_group!(String, |text| text.as_bytes());
checked_group!([u8], |bytes| bytes);
checked_group!([u8; N], |bytes| bytes, const N);
checked_group!(Vec<u8>, |bytes| bytes);
checked_group!(Name, |name| name.as_bytes());

/// A type that holds nothing else.
macro_rules! typed_group {
    ($($type:ident),*) => {$(
        impl sealed::Sealed for $type {}

        impl ToGroup for $type {
            #[inline]
            fn to_group(&self) -> Result<Name, Error> {
                Ok((*self).into())
            }

            fn group_bytes(&self) -> &[u8] {
                self.as_str().as_bytes()
            }
        }

        impl ToGroups for $type {
            #[inline]
            fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
                list.push((*self).into());
                Ok(())
            }
        }
    )*};
}

typed_group!(GroupName, PrivateGroup);

impl<T: ToGroups> sealed::Sealed for [T] {}

impl<T: ToGroups> ToGroups for [T] {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.iter().try_for_each(|group| group.add_to(list))
    }
}

impl<T: ToGroups, const N: usize> sealed::Sealed for [T; N] {}

impl<T: ToGroups, const N: usize> ToGroups for [T; N] {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.as_slice().add_to(list)
    }
}

impl<T: ToGroups> sealed::Sealed for Vec<T> {}

impl<T: ToGroups> ToGroups for Vec<T> {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        self.as_slice().add_to(list)
    }
}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {}

impl<T: ToGroup + ?Sized> ToGroup for &T {
    fn to_group(&self) -> Result<Name, Error> {
        (**self).to_group()
    }

    fn group_bytes(&self) -> &[u8] {
        (**self).group_bytes()
    }
}

impl<T: ToGroups + ?Sized> ToGroups for &T {
    fn add_to(&self, list: &mut GroupList) -> Result<(), Error> {
        (**self).add_to(list)
    }
}

/// The name of a group, as it is given to join and to leave it.
pub(crate) fn group_name(group: impl ToGroup) -> Result<GroupName, Error> {
    let name = group.to_group()?;
    if let Ok(name) = PrivateGroup::try_from(name) {
        return Err(Error::PrivateGroup { name });
    }
    GroupName::try_from(name).map_err(illegal_group(name.as_bytes()))
}

/// The name of a client, as it is given to connect it.
pub(crate) fn private_name(name: &str) -> Result<PrivateName, Error> {
    PrivateName::new(name)
        .map_err(|source| Error::IllegalPrivateName { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: impl ToGroups) -> Vec<String> {
        GroupList::of(groups).unwrap().names().iter().map(Name::to_string).collect()
    }

    #[test]
    fn groups_are_given_in_any_form() {
        let group = GroupName::new("chat").unwrap();
        let client = PrivateGroup::new("#alice#host").unwrap();
        assert_eq!(names("chat"), ["chat"]);
        assert_eq!(names("#alice#host"), ["#alice#host"]);
        assert_eq!(names(group), ["chat"]);
        assert_eq!(names(Name::from(client)), ["#alice#host"]);
        assert_eq!(names(["a", "b"]), ["a", "b"]);
        assert_eq!(names(vec![String::from("a")]), ["a"]);
        assert_eq!(names(b"chat"), ["chat"]);
        assert_eq!(names([&b"a"[..], b"b"]), ["a", "b"]);
        assert_eq!(names(b"chat".to_vec()), ["chat"]);
        assert_eq!(names(&[Name::from(group), client.into()][..]), ["chat", "#alice#host"]);
    }

    #[test]
    fn an_illegal_group_is_named_in_the_error() {
        for wrong in ["", "two words", "#alice", "x#y", "\u{e4}", &"x".repeat(32)] {
            let error = GroupList::of(["fine", wrong]).unwrap_err();
            assert!(matches!(error, Error::IllegalGroup { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_group_to_join_is_given_in_any_form_too() {
        let group = GroupName::new("chat").unwrap();
        for name in [group_name("chat"), group_name(b"chat"), group_name(Name::from(group))] {
            assert_eq!(name.unwrap(), group);
        }
        let client = PrivateGroup::new("#alice#host").unwrap();
        for error in [group_name(client).unwrap_err(), group_name("#alice#host").unwrap_err()] {
            assert!(matches!(&error, Error::PrivateGroup { name } if *name == client), "{error}");
            assert!(error.to_string().contains("#alice#host is a private group"), "{error}");
        }
    }

    #[test]
    fn an_illegal_name_is_kept_as_given_and_escaped_once() {
        let error = group_name("two\nlines\\\u{e4}").unwrap_err();
        assert_eq!(error.to_string(), r#"illegal group name "two\nlines\\ä""#);
        let Error::IllegalGroup { name, .. } = error else { panic!("{error}") };
        assert_eq!(name, "two\nlines\\\u{e4}");
        let Err(Error::IllegalGroup { name, .. }) = group_name(b"\xff!") else { panic!() };
        assert_eq!(name, "\u{fffd}!");
    }

    #[test]
    fn a_message_goes_to_1_to_43_groups() {
        assert!(matches!(GroupList::of(Vec::<Name>::new()), Err(Error::NoGroups)));
        assert!(GroupList::of(["x"; 43]).is_ok());
        let error = GroupList::of(["x"; 44]).unwrap_err();
        assert!(matches!(error, Error::TooManyGroups { count: 44, max: 43 }), "{error}");
    }

    #[test]
    fn body_and_groups_share_one_limit() {
        let list = GroupList::of(["a", "b"]).unwrap();
        assert!(list.check_payload(143_151 - 64).is_ok());
        let error = list.check_payload(143_152 - 64).unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { len: 143_152, max: 143_151 }), "{error}");
    }
}
