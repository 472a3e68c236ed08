//! Users with passwords, as `htpasswd -B` writes them: a file of `name:bcrypt` lines, read again whenever it
//! has changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;

use super::credential::Credential;
use super::verified::Verified;
use super::{AccessError, Who};
use crate::cache::Digest;
use crate::flight::{Died, Flights};

/// bcrypt is slow by design: more at once would leave nothing for pictures.
const AT_ONCE: usize = 2;

/// So many may wait for that.
const WAITING: usize = 32;

/// bcrypt reads no more of a password.
const LONGEST: usize = 72;

pub(super) struct Users {
    file: PathBuf,
    read: Mutex<Read>,
    verified: Verified<Arc<str>>,
    turns: Arc<Semaphore>,
    /// Places of those that are checked or wait for it.
    places: Arc<Semaphore>,
    /// One password is checked once for all requests that show it at the same time.
    checks: Flights<Digest, Checked>,
}

/// What came of a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checked {
    Fits,
    Wrong,
    Busy,
}

struct Read {
    users: Arc<HashMap<String, String>>,
    changed: Option<(SystemTime, u64)>,
}

impl Users {
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(super) fn open(file: PathBuf, remembered: Duration) -> Result<Self, String> {
        let users = Arc::new(read(&file)?);
        let read = Mutex::new(Read { users, changed: version(&file) });
        Ok(Self {
            file,
            read,
            verified: Verified::new(remembered),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            checks: Flights::default(),
        })
    }

    /// Who was verified a moment ago.
    pub(super) fn at_hand(&self, headers: &HeaderMap) -> Option<Who> {
        Some(Who::Named(self.verified.get(&Credential::of_authorization(headers))?))
    }

    pub(super) async fn verify(&self, headers: &HeaderMap) -> Result<Who, AccessError> {
        if let Some(who) = self.at_hand(headers) {
            return Ok(who);
        }
        let (name, password) = said(headers).ok_or(AccessError::Password)?;
        let users = self.current();
        let is_there = users.contains_key(&name);
        // A name that is not there takes as long as one that is.
        let hash = users.get(&name).or_else(|| costliest(&users)).ok_or(AccessError::Password)?;
        let (hash, turns, places) = (hash.clone(), self.turns.clone(), self.places.clone());
        let credential = Credential::of_authorization(headers);
        let check = move || check(password, hash, turns, places);
        match self.checks.share(*credential.digest(), check).await.map(|landed| landed.value) {
            Ok(Checked::Fits) if is_there => {
                let name: Arc<str> = name.into();
                self.verified.keep(credential, name.clone(), None);
                Ok(Who::Named(name))
            }
            Ok(Checked::Busy) => Err(AccessError::Busy),
            Ok(Checked::Fits | Checked::Wrong) | Err(Died) => Err(AccessError::Password),
        }
    }

    /// The users of the file as it is now: nobody where it cannot be read, none of a line that is not one.
    fn current(&self) -> Arc<HashMap<String, String>> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = version(&self.file);
        if now != last.changed {
            let (users, error) = read_what_can_be(&self.file);
            if let Some(error) = error {
                tracing::error!(%error, "access_users: not all of it can be read");
            }
            *last = Read { users: Arc::new(users), changed: now };
        }
        last.users.clone()
    }
}

async fn check(
    password: String,
    hash: String,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
) -> Checked {
    let Ok(place) = places.try_acquire_owned() else { return Checked::Busy };
    let Ok(turn) = turns.acquire_owned().await else { return Checked::Busy };
    let fits = tokio::task::spawn_blocking(move || {
        // To its end, whoever goes away: it works on all the same.
        let _held = (place, turn);
        bcrypt::verify(password, &hash).unwrap_or(false)
    });
    if fits.await.unwrap_or(false) { Checked::Fits } else { Checked::Wrong }
}

fn version(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(file: &Path) -> Result<HashMap<String, String>, String> {
    let (users, error) = read_what_can_be(file);
    error.map_or(Ok(users), Err)
}

/// The users that are there, and what is wrong with the rest.
fn read_what_can_be(file: &Path) -> (HashMap<String, String>, Option<String>) {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return (HashMap::new(), Some(error.to_string())),
    };
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut users, mut error) = (HashMap::new(), None);
    for line in lines {
        match line.split_once(':') {
            Some((name, hash)) if is_bcrypt(hash) && !name.is_empty() => {
                users.insert(name.to_owned(), hash.to_owned());
            }
            _ => error = Some(NO_USERS.to_owned()),
        }
    }
    (users, error)
}

const NO_USERS: &str =
    "must hold lines NAME:HASH with hashes of bcrypt, as htpasswd -B writes them";

/// The hash that takes longest to check: `$2y$COST$…`.
fn costliest(users: &HashMap<String, String>) -> Option<&String> {
    users.values().max_by_key(|hash| hash[4..6].to_owned())
}

fn is_bcrypt(hash: &str) -> bool {
    let has_kind = ["$2y$", "$2b$", "$2a$"].iter().any(|kind| hash.starts_with(kind));
    hash.is_ascii() && hash.len() == 60 && has_kind
}

/// `Basic` (RFC 7617).
fn said(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':').filter(|(_, p)| p.len() <= LONGEST)?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(user: &str, password: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn who_knows_the_password_is_let_in_and_the_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let line =
            |name: &str, password: &str| format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap());
        std::fs::write(&file, format!("# ours\n\n{}", line("eva", "päss:word"))).unwrap();
        let users = Users::open(file.clone(), Duration::from_secs(60)).unwrap();
        assert!(users.at_hand(&shown("eva", "päss:word")).is_none());
        let eva = users.verify(&shown("eva", "päss:word")).await;
        assert_eq!(eva, Ok(Who::Named("eva".into())));
        assert!(users.at_hand(&shown("eva", "päss:word")).is_some());
        for (name, password) in [("eva", "x"), ("eva", ""), ("adam", "päss:word"), ("", "")] {
            assert_eq!(users.verify(&shown(name, password)).await, Err(AccessError::Password));
        }
        assert_eq!(users.verify(&HeaderMap::new()).await, Err(AccessError::Password));
        let long = format!("{}x", "a".repeat(LONGEST));
        std::fs::write(&file, line("eva", &long[..LONGEST])).unwrap();
        assert!(users.verify(&shown("eva", &long[..LONGEST])).await.is_ok());
        assert_eq!(users.verify(&shown("eva", &long)).await, Err(AccessError::Password));
        std::fs::write(&file, line("adam", "another one")).unwrap();
        assert!(users.verify(&shown("adam", "another one")).await.is_ok());
        // A line that is none takes nobody along, and lets nobody stay who is no longer there.
        std::fs::write(&file, format!("nonsense\n{}", line("lea", "new"))).unwrap();
        assert!(users.verify(&shown("lea", "new")).await.is_ok());
        assert!(!users.current().contains_key("adam"));
        std::fs::remove_file(&file).unwrap();
        assert!(users.current().is_empty());
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        for text in ["eva:secret", "eva", ":$2y$05$x", "eva:{SHA}xyz"] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err();
            assert!(error.contains("htpasswd -B") && !error.contains("secret"), "{error}");
        }
        assert!(Users::open(dir.path().join("none"), Duration::ZERO).is_err());
    }
}
