//! The head of a request: how large it may be, and one spelling of its cookies.
//!
//! hyper's own limits lie above these and end a connection with a bare status; these say what is wrong.

use http::header::{COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Version};

use crate::body::Body;
use crate::error::ServerError;
use crate::respond;

/// The longest target: path and query.
const LONGEST_TARGET: usize = 16 << 10;

/// The most fields. hyper takes as many over HTTP/1.1.
const MOST_FIELDS: usize = 100;

/// The most bytes of all fields together, counted as HTTP/2 does (RFC 9113 §6.5.2).
pub(crate) const LARGEST: usize = 32 << 10;

/// What HTTP/2 counts for each field beside its name and value.
const OVERHEAD: usize = 32;

/// Why the head of a request is not read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the path and the query are longer than {LONGEST_TARGET} bytes together")]
    Target,
    #[error("there are more than {MOST_FIELDS} header fields")]
    Fields,
    #[error("the header fields are larger than {LARGEST} bytes together")]
    Size,
    #[error("a request says once for which host it is (Host, RFC 9112 §3.2)")]
    Host,
    #[error("a body is sent as it is or in chunks, and in no other transfer coding")]
    Coding,
}

/// The answer to a request whose head is too large.
pub(crate) fn refusal<B>(request: &Request<B>) -> Option<http::Response<Body>> {
    check(request).err().map(|error| respond::failure(&ServerError::Head(error)))
}

fn check<B>(request: &Request<B>) -> Result<(), HeadError> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > LONGEST_TARGET {
        return Err(HeadError::Target);
    }
    let headers = request.headers();
    if headers.len() > MOST_FIELDS {
        return Err(HeadError::Fields);
    }
    let size = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + OVERHEAD
    };
    if headers.iter().map(size).sum::<usize>() > LARGEST {
        return Err(HeadError::Size);
    }
    let is_named_once = match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => headers.get_all(HOST).iter().count() <= 1,
        Version::HTTP_11 => headers.get_all(HOST).iter().count() == 1,
        // By the target (`:authority`), and by `Host` if it likes.
        _ => true,
    };
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let names = [headers.get(HOST).map(HeaderValue::as_bytes), authority];
    if !is_named_once || !names.into_iter().flatten().all(is_host) {
        return Err(HeadError::Host);
    }
    // What other servers on the way might read otherwise.
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !headers.get_all(TRANSFER_ENCODING).iter().all(is_chunked) {
        return Err(HeadError::Coding);
    }
    Ok(())
}

/// Letters, digits, and what stands in addresses and before ports: it goes into fields in which `;`, `,` and `=`
/// mean something.
fn is_host(name: &[u8]) -> bool {
    name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(b))
}

/// Browsers split their cookies into fields over HTTP/2; a server that speaks HTTP/1.1 is to see one (RFC 9113
/// §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let fields: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if fields.len() < 2 {
        return;
    }
    // Joined values of fields are one.
    if let Ok(mut joined) = HeaderValue::from_bytes(&fields.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_once_and_bodies_come_plainly() {
        let of = |version: Version, fields: &[(&str, &str)]| {
            let request = Request::builder().version(version);
            let request = fields.iter().fold(request, |r, (name, value)| r.header(*name, *value));
            check(&request.body(()).unwrap())
        };
        let host = ("host", "images.example:8080");
        for fields in
            [&[host][..], &[("host", "[::1]:80")], &[host, ("transfer-encoding", "Chunked")]]
        {
            assert_eq!(of(Version::HTTP_11, fields), Ok(()), "{fields:?}");
        }
        assert_eq!(of(Version::HTTP_10, &[]), Ok(()));
        assert_eq!(of(Version::HTTP_2, &[]), Ok(()));
        for fields in [&[][..], &[host, host], &[("host", "a b/")], &[("host", "me@there")]] {
            assert_eq!(of(Version::HTTP_11, fields), Err(HeadError::Host), "{fields:?}");
        }
        for coding in ["gzip, chunked", "chunked, chunked", "identity", ""] {
            let fields = [host, ("transfer-encoding", coding)];
            assert_eq!(of(Version::HTTP_11, &fields), Err(HeadError::Coding), "{coding}");
        }
    }

    #[test]
    fn whoever_is_named_by_the_target_is_looked_at_too() {
        let of = |target: &str| {
            check(&Request::builder().uri(target).version(Version::HTTP_2).body(()).unwrap())
        };
        assert_eq!(of("http://images.example:80/studies"), Ok(()));
        for authority in ["u:p@evil.example", "a;proto=https", "a,b"] {
            assert_eq!(of(&format!("http://{authority}/studies")), Err(HeadError::Host));
        }
    }

    #[test]
    fn cookies_become_one_field() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for cookie in ["a=1", "b=\"2\"; c", "d=3"] {
            headers.append(COOKIE, cookie.parse().unwrap());
            headers.append("x", cookie.parse().unwrap());
        }
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=\"2\"; c; d=3"]);
        assert_eq!(headers.get_all("x").iter().count(), 3);
    }

    #[test]
    fn each_limit_is_the_last_that_passes() {
        let of = |target: usize, fields: usize, size: usize| {
            let request = Request::builder().uri(format!("/{}", "a".repeat(target - 1)));
            let mut request = request.version(Version::HTTP_2);
            for n in 0..fields {
                request = request.header(format!("x-{n:03}"), "v".repeat(size));
            }
            check(&request.body(()).unwrap())
        };
        assert_eq!(of(LONGEST_TARGET, 1, 1), Ok(()));
        assert_eq!(of(LONGEST_TARGET + 1, 1, 1), Err(HeadError::Target));
        assert_eq!(of(1, MOST_FIELDS, 1), Ok(()));
        assert_eq!(of(1, MOST_FIELDS + 1, 1), Err(HeadError::Fields));
        let value = LARGEST - OVERHEAD - "x-000".len();
        assert_eq!(of(1, 1, value), Ok(()));
        assert_eq!(of(1, 1, value + 1), Err(HeadError::Size));
    }
}
