//! What is kept outside of memory is described in words that only who can name it can read.
//!
//! Descriptions hold UIDs. The key of each is made of the place's own hashes, which are over the study's
//! UID and are nowhere outside: stores name things by salted hashes of them. So a copy of a cache
//! directory, or of Redis, tells nobody which studies there are who does not know their UIDs already.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::key::Place;

/// `None` where the system gives no random numbers: then nothing is kept.
pub(super) fn seal(place: &Place, mut description: Vec<u8>) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let unique = Nonce::assume_unique_for_key(nonce);
    key(place)?.seal_in_place_append_tag(unique, Aad::empty(), &mut description).ok()?;
    Some([&nonce[..], &description].concat())
}

/// Undoes it; `None` of anything else.
pub(super) fn open(place: &Place, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key(place)?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

fn key(place: &Place) -> Option<LessSafeKey> {
    let hash = Sha256::new().chain_update(b"seal").chain_update(place.group);
    let key = hash.chain_update(place.key).finalize();
    Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let place = Place { group: [1; 32], key: [2; 32] };
        let sealed = seal(&place, b"1.2.840.1".to_vec()).unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"1.2.840.1"));
        assert_ne!(sealed, seal(&place, b"1.2.840.1".to_vec()).unwrap());
        assert_eq!(open(&place, &sealed).as_deref(), Some(&b"1.2.840.1"[..]));
        assert_eq!(open(&Place { key: [3; 32], ..place }, &sealed), None);
        for length in 0..sealed.len() {
            assert_eq!(open(&place, &sealed[..length]), None);
        }
    }
}
