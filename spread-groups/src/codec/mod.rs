//! Values to bytes and back.
//!
//! Programs that exchange values have to agree on the name of their type and on the codec:
//! [`Raw`] for bytes and texts as they are, [`Postcard`] for programs in Rust, `Json`,
//! [`Prost`] for protobuf, and `Dividere` for protobuf in the envelope of the Python package
//! of that name. `Json` and `Dividere` are features, `json` and `dividere`, which are on by
//! default. The others have none, because this crate needs postcard, prost and bytes itself.
//!
//! Another name or another codec is not an error but [another address](crate#names-types-and-codecs):
//! programs that do not agree on them do not hear each other.

#[cfg(feature = "dividere")]
pub mod dividere;

use bytes::Bytes;

use crate::core::history::mix_bytes;

/// A value that can be sent.
///
/// `String`, `Vec<u8>`, `bytes::Bytes` and `()` are messages as they are ([`Raw`]); `bool`, `u8` to
/// `u64`, `i8` to `i64`, `f32` and `f64` are messages with [`Postcard`]. `usize`, tuples and other
/// collections are none, because programs would not agree on their names: give what is sent a type
/// of its own.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use spread_groups::{Message, Postcard};
///
/// #[derive(Serialize, Deserialize)]
/// struct Price {
///     cents: u64,
/// }
///
/// impl Message for Price {
///     const NAME: &'static str = "shop.Price";
///     type Codec = Postcard;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message of spread-groups",
    label = "not a `spread_groups::Message`",
    note = "a type of your own derives serde's `Serialize` and `Deserialize`, and has \
            `impl Message for {Self} {{ const NAME: &'static str = \"my.Name\"; type Codec = Postcard; }}`",
    note = "`String`, `Vec<u8>`, `Bytes`, `()`, `bool`, integers up to 64 bits and floats are messages"
)]
pub trait Message: Sized + Send + 'static {
    /// The name of the type in all programs that exchange it. It stays the same when the type is
    /// moved or renamed.
    ///
    /// The fields are not part of what is compared, and [`Postcard`] does not write their names: a
    /// type whose fields change needs a new name, or a codec that allows for it (`Json`,
    /// [`Prost`]).
    const NAME: &'static str;

    /// How values are encoded.
    type Codec: Codec<Self>;
}

/// An encoding of values.
pub trait Codec<T> {
    /// What it is called.
    const NAME: &'static str;

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the encoding cannot express it.
    fn encode(value: &T) -> Result<Bytes, CodecError>;

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the bytes are not one.
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// A value cannot be encoded, or bytes are not a value.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{codec}: {reason}")]
pub struct CodecError {
    codec: &'static str,
    reason: String,
}

impl CodecError {
    /// Returns an error of a codec.
    pub fn new(codec: &'static str, reason: impl ToString) -> CodecError {
        CodecError { codec, reason: reason.to_string() }
    }
}

/// Bytes and texts as they are.
#[derive(Debug)]
pub struct Raw;

/// [postcard](https://docs.rs/postcard): compact, for programs in Rust.
///
/// The bytes tell neither the names nor the types of the fields. A value of another type under the
/// same [`Message::NAME`] is an error if bytes are missing or left over, and a wrong value
/// otherwise.
#[derive(Debug)]
pub struct Postcard;

/// JSON, with the feature `json`.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct Json;

/// Protobuf, by [prost](https://docs.rs/prost).
#[derive(Debug)]
pub struct Prost;

impl Codec<Vec<u8>> for Raw {
    const NAME: &'static str = "raw";

    fn encode(value: &Vec<u8>) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl Codec<Bytes> for Raw {
    const NAME: &'static str = "raw";

    fn encode(value: &Bytes) -> Result<Bytes, CodecError> {
        Ok(value.clone())
    }

    fn decode(bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

impl Codec<String> for Raw {
    const NAME: &'static str = "raw";

    fn encode(value: &String) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn decode(bytes: &[u8]) -> Result<String, CodecError> {
        String::from_utf8(bytes.to_vec()).map_err(|error| CodecError::new("raw", error))
    }
}

impl Codec<()> for Raw {
    const NAME: &'static str = "raw";

    fn encode((): &()) -> Result<Bytes, CodecError> {
        Ok(Bytes::new())
    }

    fn decode(bytes: &[u8]) -> Result<(), CodecError> {
        let extra = || CodecError::new("raw", format!("{} bytes where none belong", bytes.len()));
        bytes.is_empty().then_some(()).ok_or_else(extra)
    }
}

impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> for Postcard {
    const NAME: &'static str = "postcard";

    fn encode(value: &T) -> Result<Bytes, CodecError> {
        let bytes = postcard::to_allocvec(value);
        bytes.map(Bytes::from).map_err(|error| CodecError::new("postcard", error))
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let (value, rest) =
            postcard::take_from_bytes(bytes).map_err(|error| CodecError::new("postcard", error))?;
        let extra =
            || CodecError::new("postcard", format!("{} bytes behind the value", rest.len()));
        rest.is_empty().then_some(value).ok_or_else(extra)
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> for Json {
    const NAME: &'static str = "json";

    fn encode(value: &T) -> Result<Bytes, CodecError> {
        let bytes = serde_json::to_vec(value);
        bytes.map(Bytes::from).map_err(|error| CodecError::new("json", error))
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(|error| CodecError::new("json", error))
    }
}

impl<T: prost::Message + Default> Codec<T> for Prost {
    const NAME: &'static str = "prost";

    fn encode(value: &T) -> Result<Bytes, CodecError> {
        Ok(value.encode_to_vec().into())
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        T::decode(bytes).map_err(|error| CodecError::new("prost", error))
    }
}

impl Message for Vec<u8> {
    const NAME: &'static str = "bytes";
    type Codec = Raw;
}

/// The same as `Vec<u8>` to other programs.
impl Message for Bytes {
    const NAME: &'static str = "bytes";
    type Codec = Raw;
}

impl Message for String {
    const NAME: &'static str = "text";
    type Codec = Raw;
}

impl Message for () {
    const NAME: &'static str = "nothing";
    type Codec = Raw;
}

macro_rules! are_messages {
    ($($of:ident),*) => {
        $(impl Message for $of {
            const NAME: &'static str = stringify!($of);
            type Codec = Postcard;
        })*
    };
}

are_messages!(bool, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

pub(crate) fn encode<T: Message>(value: &T) -> Result<Bytes, CodecError> {
    T::Codec::encode(value)
}

pub(crate) fn decode<T: Message>(bytes: &[u8]) -> Result<T, CodecError> {
    T::Codec::decode(bytes)
}

/// Returns the number of a channel: what it is, its name, and the type and codec of its
/// values. Members that do not agree on all of them do not hear each other there.
pub(crate) fn channel<T: Message>(pattern: &str, name: &str) -> u32 {
    let parts = [pattern, name, T::NAME, <T::Codec as Codec<T>>::NAME];
    let digest = parts.into_iter().fold(0, |digest, part| mix_bytes(digest, part.as_bytes()));
    (digest ^ (digest >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Point {
        x: i32,
    }

    fn round_trip<C: Codec<T>, T: PartialEq + std::fmt::Debug>(value: T) {
        let bytes = C::encode(&value).unwrap();
        assert_eq!(C::decode(&bytes).unwrap(), value);
    }

    #[test]
    fn values_read_as_they_were_written() {
        round_trip::<Raw, _>(vec![1, 2]);
        round_trip::<Raw, _>(Bytes::from_static(b"ab"));
        round_trip::<Raw, _>(String::from("text"));
        round_trip::<Raw, _>(());
        round_trip::<Postcard, _>(Point { x: -1 });
        #[cfg(feature = "json")]
        round_trip::<Json, _>(Point { x: -1 });
        round_trip::<Prost, _>(crate::core::proto::Place { branch: 1, index: 2 });
    }

    #[test]
    fn bytes_that_are_no_value_are_an_error() {
        assert!(<Postcard as Codec<Point>>::decode(b"").is_err());
        // A longer type of the same name.
        let longer = <Postcard as Codec<(i32, i32)>>::encode(&(1, 2)).unwrap();
        let error = <Postcard as Codec<Point>>::decode(&longer).unwrap_err();
        assert_eq!(error.to_string(), "postcard: 1 bytes behind the value");
        #[cfg(feature = "json")]
        assert!(<Json as Codec<Point>>::decode(b"{").is_err());
        assert!(<Raw as Codec<String>>::decode(b"\xff").is_err());
        assert!(<Raw as Codec<()>>::decode(b"x").is_err());
        assert!(<Prost as Codec<crate::core::proto::Place>>::decode(b"\xff").is_err());
    }

    #[test]
    fn numbers_are_messages_of_their_own_types() {
        assert_eq!(decode::<u64>(&encode(&u64::MAX).unwrap()).unwrap(), u64::MAX);
        assert_eq!(decode::<f64>(&encode(&-0.5).unwrap()).unwrap(), -0.5);
        assert_ne!(channel::<u32>("topic", "n"), channel::<i32>("topic", "n"));
    }

    #[test]
    fn channels_differ_by_pattern_name_and_type() {
        let prices = channel::<String>("topic", "prices");
        let bytes = channel::<Bytes>("topic", "prices");
        assert_eq!(bytes, channel::<Vec<u8>>("topic", "prices"));
        assert_eq!(prices, channel::<String>("topic", "prices"));
        assert_ne!(prices, channel::<String>("topic", "price"));
        assert_ne!(prices, channel::<String>("machine", "prices"));
        assert_ne!(prices, channel::<Vec<u8>>("topic", "prices"));
    }
}
