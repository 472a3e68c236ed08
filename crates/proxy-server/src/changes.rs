//! What passes through may change studies: what is kept of these is then no longer to be trusted.
//!
//! A successful DELETE of a study, or of something in it, drops all of it. Anything else that is sent to
//! a study and succeeds has the archive asked anew. Storing without naming a study is known by the answer,
//! which says where the objects are to be had from (PS3.18 §10.5.3).

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dicomweb_types::Uid;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame};

use crate::access::Visitor;
use crate::app::App;
use crate::upstream::Upstream;

/// What a request that succeeded changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Nothing,
    /// Something of a study is gone.
    Gone(Uid),
    /// Something of a study is new.
    Changed(Uid),
    /// The answer says of which.
    Stored,
}

impl Change {
    /// Of a method on a raw path below the archive's base.
    pub(crate) fn of(method: &Method, below: &str) -> Self {
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
            return Self::Nothing;
        }
        match study_of(below) {
            Some(study) if *method == Method::DELETE => Self::Gone(study),
            Some(study) => Self::Changed(study),
            None if *method == Method::POST => Self::Stored,
            None => Self::Nothing,
        }
    }
}

/// A change that was asked for, of which it is not known yet what came of it. Where that stays so (the client
/// has left, the archive broke off), it may have been made.
pub(crate) struct Unsettled<'a> {
    app: &'a App,
    upstream: &'a Upstream,
    /// Of which study; none once it is known.
    study: Option<&'a Uid>,
    is_removal: bool,
}

impl<'a> Unsettled<'a> {
    pub(crate) fn new(app: &'a App, upstream: &'a Upstream, change: &'a Change) -> Self {
        let study = match change {
            Change::Gone(study) | Change::Changed(study) => Some(study),
            Change::Stored | Change::Nothing => None,
        };
        Self { app, upstream, study, is_removal: matches!(change, Change::Gone(_)) }
    }

    /// The archive has answered.
    pub(crate) fn settle(mut self, status: StatusCode) {
        // One that fails, or stands before the archive, may have done it all the same.
        if status.is_server_error() {
            return;
        }
        let study = self.study.take();
        let is_gone_already = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        if let Some(study) = study.filter(|_| self.is_removal && is_gone_already) {
            self.app.cache.distrust(&self.upstream.realm.groups(study));
        }
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(study) = self.study {
            self.app.cache.distrust(&self.upstream.realm.groups(study));
        }
    }
}

/// The study that a path begins with.
pub(crate) fn study_of(below: &str) -> Option<Uid> {
    let path = percent_encoding::percent_decode_str(below).decode_utf8().ok()?;
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let is_study = segments.next()? == "studies";
    segments.next().filter(|_| is_study)?.parse().ok()
}

/// Longer answers to storing are read up to here: a study that is named only after that is found out
/// when what is kept of it is too old.
const LONGEST: usize = 4 << 20;

/// A body of an answer to storing, read as it passes.
pub(crate) struct Stored<B> {
    body: B,
    kept: Vec<u8>,
    app: Arc<App>,
    upstream: Arc<Upstream>,
    visitor: Visitor,
}

impl<B> Stored<B> {
    /// Of an answer to a client.
    pub(crate) fn new(body: B, app: Arc<App>, upstream: Arc<Upstream>, visitor: Visitor) -> Self {
        Self { body, kept: Vec::new(), app, upstream, visitor }
    }

    fn ended(&mut self) {
        for study in studies_in(&std::mem::take(&mut self.kept)) {
            self.app.has_changed(&self.upstream, &study, self.visitor.clone());
        }
    }
}

/// The studies that an answer names in its URLs, JSON or XML.
fn studies_in(answer: &[u8]) -> BTreeSet<Uid> {
    let text = String::from_utf8_lossy(answer).replace("\\/", "/");
    let after = text.split("/studies/").skip(1);
    let uids = after.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].parse().ok()
    });
    uids.collect()
}

impl<B> Drop for Stored<B> {
    /// Also where the client has left before the end.
    fn drop(&mut self) {
        self.ended();
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Stored<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(data)) = frame.as_ref().map(|f| f.as_ref().map(Frame::data_ref))
            && let Some(data) = data
        {
            let room = LONGEST - self.kept.len();
            self.kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        // Before the client has the last of it, since it may ask at once for what it has stored; and also
        // where the answer broke off.
        if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_the_study_in_the_path() {
        let uid = || "1.2.3".parse().unwrap();
        let of = |method: Method, path| Change::of(&method, path);
        assert_eq!(of(Method::GET, "/studies/1.2.3"), Change::Nothing);
        assert_eq!(of(Method::POST, "/studies"), Change::Stored);
        assert_eq!(of(Method::POST, "/studies/1.2.3"), Change::Changed(uid()));
        assert_eq!(of(Method::PUT, "/studies/1.2.3/series/1/metadata"), Change::Changed(uid()));
        assert_eq!(of(Method::DELETE, "/studies/1%2E2.3/series/4"), Change::Gone(uid()));
        assert_eq!(of(Method::DELETE, "/workitems/1.2.3"), Change::Nothing);
        assert_eq!(of(Method::POST, "//studies//1.2.3/reject/1%5E2"), Change::Changed(uid()));
    }

    #[test]
    fn an_answer_to_storing_names_its_studies() {
        let json = br#"{"00081190":{"vr":"UR","Value":["http:\/\/a\/rs\/studies\/1.2.3"]},
            "00081199":{"Value":[{"00081190":{"Value":["http://a/studies/1.2.4/series/1/instances/2"]}}]}}"#;
        let studies: Vec<String> = studies_in(json).into_iter().map(|u| u.to_string()).collect();
        assert_eq!(studies, ["1.2.3", "1.2.4"]);
        assert_eq!(studies_in(b"<Value>http://a/studies/1.2.3</Value>").len(), 1);
        assert!(studies_in(b"/studies/x /studies/ \xff").is_empty());
    }
}
