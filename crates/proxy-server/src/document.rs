//! What is rendered and is no picture: reports as text, documents and videos as they are stored.

use std::sync::Arc;

use bytes::Bytes;
use core_render::{Category, EncapsulatedDocument, Limits, VideoStream};
use dicomweb_types::{DocumentType, InstancePath};
use report_render::{Report, native_xml};

use crate::asked::Asked;
use crate::collection::Part;
use crate::conditional::ETag;
use crate::error::{Level, ServerError};
use crate::fingerprint;
use crate::plan;
use crate::source::Opened;

/// A document to send, whole or in part.
#[derive(Clone)]
pub(crate) struct Payload {
    pub(crate) content_type: String,
    pub(crate) content_location: String,
    pub(crate) etag: ETag,
    pub(crate) bytes: Bytes,
}

impl Payload {
    fn new(asked: &Asked, path: &InstancePath, content_type: String, bytes: Bytes) -> Self {
        let base = &asked.upstream.base_path;
        Self {
            content_location: plan::content_location(base, path, None),
            etag: fingerprint::of_document(&content_type, &bytes),
            content_type,
            bytes,
        }
    }

    pub(crate) fn into_part(self) -> Part {
        let Self { content_type, content_location, bytes, .. } = self;
        Part { content_type, content_location, warnings: Vec::new(), bytes }
    }
}

/// A document or a video, out of its object.
pub(crate) enum Stored {
    Document(EncapsulatedDocument),
    Video(VideoStream, DocumentType),
}

impl Stored {
    pub(crate) fn media_type(&self) -> DocumentType {
        match self {
            Self::Document(document) => document.media_type,
            Self::Video(_, media_type) => *media_type,
        }
    }

    fn open(
        category: Category,
        file: &Bytes,
        limits: &Limits,
    ) -> core_render::Result<Option<Self>> {
        if category == Category::Document {
            return Ok(EncapsulatedDocument::open(file, limits)?.map(Self::Document));
        }
        let Some(video) = VideoStream::open(file, limits)? else { return Ok(None) };
        // MP4 is what browsers play.
        let mp4 = video.can_be_mp4().then_some(DocumentType::Mp4);
        let media_type = mp4.or_else(|| video.media_type());
        Ok(media_type.map(|media_type| Self::Video(video, media_type)))
    }

    /// What is sent of it, with its content type.
    fn into_content(self, limits: &Limits) -> core_render::Result<(String, Bytes)> {
        match self {
            Self::Document(document) => Ok((document.content_type(), document.bytes)),
            Self::Video(video, DocumentType::Mp4) => {
                Ok((DocumentType::Mp4.content_type().to_owned(), video.to_mp4(limits)?))
            }
            Self::Video(video, other) => Ok((other.content_type().to_owned(), video.bytes)),
        }
    }
}

/// The document or video that an object is; `None` of anything else, and of a video that no client
/// would know how to play.
pub(crate) async fn stored(
    asked: &Asked,
    opened: &Arc<Opened>,
) -> Result<Option<Stored>, ServerError> {
    let category = opened.category();
    if !matches!(category, Category::Document | Category::Video) {
        return Ok(None);
    }
    let file = asked.fetch(&opened.path).file(opened).await;
    let file = file.map_err(|error| ServerError::of_source(error, Level::Instance))?;
    let limits = asked.app.config.limits();
    let read = asked.app.workers.work(move || Stored::open(category, &file, &limits));
    read.await.map_err(|error| ServerError::of_work(error, Level::Instance))
}

/// What is sent of it.
pub(crate) async fn payload(
    asked: &Asked,
    path: &InstancePath,
    stored: Stored,
) -> Result<Payload, ServerError> {
    let limits = asked.app.config.limits();
    let content = asked.app.workers.work(move || stored.into_content(&limits)).await;
    let (content_type, bytes) =
        content.map_err(|error| ServerError::of_work(error, Level::Instance))?;
    Ok(Payload::new(asked, path, content_type, bytes))
}

/// A report as text.
pub(crate) async fn report(
    asked: &Asked,
    opened: &Arc<Opened>,
    form: DocumentType,
) -> Result<Payload, ServerError> {
    let object = opened.clone();
    let text = asked.app.workers.work(move || text_of(&object, form)).await;
    let text = text.map_err(|error| ServerError::of_work(error, Level::Instance))?;
    Ok(Payload::new(asked, &opened.path, form.content_type().to_owned(), text.into()))
}

fn text_of(object: &Opened, form: DocumentType) -> core_render::Result<String> {
    let damaged = |reason: String| core_render::RenderError::Damaged { reason };
    if form == DocumentType::Xml {
        return Ok(native_xml(object.dataset()));
    }
    let report = Report::read(object.dataset()).map_err(|error| damaged(error.to_string()))?;
    let report = report.ok_or_else(|| damaged("the report has no content".to_owned()))?;
    Ok(if form == DocumentType::PlainText { report.to_text() } else { report.to_html() })
}
