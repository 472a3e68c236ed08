//! What a client shows to say who it is, as a hash.

use std::fmt;
use std::sync::LazyLock;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use sha2::{Digest as _, Sha256};

use crate::cache::Digest;

/// All of a client's `Authorization` and `Cookie`, hashed. It is kept together with a study and, outside of
/// memory, under a salted name, and shown nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Credential(Digest);

static NONE: LazyLock<Credential> = LazyLock::new(|| Credential::hashed(&HeaderMap::new()));

impl Credential {
    /// Of the headers of a request, in their order.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE) {
            Self::hashed(headers)
        } else {
            Self::none()
        }
    }

    fn hashed(headers: &HeaderMap) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"lightbox credential 1");
        for name in [AUTHORIZATION, COOKIE] {
            for value in headers.get_all(&name) {
                hash.update(name.as_str());
                hash.update((value.len() as u64).to_le_bytes());
                hash.update(value);
            }
        }
        Self(hash.finalize().into())
    }

    /// Of its `Authorization` alone, where nothing else counts.
    pub(crate) fn of_authorization(headers: &HeaderMap) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"lightbox authorization 1");
        for value in headers.get_all(AUTHORIZATION) {
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        Self(hash.finalize().into())
    }

    /// Of who shows nothing.
    pub(crate) fn none() -> Self {
        *NONE
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> Credential {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Credential::of(&headers)
    }

    #[test]
    fn whatever_is_shown_tells_them_apart_and_nothing_else_does() {
        let all = [
            of(&[]),
            of(&[("authorization", "Bearer a")]),
            of(&[("authorization", "Bearer b")]),
            of(&[("cookie", "Bearer a")]),
            of(&[("cookie", "a=1"), ("cookie", "b=2")]),
            of(&[("cookie", "a=1b=2")]),
            of(&[("authorization", "x"), ("cookie", "a=1")]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        assert_eq!(of(&[("accept", "x")]), Credential::none());
        assert_eq!(format!("{:?}", all[1]), "Credential(..)");
    }
}
