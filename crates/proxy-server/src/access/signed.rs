//! URLs that open what they name to whoever has them, until they expire: for `<img>`, which sends no header.
//!
//! `PATH?QUERY&lightbox-expires=SECONDS&lightbox-key=ID&lightbox-signature=HEX`: the signature is the
//! HMAC-SHA-256 of all before `&lightbox-signature=`, byte for byte, and stands last. So it covers the path,
//! each parameter, the key and the time, and nothing can be added, left out or spelled otherwise.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Uri;
use http::request::Parts;
use http::uri::PathAndQuery;
use ring::hmac;

use super::AccessError;
use super::keyring::{Key, Keyring};
use crate::config::Config;

const EXPIRES: &str = "lightbox-expires=";
const KEY: &str = "lightbox-key=";
const SIGNATURE: &str = "lightbox-signature=";

/// Signs a URL, or the path and query of one, with the first of the configured keys.
///
/// # Errors
/// There is no key, or it is no URL.
pub fn sign_url(config: &Config, url: &str, good_for: Duration) -> Result<String, String> {
    let keys = Keyring::read(&config.signing_keys)?;
    let key = keys.first().ok_or("signing_keys: none is configured")?;
    let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
    let target = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    if !target.starts_with('/') {
        return Err(format!("{url:?} has no path"));
    }
    if is_signed(&uri) {
        return Err(format!("{url:?} is signed already"));
    }
    // As it is sent: nobody sends what stands after a #.
    let before = url.split('#').next().unwrap_or(url).strip_suffix(target).unwrap_or_default();
    Ok(format!("{before}{}", sign(key, target, SystemTime::now() + good_for)))
}

/// Signs `target`, the path and query of a URL as it will be asked for, to be good until then.
fn sign(key: &Key, target: &str, expires: SystemTime) -> String {
    let seconds = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mark = if target.contains('?') { '&' } else { '?' };
    let said = format!("{target}{mark}{EXPIRES}{seconds}&{KEY}{}", key.id);
    let signature = hex(hmac::sign(&key.signing, said.as_bytes()).as_ref());
    format!("{said}&{SIGNATURE}{signature}")
}

/// The key by which a request's URL is signed, and the request without its signature. `None` where it is
/// not signed.
///
/// # Errors
/// It is not signed rightly, or was.
pub(super) fn take_off(
    keys: &Keyring,
    request: &mut Parts,
) -> Result<Option<Arc<str>>, AccessError> {
    let target = request.uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    if !is_signed(&request.uri) {
        return Ok(None);
    }
    let (key, plain) = verify(keys, target, SystemTime::now()).ok_or(AccessError::Signature)?;
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(plain.parse().map_err(|_| AccessError::Signature)?);
    request.uri = Uri::from_parts(parts).map_err(|_| AccessError::Signature)?;
    Ok(Some(key))
}

/// Whether a URL says that it is signed, rightly or not.
fn is_signed(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        url::form_urlencoded::parse(query.as_bytes())
            .any(|(name, _)| name.to_ascii_lowercase().starts_with("lightbox-"))
    })
}

/// The key, and the target without what was added to it.
fn verify(keys: &Keyring, target: &str, now: SystemTime) -> Option<(Arc<str>, String)> {
    let (said, signature) = target.rsplit_once(&format!("&{SIGNATURE}"))?;
    let (rest, id) = said.rsplit_once(&format!("&{KEY}"))?;
    let at = rest.rfind(EXPIRES)?;
    let (plain, expires) = (rest.get(..at)?, rest.get(at + EXPIRES.len()..)?);
    let key = keys.of(id)?;
    let tag = hmac::sign(&key.signing, said.as_bytes());
    // As text, in constant time: what is spelled otherwise is another signature.
    if !equals(hex(tag.as_ref()).as_bytes(), signature.as_bytes()) {
        return None;
    }
    // What was signed is ours to read.
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs(expires.parse().ok()?))?;
    let plain = plain.strip_suffix(['?', '&'])?;
    // What is left must not be taken for signed again.
    let is_plain = !is_signed(&plain.parse().ok()?);
    (now < expires && is_plain).then(|| (key.id.clone(), plain.to_owned()))
}

fn equals(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: (&str, &str) = ("old", "0123456789012345678901234567890123456789");
    const NEW: (&str, &str) = ("new", "abcdefghijabcdefghijabcdefghijabcdefghij");

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_signed_is_good_until_it_expires_and_keys_can_be_changed() {
        let keys = Keyring::of_secrets(&[NEW, OLD]);
        for target in
            ["/studies/1.2/thumbnail", "/a/studies/1.2/rendered?viewport=64%2C64&quality=5"]
        {
            for id in ["new", "old"] {
                let signed = sign(keys.of(id).unwrap(), target, at(1000));
                assert_eq!(verify(&keys, &signed, at(999)), Some((id.into(), target.to_owned())));
                assert_eq!(verify(&keys, &signed, at(1000)), None);
            }
            let signed = sign(keys.of("old").unwrap(), target, at(1000));
            assert_eq!(verify(&Keyring::of_secrets(&[NEW]), &signed, at(1)), None);
        }
    }

    #[test]
    fn no_bit_of_it_can_be_another() {
        let keys = Keyring::of_secrets(&[NEW, OLD]);
        let target = "/studies/1.2.3/series/4/thumbnail?viewport=64%2c64";
        let signed = sign(keys.first().unwrap(), target, at(u64::from(u32::MAX)));
        for byte in 0..signed.len() {
            for bit in 0..8 {
                let mut other = signed.clone().into_bytes();
                other[byte] ^= 1 << bit;
                let Ok(other) = String::from_utf8(other) else { continue };
                assert_eq!(verify(&keys, &other, at(1)), None, "{other}");
            }
        }
        for other in [
            format!("{signed}&x=1"),
            format!("{signed}0"),
            signed.replace("lightbox-key", "x=1&lightbox-key"),
            signed.to_uppercase(),
            signed[..signed.len() - 1].to_owned(),
            format!("/x{signed}"),
        ] {
            assert_eq!(verify(&keys, &other, at(1)), None, "{other}");
        }
    }

    #[test]
    fn a_url_that_begins_to_be_signed_is_not_taken_for_a_plain_one() {
        for query in
            ["lightbox-signature=0", "a=1&lightbox-expires=9", "LIGHTBOX-KEY=a", "lightbox%2Dkey=a"]
        {
            assert!(is_signed(&format!("/studies?{query}").parse().unwrap()), "{query}");
        }
        assert!(!is_signed(&"/studies?limit=1".parse().unwrap()));
    }
}
