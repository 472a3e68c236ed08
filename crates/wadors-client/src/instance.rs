//! Whole objects (PS3.18 §10.4.1.1.1).

use bytes::Bytes;
use dicomweb_types::{InstancePath, MediaRange};

use crate::answer::Answer;
use crate::body::first_part;
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;
use crate::revalidate::Validator;

/// How large an instance may be before metadata and one frame are the better way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeLimit {
    /// As large as the client takes at all ([`ClientConfig::max_bytes`](crate::ClientConfig)).
    None,
    /// At most so many bytes of body, a little more than the file.
    Bytes(u64),
}

/// A whole instance, or that it is too large to be worth it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InstanceAnswer {
    /// The DICOM file (PS3.10), as the archive sent it, and by what the archive knows it again.
    Whole(Bytes, Option<Validator>),
    /// More than this many bytes, which was the [`SizeLimit`]. What was on its way is abandoned.
    LargerThan(u64),
}

impl Client {
    /// Fetches the whole object in the transfer syntax it is stored in.
    ///
    /// Reading stops as soon as the declared length, or what has come, exceeds `size`.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`].
    pub async fn instance(
        &self,
        path: &InstancePath,
        caller: &Caller,
        size: SizeLimit,
    ) -> Result<InstanceAnswer, UpstreamError> {
        let limit = match size {
            SizeLimit::None => self.max_bytes(),
            SizeLimit::Bytes(bytes) => bytes.min(self.max_bytes()),
        };
        let ask = Ask::new(Call::Instance, self.instance_url(path, ""), caller);
        let read = |answer: Answer| async move {
            let validator = Validator::of(answer.headers());
            Ok((first_part(answer, limit, is_dicom).await?, validator))
        };
        match self.ask(&ask, read).await {
            Ok((part, validator)) => Ok(InstanceAnswer::Whole(part.body, validator)),
            Err(UpstreamError::TooLarge { limit }) if size == SizeLimit::Bytes(limit) => {
                Ok(InstanceAnswer::LargerThan(limit))
            }
            Err(other) => Err(other),
        }
    }
}

/// What a single part that is no multipart may be; some archives answer so for one instance.
fn is_dicom(range: &MediaRange) -> bool {
    range.is("application/dicom") || range.is("application/octet-stream")
}
