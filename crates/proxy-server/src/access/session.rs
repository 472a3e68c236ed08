//! A cookie by which one study opens in an `<img>` of a page on this server's own site.
//!
//! It holds the credentials that a client showed for it, sealed, for a while: each request that brings it
//! is checked as if it brought these. So it opens what they open and for as long as they do, every node can
//! read it, and nothing is remembered here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use dicomweb_types::Uid;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};
use ring::aead::{Aad, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};

use super::AccessError;
use super::keyring::{Key, Keyring};
use crate::route::Target;
use crate::upstream::Upstream;

const NAME: &str = "lightbox-study";

/// Browsers keep cookies up to 4 096 bytes, attributes included.
const LONGEST: usize = 3800;

/// How cookies are given.
#[derive(Debug)]
pub(super) struct Session {
    ttl: Duration,
    /// Whether they are for TLS only.
    is_secure: bool,
}

/// Whether a request brings one, or something that might be taken for one.
pub(super) fn is_shown(headers: &HeaderMap) -> bool {
    headers.get_all(COOKIE).iter().any(|value| names_ours(value.as_bytes()))
}

/// In whatever spelling.
fn names_ours(cookie: &[u8]) -> bool {
    cookie.windows(NAME.len()).any(|window| window.eq_ignore_ascii_case(NAME.as_bytes()))
}

impl Session {
    pub(super) fn new(ttl: Duration, is_secure: bool) -> Self {
        Self { ttl, is_secure }
    }

    /// The `Set-Cookie` for a study and the credentials of a request.
    pub(super) fn cookie(
        &self,
        keys: &Keyring,
        upstream: &Upstream,
        study: &Uid,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, AccessError> {
        let key = keys.first().ok_or(AccessError::NoSessions)?;
        let credentials = headers.get(AUTHORIZATION).ok_or(AccessError::NothingToKeep)?;
        let expires = SystemTime::now() + self.ttl;
        let sealed = seal(key, &bound_to(upstream, study), credentials.as_bytes(), expires)?;
        if sealed.len() > LONGEST {
            return Err(AccessError::TooLong);
        }
        let base = upstream.base_path.as_str();
        let secure = if self.is_secure { "; Secure" } else { "" };
        let cookie = format!(
            "{NAME}={sealed}; Path={base}/studies/{study}; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
            self.ttl.as_secs()
        );
        HeaderValue::from_str(&cookie).map_err(|_| AccessError::TooLong)
    }

    /// Takes our cookies off a request and, where one is for what is asked for, puts its credentials in
    /// their place; the study, if it did.
    pub(super) fn take_off(
        &self,
        keys: &Keyring,
        upstream: &Upstream,
        target: &Target,
        headers: &mut HeaderMap,
    ) -> Option<Uid> {
        if !is_shown(headers) {
            return None;
        }
        let ours = split_off(headers);
        // Who shows both means what he shows himself.
        if headers.contains_key(AUTHORIZATION) {
            return None;
        }
        let study = study_of(target)?;
        let bound = bound_to(upstream, &study);
        let now = SystemTime::now();
        let credentials = ours.iter().find_map(|sealed| open(keys, &bound, sealed, now))?;
        let mut value = HeaderValue::from_bytes(&credentials).ok()?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Some(study)
    }
}

/// The study that a target lies in.
fn study_of(target: &Target) -> Option<Uid> {
    match target {
        Target::Rendering(resource) => Some(resource.scope.study().clone()),
        // A cookie makes no other that lasts longer.
        Target::Session(_) => None,
        Target::PassThrough(below) => {
            let rest = below.strip_prefix("/studies/")?;
            rest.split('/').next()?.parse().ok()
        }
    }
}

/// What a cookie is for: it opens nothing else.
fn bound_to(upstream: &Upstream, study: &Uid) -> Vec<u8> {
    [b"lightbox session 1".as_slice(), &upstream.realm.groups(study).index].concat()
}

/// Takes our cookies out of the headers, and whatever an archive might take for one. The others stay.
fn split_off(headers: &mut HeaderMap) -> Vec<String> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for value in headers.get_all(COOKIE) {
        let mut rest: Vec<&[u8]> = Vec::new();
        for pair in value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii) {
            let own = pair.strip_prefix(NAME.as_bytes()).and_then(|own| own.strip_prefix(b"="));
            match own.map(std::str::from_utf8) {
                Some(Ok(sealed)) => ours.push(sealed.to_owned()),
                _ if pair.is_empty() || names_ours(pair) => {}
                _ => rest.push(pair),
            }
        }
        if let (false, Ok(mut value)) =
            (rest.is_empty(), HeaderValue::from_bytes(&rest.join(&b"; "[..])))
        {
            value.set_sensitive(true);
            others.push(value);
        }
    }
    headers.remove(COOKIE);
    for value in others {
        headers.append(COOKIE, value);
    }
    ours
}

/// `key id . base64(nonce, sealed(expiry, credentials))`.
fn seal(
    key: &Key,
    bound: &[u8],
    credentials: &[u8],
    expires: SystemTime,
) -> Result<String, AccessError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| AccessError::NoSessions)?;
    let expires = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut sealed = [&expires.to_be_bytes()[..], credentials].concat();
    key.sealing
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound),
            &mut sealed,
        )
        .map_err(|_| AccessError::TooLong)?;
    Ok(format!("{}.{}", key.id, BASE64.encode([&nonce[..], &sealed].concat())))
}

fn open(keys: &Keyring, bound: &[u8], cookie: &str, now: SystemTime) -> Option<Vec<u8>> {
    let (id, sealed) = cookie.rsplit_once('.')?;
    let key = keys.of(id)?;
    let bytes = BASE64.decode(sealed).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key.sealing.open_in_place(nonce, Aad::from(bound), &mut sealed).ok()?;
    let (expires, credentials) = opened.split_first_chunk::<8>()?;
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*expires)))?;
    (now < expires).then(|| credentials.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keyring {
        Keyring::of_secrets(&[
            ("b", "abcdefghijabcdefghijabcdefghijabcdefghij"),
            ("a.1", "0123456789012345678901234567890123456789"),
        ])
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_sealed_opens_for_its_study_until_it_expires() {
        let keys = keys();
        for id in ["b", "a.1"] {
            let cookie = seal(keys.of(id).unwrap(), b"study", b"Bearer x", at(100)).unwrap();
            assert!(!cookie.contains("Bearer"));
            assert_eq!(open(&keys, b"study", &cookie, at(99)).as_deref(), Some(&b"Bearer x"[..]));
            assert_eq!(open(&keys, b"study", &cookie, at(100)), None);
            assert_eq!(open(&keys, b"other", &cookie, at(1)), None);
            for byte in 0..cookie.len() {
                let mut other = cookie.clone().into_bytes();
                other[byte] ^= 1;
                let other = String::from_utf8(other).unwrap();
                assert_eq!(open(&keys, b"study", &other, at(1)), None, "{byte}");
            }
        }
    }

    #[test]
    fn other_cookies_stay_and_what_may_be_ours_does_not() {
        let mut headers = HeaderMap::new();
        for value in [
            &b"a=1; lightbox-study=x.y; b=2"[..],
            b"lightbox-study=z",
            b"c=3, lightbox-study=v",
            b"lightbox-study =v; d=4",
            b"\"lightbox-study\"=v;LIGHTBOX-STUDY=v",
            b"\xc3\xa4=1; lightbox-study=w",
        ] {
            headers.append(COOKIE, HeaderValue::from_bytes(value).unwrap());
        }
        assert!(is_shown(&headers));
        assert_eq!(split_off(&mut headers), ["x.y", "z", "w"]);
        let left: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(left, [&b"a=1; b=2"[..], b"d=4", b"\xc3\xa4=1"]);
        assert!(!is_shown(&headers));
    }
}
