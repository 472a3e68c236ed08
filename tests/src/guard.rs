//! Whom an archive shows what: told by `Authorization` alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use http::header::AUTHORIZATION;

use crate::Received;

/// What an archive knows of credentials; shared by its clones. Who shows none is told 401, who shows some
/// that nobody knows 403, and what is not theirs is not there: 404, and no search finds it.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Mutex<HashMap<String, Sees>>>);

/// What somebody is shown.
#[derive(Clone, Debug)]
pub(crate) enum Sees {
    All,
    /// Studies by their UIDs.
    Studies(BTreeSet<String>),
    /// Nothing any more: these credentials were good once.
    Expired,
}

impl Guard {
    /// Shows everything to this `Authorization`; to nobody's credentials for the empty text.
    pub fn allow_all(&self, authorization: &str) {
        self.set(authorization, Sees::All);
    }

    /// Shows these studies, and no others, to this `Authorization`; none for none.
    pub fn allow(&self, authorization: &str, studies: &[String]) {
        self.set(authorization, Sees::Studies(studies.iter().cloned().collect()));
    }

    /// Answers 401 to this `Authorization` from now on.
    pub fn expire(&self, authorization: &str) {
        self.set(authorization, Sees::Expired);
    }

    fn set(&self, authorization: &str, sees: Sees) {
        self.0.lock().unwrap().insert(authorization.to_owned(), sees);
    }

    /// What this call is shown, or the status by which it is refused. Of two headers the first counts.
    pub(crate) fn admit(&self, call: &Received) -> Result<Sees, StatusCode> {
        let shown = call.header(AUTHORIZATION.as_str());
        let sees = match self.0.lock().unwrap().get(shown) {
            Some(Sees::Expired) => return Err(StatusCode::UNAUTHORIZED),
            None if shown.is_empty() => return Err(StatusCode::UNAUTHORIZED),
            None => return Err(StatusCode::FORBIDDEN),
            Some(sees) => sees.clone(),
        };
        match (&sees, study_of(&call.path)) {
            (Sees::Studies(studies), Some(study)) if !studies.contains(study) => {
                Err(StatusCode::NOT_FOUND)
            }
            (_, Some(_)) => Ok(Sees::All),
            (_, None) => Ok(sees),
        }
    }
}

impl Sees {
    /// What is shown of what a search has found.
    pub(crate) fn of_found(&self, found: &Bytes) -> Option<Bytes> {
        let Self::Studies(studies) = self else { return None };
        let mut list: Vec<serde_json::Value> = serde_json::from_slice(found).ok()?;
        list.retain(|one| {
            one["0020000D"]["Value"][0].as_str().is_some_and(|s| studies.contains(s))
        });
        Some(serde_json::Value::from(list).to_string().into())
    }
}

/// The study that a path lies in; `None` for a search across studies.
fn study_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/studies/")?;
    rest.split('/').next().filter(|study| !study.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn call(path: &str, authorization: &str) -> Received {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        let path = path.to_owned();
        Received {
            method: Method::GET,
            path,
            query: None,
            headers,
            body: Bytes::new(),
            body_length: 0,
        }
    }

    #[test]
    fn who_is_not_shown_something_is_told_so_by_a_status() {
        let guard = Guard::default();
        guard.allow("Bearer a", &["1.2".to_owned()]);
        guard.allow("Bearer old", &["1.2".to_owned()]);
        guard.expire("Bearer old");
        let status = |path: &str, who: &str| {
            guard.admit(&call(path, who)).err().map_or(200, |status| status.as_u16())
        };
        assert_eq!(status("/studies/1.2/metadata", "Bearer a"), 200);
        assert_eq!(status("/studies/1.2.3/metadata", "Bearer a"), 404);
        assert_eq!(status("/studies", "Bearer a"), 200);
        assert_eq!(status("/studies/1.2", ""), 401);
        assert_eq!(status("/studies/1.2", "Bearer old"), 401);
        assert_eq!(status("/studies/1.2", "Bearer b"), 403);
    }

    #[test]
    fn a_search_finds_what_is_theirs() {
        let found =
            r#"[{"0020000D":{"vr":"UI","Value":["1.2"]}},{"0020000D":{"vr":"UI","Value":["3"]}}]"#;
        let left = Sees::Studies(["1.2".to_owned()].into()).of_found(&Bytes::from(found)).unwrap();
        assert!(left.starts_with(b"[{") && !left.windows(3).any(|w| w == b"\"3\""));
        assert!(Sees::All.of_found(&Bytes::from(found)).is_none());
    }
}
