//! What entries are called in Redis.
//!
//! A caller's digest may be of something that can be guessed, a study's UID say. Who reads the names in
//! Redis shall not find it by trying: each name is a digest salted with 32 random bytes. They live in
//! Redis too, so that all nodes agree on them, and they are gone when everything else is.

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Every key of ours begins so.
const PREFIX: &str = "lightbox:";

/// Where the salt lives.
pub(crate) const SALT: &str = "lightbox:salt";

/// On which channel nodes tell each other what they have forgotten.
pub(crate) const CHANNEL: &str = "lightbox:forgotten";

pub(crate) type Salt = [u8; 32];

/// 128 bits of a salted digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name(pub(crate) [u8; Name::BYTES]);

impl Name {
    pub(crate) const BYTES: usize = 16;

    /// The key in Redis.
    pub(crate) fn key(&self) -> String {
        let mut key = String::with_capacity(PREFIX.len() + 2 * Self::BYTES);
        key.push_str(PREFIX);
        for byte in self.0 {
            key.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        key
    }
}

/// The names under one salt.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    salt: Salt,
}

impl Names {
    pub(crate) fn new(salt: Salt) -> Self {
        Self { salt }
    }

    pub(crate) fn has(&self, salt: &Salt) -> bool {
        self.salt == *salt
    }

    /// The set of the names of a group's values.
    pub(crate) fn group(&self, group: &Digest) -> Name {
        self.name(b"group", &[group])
    }

    /// A value.
    pub(crate) fn value(&self, group: &Digest, key: &Digest) -> Name {
        self.name(b"value", &[group, key])
    }

    /// Salt, domain and digests are each of one length: no two lists of them run together alike.
    fn name(&self, domain: &[u8; 5], digests: &[&Digest]) -> Name {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(domain);
        digests.iter().for_each(|digest| hash.update(digest));
        Name(truncated(hash))
    }
}

/// The first 128 bits.
pub(crate) fn truncated(hash: Sha256) -> [u8; 16] {
    let whole = hash.finalize();
    std::array::from_fn(|at| whole[at])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_depends_on_salt_group_key_and_what_it_is_of() {
        let (one, two) = (Names::new([1; 32]), Names::new([2; 32]));
        let names = [
            one.group(&[0; 32]),
            one.group(&[1; 32]),
            two.group(&[0; 32]),
            one.value(&[0; 32], &[0; 32]),
            one.value(&[1; 32], &[0; 32]),
            one.value(&[0; 32], &[1; 32]),
            two.value(&[0; 32], &[0; 32]),
        ];
        let different: HashSet<_> = names.iter().map(Name::key).collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(one.group(&[0; 32]), Names::new([1; 32]).group(&[0; 32]));
    }

    #[test]
    fn a_key_is_the_prefix_and_hexadecimal_digits() {
        let mut bytes = [0; Name::BYTES];
        bytes[0] = 0x0f;
        bytes[15] = 0xa0;
        assert_eq!(Name(bytes).key(), "lightbox:0f0000000000000000000000000000a0");
    }
}
