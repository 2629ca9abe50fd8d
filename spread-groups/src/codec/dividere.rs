//! The envelope of [dīvidere](https://github.com/lipeltgm/dividere), a Python package over
//! protobuf, byte for byte: `msgName` (1) is the name of the message's type and `msg` (2) a
//! `google.protobuf.Any` with the message.
//!
//! [`Dividere`] is a codec for one type. [`Envelope`] is a message of any type, so that
//! types share a topic as they share a socket there; [`Envelope::open`] tells them apart.
//!
//! Bytes are equal to those of Python's protobuf package for all messages without maps,
//! whose order protobuf leaves open. dīvidere finds a type by `msgName`, which is without
//! the package: types for it have none.

use bytes::Bytes;
use prost::Name;

use super::{Codec, CodecError, Message, Prost};

/// What `Any` begins the name of a type with.
const PREFIX: &str = "type.googleapis.com/";
const CODEC: &str = "dividere";

/// Protobuf in dīvidere's envelope.
#[derive(Debug)]
pub struct Dividere;

/// A message of any type in dīvidere's envelope.
///
/// ```
/// use spread_groups::dividere::Envelope;
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Msg01 {
///     #[prost(int32, tag = "1")]
///     field1: i32,
/// }
///
/// impl prost::Name for Msg01 {
///     const NAME: &'static str = "Msg01";
///     const PACKAGE: &'static str = "";
/// }
///
/// let envelope = Envelope::pack(&Msg01 { field1: 7 });
/// assert_eq!(envelope.name(), "Msg01");
/// assert_eq!(envelope.open::<Msg01>()?, Msg01 { field1: 7 });
/// # Ok::<(), spread_groups::CodecError>(())
/// ```
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Envelope {
    #[prost(string, tag = "1")]
    msg_name: String,
    #[prost(message, optional, tag = "2")]
    msg: Option<Any>,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl Envelope {
    /// Puts a message into an envelope.
    pub fn pack<T: prost::Message + Name>(message: &T) -> Envelope {
        let type_url = format!("{PREFIX}{}", T::full_name());
        let value = message.encode_to_vec().into();
        Envelope { msg_name: T::NAME.to_owned(), msg: Some(Any { type_url, value }) }
    }

    /// Returns the name of the message's type, without its package.
    pub fn name(&self) -> &str {
        &self.msg_name
    }

    /// Returns the message.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if it is of another type or cannot be decoded.
    pub fn open<T: prost::Message + Name + Default>(&self) -> Result<T, CodecError> {
        let Some(Any { type_url, value }) = &self.msg else {
            return Err(CodecError::new(CODEC, "an envelope without a message"));
        };
        // As protobuf does: whatever stands before the last slash.
        let full_name = type_url.rsplit_once('/').map(|(_, name)| name);
        if self.msg_name != T::NAME || full_name != Some(T::full_name().as_str()) {
            let reason = format!("{} ({type_url}) is no {}", self.msg_name, T::full_name());
            return Err(CodecError::new(CODEC, reason));
        }
        T::decode(value.clone()).map_err(|error| CodecError::new(CODEC, error))
    }
}

impl Message for Envelope {
    const NAME: &'static str = "msgEnvelope";
    type Codec = Prost;
}

impl<T: prost::Message + Name + Default> Codec<T> for Dividere {
    const NAME: &'static str = CODEC;

    fn encode(value: &T) -> Result<Bytes, CodecError> {
        Prost::encode(&Envelope::pack(value))
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        <Prost as Codec<Envelope>>::decode(bytes)?.open()
    }
}
