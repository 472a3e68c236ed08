//! On whose behalf we fetch.

use std::fmt;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::Urgency;

/// The caller's `Authorization` and `Cookie`, forwarded with every fetch to the upstream's own
/// origin. `Debug` prints nothing of them.
#[derive(Clone, Default)]
pub struct Caller {
    credentials: Vec<(HeaderName, HeaderValue)>,
    urgency: Urgency,
}

impl Caller {
    /// A caller without credentials.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Takes every `Authorization` and `Cookie` of a request, and nothing else.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut credentials = Vec::new();
        for name in [AUTHORIZATION, COOKIE] {
            for value in headers.get_all(&name) {
                let mut value = value.clone();
                // Keeps it out of debug output and of HTTP/2 header compression tables.
                value.set_sensitive(true);
                credentials.push((name.clone(), value));
            }
        }
        Self { credentials, urgency: Urgency::default() }
    }

    /// The same, of calls that somebody waits for, or nobody does.
    pub fn with_urgency(self, urgency: Urgency) -> Self {
        Self { urgency, ..self }
    }

    /// Whether somebody waits for them.
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Whether there are no credentials at all.
    pub fn is_anonymous(&self) -> bool {
        self.credentials.is_empty()
    }

    /// Adds them to the headers of a request for the archive.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.credentials {
            headers.append(name.clone(), value.clone());
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_anonymous() { "Caller(anonymous)" } else { "Caller(..)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_and_nothing_else() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.insert(http::header::ORIGIN, HeaderValue::from_static("http://viewer"));
        let mut sent = HeaderMap::new();
        Caller::from_headers(&headers).add_to(&mut sent);
        assert_eq!(sent.len(), 3);
        assert_eq!(sent[AUTHORIZATION], "Bearer secret");
        assert_eq!(sent.get_all(COOKIE).iter().count(), 2);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
        let caller = Caller::from_headers(&headers);
        assert!(!caller.is_anonymous() && Caller::anonymous().is_anonymous());
        assert_eq!(format!("{caller:?}"), "Caller(..)");
    }
}
