//! Unique identifiers (PS3.5 §9.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DICOM UID: 1 to 64 characters, digits and single dots, no dot at either end.
///
/// Components with leading zeros break PS3.5 §9.1 but exist in archives, so they are kept as they
/// are. What passes here is safe inside a URL path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(String);

/// The text is not a UID. Carries no part of the text: it may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UID: 1 to 64 digits and single dots are expected (PS3.5 §9.1)")]
pub struct UidError;

impl Uid {
    /// The text of the UID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Uid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        let legal = (1..=64).contains(&text.len())
            && text
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if legal { Ok(Self(text.to_owned())) } else { Err(UidError) }
    }
}

impl TryFrom<String> for Uid {
    type Error = UidError;

    fn try_from(text: String) -> Result<Self, UidError> {
        text.parse()
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_the_standard_are_accepted() {
        for text in ["1.2.840.10008.1.2", "0", "2.25.329800735698586629295641978511506172918"] {
            assert_eq!(text.parse::<Uid>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn leading_zeros_are_tolerated_as_archives_hold_them() {
        assert!("1.02.3".parse::<Uid>().is_ok());
    }

    #[test]
    fn anything_that_is_not_a_uid_is_refused() {
        let long = "1".repeat(65);
        for text in ["", ".", "1.", ".1", "1..2", "1.2a", "1.2/..", "1.2 ", "１", &long] {
            assert_eq!(text.parse::<Uid>(), Err(UidError), "{text:?}");
        }
        assert!("1".repeat(64).parse::<Uid>().is_ok());
    }
}
