//! The keys by which URLs are signed and cookies are sealed.

use std::sync::Arc;

use ring::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use ring::hmac;
use sha2::{Digest as _, Sha256};

use crate::config::SigningKey;

/// Shorter ones could be guessed.
const LEAST: usize = 32;

/// The keys by name: the first makes, all of them check.
pub(crate) struct Keyring(Vec<Key>);

pub(crate) struct Key {
    pub(crate) id: Arc<str>,
    pub(crate) signing: hmac::Key,
    pub(crate) sealing: LessSafeKey,
}

impl Keyring {
    /// # Errors
    /// A secret that cannot be read, or is too short.
    pub(crate) fn read(keys: &[SigningKey]) -> Result<Self, String> {
        let key = |key: &SigningKey| {
            let SigningKey { id, secret } = key;
            let secret = secret.read().map_err(|error| format!("signing_keys: {id}: {error}"))?;
            Key::new(id, secret.reveal().as_bytes()).map_err(|e| format!("signing_keys: {id}: {e}"))
        };
        keys.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The one that is used from now on.
    pub(crate) fn first(&self) -> Option<&Key> {
        self.0.first()
    }

    pub(crate) fn of(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| *key.id == *id)
    }
}

impl Key {
    fn new(id: &str, secret: &[u8]) -> Result<Self, String> {
        if secret.len() < LEAST {
            return Err(format!("the secret must have at least {LEAST} characters"));
        }
        // One secret, two uses: a key for each.
        let derived =
            |purpose: &[u8]| Sha256::new().chain_update(purpose).chain_update(secret).finalize();
        let sealing = UnboundKey::new(&CHACHA20_POLY1305, &derived(b"lightbox sealing key 1"));
        Ok(Self {
            id: id.into(),
            signing: hmac::Key::new(hmac::HMAC_SHA256, &derived(b"lightbox signing key 1")),
            sealing: LessSafeKey::new(sealing.map_err(|_| "the key cannot be made".to_owned())?),
        })
    }
}

#[cfg(test)]
impl Keyring {
    pub(crate) fn of_secrets(keys: &[(&str, &str)]) -> Self {
        Self(keys.iter().map(|(id, secret)| Key::new(id, secret.as_bytes()).unwrap()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_refused_and_is_not_shown() {
        let error = Key::new("a", b"shortsecret").err().unwrap();
        assert!(error.contains("32") && !error.contains("shortsecret"), "{error}");
    }
}
