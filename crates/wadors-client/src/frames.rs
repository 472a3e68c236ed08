//! Single frames (PS3.18 §10.4.1.1.6).

use bytes::Bytes;
use dicomweb_types::{FrameNumber, InstancePath, MediaRange, TransferSyntax, Uid};

use crate::answer::Answer;
use crate::body::{content_type, first_part};
use crate::call::Ask;
use crate::caller::Caller;
use crate::client::Client;
use crate::dialect::Call;
use crate::error::UpstreamError;
use crate::revalidate::Validator;

/// One frame as the archive sent it: native cells or a codestream, its padding kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The payload.
    pub bytes: Bytes,
    /// What the archive says the bytes are: the part's word, else that of the answer as a whole.
    /// Where it says nothing, the bytes must tell.
    pub transfer_syntax: Option<TransferSyntax>,
    /// `type/subtype` of the part, such as `image/jp2`. Weaker evidence than the transfer syntax:
    /// archives call lossless JPEG `image/jpeg`.
    pub media_type: Option<String>,
    /// By what the archive knows it again.
    pub validator: Option<Validator>,
}

impl Frame {
    /// What the archive says the bytes are: by its word on the transfer syntax, else by the media type of
    /// the part (PS3.18 Table 8.7.3-5). The codec is what can be trusted of the latter: archives call
    /// lossless JPEG `image/jpeg`, and the codestream tells the rest. `None` where it says nothing.
    pub fn declared_syntax(&self) -> Option<TransferSyntax> {
        self.transfer_syntax.clone().or_else(|| syntax_of_media_type(self.media_type.as_deref()?))
    }
}

/// A syntax of the codec that a media type stands for, legacy names included (R7.5).
fn syntax_of_media_type(media_type: &str) -> Option<TransferSyntax> {
    Some(match media_type {
        "image/jpeg" | "image/dicom+jpeg" => TransferSyntax::JpegLosslessSv1,
        "image/jls" | "image/x-jls" | "image/dicom+jpeg-ls" => TransferSyntax::JpegLsLossless,
        "image/jp2" | "image/jpx" | "image/dicom+jp2" | "image/dicom+jpx" => {
            TransferSyntax::Jpeg2000Lossless
        }
        "image/jphc" => TransferSyntax::Htj2kLossless,
        "image/jxl" => TransferSyntax::JpegXlLossless,
        "image/dicom-rle" | "image/x-dicom-rle" | "image/dicom+rle" => TransferSyntax::RleLossless,
        _ => return None,
    })
}

impl Client {
    /// Fetches one frame in the transfer syntax it is stored in.
    ///
    /// # Errors
    /// What the archive, or the way to it, did wrong: [`UpstreamError`]. A frame that is not there
    /// is a status of 404, and of 400 or 500 from some archives.
    pub async fn frame(
        &self,
        path: &InstancePath,
        frame: FrameNumber,
        caller: &Caller,
    ) -> Result<Frame, UpstreamError> {
        self.frame_up_to(self.max_bytes(), path, frame, caller).await
    }

    /// The same for a frame of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Client::frame`]; [`UpstreamError::TooLarge`] beyond the limit.
    pub async fn frame_up_to(
        &self,
        limit: u64,
        path: &InstancePath,
        frame: FrameNumber,
        caller: &Caller,
    ) -> Result<Frame, UpstreamError> {
        let url = self.instance_url(path, &format!("/frames/{frame}"));
        let limit = limit.min(self.max_bytes());
        let ask = Ask::new(Call::Frame, url, caller);
        self.ask(&ask, |answer| read(answer, limit)).await
    }
}

async fn read(answer: Answer, limit: u64) -> Result<Frame, UpstreamError> {
    let outer = content_type(answer.headers());
    let validator = Validator::of(answer.headers());
    let part = first_part(answer, limit, is_frame).await?;
    let inner = part.headers.content_type;
    Ok(Frame {
        bytes: part.body,
        transfer_syntax: inner.as_ref().and_then(syntax).or(outer.as_ref().and_then(syntax)),
        media_type: inner.map(|range| range.essence()),
        validator,
    })
}

/// What a single part that is no multipart may be.
fn is_frame(range: &MediaRange) -> bool {
    matches!(range.main.as_str(), "image" | "video") || range.is("application/octet-stream")
}

/// The syntax that a media type names; `*`, which some archives echo, names none.
pub(crate) fn syntax(range: &MediaRange) -> Option<TransferSyntax> {
    let uid: Uid = range.parameter("transfer-syntax")?.trim().parse().ok()?;
    Some(TransferSyntax::from_uid(uid.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(
        transfer_syntax: Option<TransferSyntax>,
        media_type: &str,
    ) -> Option<TransferSyntax> {
        let bytes = Bytes::new();
        let media_type = Some(media_type.to_owned());
        Frame { bytes, transfer_syntax, media_type, validator: None }.declared_syntax()
    }

    #[test]
    fn the_media_type_of_a_part_tells_the_codec_where_nothing_better_does() {
        let baseline = || Some(TransferSyntax::JpegBaseline);
        assert_eq!(declared(baseline(), "image/jp2"), baseline());
        assert_eq!(declared(None, "image/jp2"), Some(TransferSyntax::Jpeg2000Lossless));
        assert_eq!(declared(None, "image/jphc"), Some(TransferSyntax::Htj2kLossless));
        assert_eq!(declared(None, "image/x-dicom-rle"), Some(TransferSyntax::RleLossless));
        assert_eq!(declared(None, "application/octet-stream"), None);
        assert_eq!(declared(None, "image/png"), None);
    }
}
