//! One call in a form of one's choice, and what came of it: for diagnosis.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dicomweb_types::TransferSyntax;
use http::HeaderMap;

use crate::answer::Answer;
use crate::body::{content_type, first_part};
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;
use crate::frames::syntax;

/// The most that is read of one answer.
const MOST_BYTES: u64 = 256 << 20;

/// A call, and what came of it.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The form of `Accept`.
    pub accept: &'static str,
    /// Until the answer was read.
    pub took: Duration,
    /// The answer.
    pub outcome: Result<Seen, UpstreamError>,
}

/// A success.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The version of HTTP.
    pub version: http::Version,
    /// `type/subtype` of the part, or of an answer without parts.
    pub media_type: Option<String>,
    /// What the archive says the bytes are.
    pub transfer_syntax: Option<TransferSyntax>,
    /// The text, or the first part.
    pub body: Bytes,
}

impl Client {
    /// Asks for `path`, below the base, in the form `accept` of a kind of call. Nothing is repeated or
    /// remembered.
    pub async fn try_form(
        &self,
        call: Call,
        accept: &'static str,
        (path, query): (&str, Option<&str>),
        caller: &Caller,
    ) -> Tried {
        let ask = Ask::new(call, self.join(path, query), caller);
        let began = Instant::now();
        let outcome = match self.get(&ask, accept).await {
            Ok(answer) => seen(answer, call).await,
            Err(error) => Err(error),
        };
        Tried { accept, took: began.elapsed(), outcome }
    }
}

async fn seen(answer: Answer, call: Call) -> Result<Seen, UpstreamError> {
    let (headers, version) = (answer.headers().clone(), answer.version());
    let outer = content_type(&headers);
    let (inner, body) = if call == Call::Json {
        (outer.clone(), answer.into_text(MOST_BYTES).await?)
    } else {
        let part = first_part(answer, MOST_BYTES, |range| range.main != "text").await?;
        (part.headers.content_type, part.body)
    };
    let transfer_syntax = inner.as_ref().and_then(syntax).or(outer.as_ref().and_then(syntax));
    Ok(Seen { headers, version, media_type: inner.map(|r| r.essence()), transfer_syntax, body })
}
