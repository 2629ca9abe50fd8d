//! Names as texts, for serde.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{GroupName, Name, PrivateGroup, PrivateName};

/// A name is a text. One that is not UTF-8 cannot be serialized.
impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.as_str().ok_or_else(|| S::Error::custom("a name that is not UTF-8"))?;
        serializer.serialize_str(text)
    }
}

/// A text is checked as by `new`.
macro_rules! from_text {
    ($($type:ident),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                $type::new(text.as_bytes()).map_err(D::Error::custom)
            }
        }
    )*};
}

macro_rules! to_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

from_text!(Name, GroupName, PrivateName, PrivateGroup);
to_text!(GroupName, PrivateName, PrivateGroup);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_text_and_is_checked_when_it_is_read() {
        let group = GroupName::new("chat").unwrap();
        assert_eq!(serde_json::to_string(&group).unwrap(), "\"chat\"");
        assert_eq!(serde_json::from_str::<GroupName>("\"chat\"").unwrap(), group);
        let alice: PrivateGroup = serde_json::from_str("\"#alice#host\"").unwrap();
        assert_eq!(serde_json::to_string(&Name::from(alice)).unwrap(), "\"#alice#host\"");
        assert_eq!(serde_json::from_str::<Name>(r##""\u0023a#b""##).unwrap(), "#a#b");

        let error = serde_json::from_str::<PrivateName>("\"two words\"").unwrap_err();
        assert!(error.to_string().contains("position 3"), "{error}");
        let unreadable = Name::new(b"\xff").unwrap();
        assert!(serde_json::to_string(&unreadable).is_err());
    }
}
