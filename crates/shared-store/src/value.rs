//! How a value is stored: behind a header that says whose it is.
//!
//! | bytes | |
//! |---|---|
//! | 0–2   | `LBX` |
//! | 3     | version, 1 |
//! | 4–7   | length of the value in bytes, big-endian |
//! | 8–23  | first 128 bits of SHA-256 over the name and the value |
//!
//! What another program wrote under our names, half a value, or the answer to another question is never
//! believed. It is a check against accidents: who may write to Redis may also forge a value.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::names::{Name, truncated};

const MAGIC: [u8; 4] = *b"LBX\x01";

/// Bytes before the value.
pub(crate) const HEADER: usize = MAGIC.len() + LENGTH + CHECKSUM;
const LENGTH: usize = 4;
const CHECKSUM: usize = 16;

/// What a stored value turned out to be.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    Value(Bytes),
    /// Ours, but longer than this node asks for.
    TooLarge,
    /// Nothing that we wrote under this name.
    Damaged,
}

/// The header of a value. Values have less than 4 GiB: `Settings::largest` sees to it.
pub(crate) fn header(name: &Name, value: &[u8]) -> [u8; HEADER] {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes();
    let checksum = checksum(name, value);
    let mut whole = MAGIC.iter().chain(&length).chain(&checksum);
    std::array::from_fn(|_| whole.next().copied().unwrap_or_default())
}

/// The value behind its header, of which at most `largest` bytes were asked for.
pub(crate) fn open(name: &Name, stored: Vec<u8>, largest: usize) -> Opened {
    let stored = Bytes::from(stored);
    let Some((head, value)) = stored.split_first_chunk::<HEADER>() else { return Opened::Damaged };
    let Some(rest) = head.strip_prefix(&MAGIC) else { return Opened::Damaged };
    let Some((length, expected)) = rest.split_first_chunk::<LENGTH>() else {
        return Opened::Damaged;
    };
    match u32::from_be_bytes(*length) as usize {
        length if length > largest => Opened::TooLarge,
        length if length != value.len() || checksum(name, value) != *expected => Opened::Damaged,
        _ => Opened::Value(stored.slice(HEADER..)),
    }
}

fn checksum(name: &Name, value: &[u8]) -> [u8; CHECKSUM] {
    truncated(Sha256::new_with_prefix(name.0).chain_update(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: Name = Name([7; Name::BYTES]);

    fn stored(value: &[u8]) -> Vec<u8> {
        [&header(&NAME, value)[..], value].concat()
    }

    #[test]
    fn another_name_or_a_cut_value_or_none_of_ours_is_damaged() {
        let whole = stored(b"value");
        assert_eq!(open(&Name([8; Name::BYTES]), whole.clone(), 100), Opened::Damaged);
        for length in 0..whole.len() {
            assert_eq!(open(&NAME, whole[..length].to_vec(), 100), Opened::Damaged, "{length}");
        }
        assert_eq!(open(&NAME, [whole, vec![0]].concat(), 100), Opened::Damaged);
        assert_eq!(
            open(&NAME, b"somebody else's notes, of some length".to_vec(), 100),
            Opened::Damaged
        );
    }

    #[test]
    fn a_value_of_a_node_that_keeps_larger_ones_is_no_damage() {
        let whole = stored(&[1; 50]);
        assert_eq!(open(&NAME, whole[..HEADER + 10].to_vec(), 10), Opened::TooLarge);
        assert!(matches!(open(&NAME, whole, 50), Opened::Value(_)));
    }

    proptest! {
        #[test]
        fn what_was_stored_is_opened(value in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open(&NAME, stored(&value), 200), Opened::Value(value.into()));
        }

        #[test]
        fn no_flipped_bit_is_believed(
            value in prop::collection::vec(any::<u8>(), 0..60),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut whole = stored(&value);
            let at = at.index(whole.len());
            whole[at] ^= 1_u8 << bit;
            prop_assert!(!matches!(open(&NAME, whole, 200), Opened::Value(_)));
        }

        #[test]
        fn nothing_makes_it_panic(stored in prop::collection::vec(any::<u8>(), 0..60)) {
            open(&NAME, stored, 10);
        }
    }
}
