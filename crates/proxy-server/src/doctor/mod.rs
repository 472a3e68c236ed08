//! `lightbox doctor`: what an archive accepts, how fast it is, and what is odd about it.
//!
//! It asks what the proxy would ask, of a few objects of the archive, each call in each form of `Accept`,
//! and draws a thumbnail of what comes. It writes nothing to the archive. Findings hold nothing of a
//! patient: no UID, no value.

mod text;

use std::time::{Duration, Instant};

use core_render::{
    BurnedIn, FrameChoice, Framing, ImageAttributes, Limits, Output, Overlays, Quality, RenderJob,
    RenderSpec, Source, number_of_frames, representative_frame,
};
use dicom_dictionary_std::tags;
use dicomweb_types::{FrameNumber, InstancePath, SeriesPath, TransferSyntax, Uid};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;
use wadors_client::{Call, Caller, Client, Dialect, Metadata, Seen, Tried, UpstreamError};

use crate::known::{Content, Said};
pub use text::report;

/// Studies, and series of each, that are looked into for objects to try.
const LOOKED_INTO: usize = 5;

/// Larger objects are not fetched whole.
const SMALL: u64 = 64 << 20;

/// A UID that nothing has.
const NOBODY: &str = "2.25.1";

/// What was found out about an archive.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Its base URL.
    pub upstream: String,
    /// What kind of archive it is.
    pub dialect: &'static str,
    /// How that is known.
    pub known_by: &'static str,
    /// The version of HTTP that it speaks with us.
    pub http: Option<String>,
    /// Every call that was made.
    pub calls: Vec<CallReport>,
    /// What is to be said about it, the worst first.
    pub findings: Vec<Finding>,
    /// Whether thumbnails of it work; nothing where it holds no image to try with.
    pub thumbnails: Option<bool>,
    /// A configuration file that serves it.
    pub configuration: String,
    /// A data source of OHIF for that.
    pub ohif: String,
}

/// One call.
#[derive(Debug, Serialize)]
pub struct CallReport {
    /// What was asked for.
    pub call: &'static str,
    /// The form of `Accept`.
    pub accept: &'static str,
    /// Whether it was answered with what was asked for.
    pub succeeded: bool,
    /// The status, where it was none of success.
    pub status: Option<u16>,
    /// Until the answer was read.
    pub milliseconds: f64,
    /// Its length.
    pub bytes: usize,
    /// What it is, as the archive says.
    pub media_type: Option<String>,
    /// What the pixels are in, as the archive says.
    pub transfer_syntax: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Something to be said.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, and what that means.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Pictures suffer from it.
    Problem,
    /// It is odd, and coped with.
    Odd,
    /// It is as it should be.
    Good,
}

/// Examines an archive on behalf of `caller`; of `study`, where one is named.
pub async fn examine(client: &Client, caller: &Caller, study: Option<&Uid>) -> Examination {
    let mut doctor = Doctor { client, caller, seen: Examination::new(client) };
    doctor.examine(study).await;
    doctor.seen.findings.sort();
    doctor.seen.configuration = text::config(&doctor.seen);
    doctor.seen.ohif = text::ohif();
    doctor.seen
}

impl Examination {
    fn new(client: &Client) -> Self {
        let dialect = client.dialect();
        Self {
            upstream: client.base().to_string(),
            dialect: dialect.unwrap_or(Dialect::Generic).as_str(),
            known_by: if dialect.is_some() {
                "configuration or URL"
            } else {
                "nothing: any archive"
            },
            http: None,
            calls: Vec::new(),
            findings: Vec::new(),
            thumbnails: None,
            configuration: String::new(),
            ohif: String::new(),
        }
    }

    fn find(&mut self, level: Level, text: impl Into<String>) {
        self.findings.push(Finding { level, text: text.into() });
    }
}

struct Doctor<'a> {
    client: &'a Client,
    caller: &'a Caller,
    seen: Examination,
}

/// Objects to try with.
#[derive(Default)]
struct Samples {
    image: Option<InstancePath>,
    several_frames: Option<InstancePath>,
}

impl Doctor<'_> {
    async fn examine(&mut self, study: Option<&Uid>) {
        let found = self.search("search for studies", "studies", "limit=1").await;
        let Some(studies) = found else {
            self.seen.thumbnails = Some(false);
            return;
        };
        if studies.len() > 1 {
            self.seen.find(Level::Odd, "it ignores limit: a search for one study brought more");
        }
        self.recognise().await;
        self.search_for_nobody().await;
        let samples = self.samples(study).await;
        if samples.image.is_none() && samples.several_frames.is_none() {
            self.seen.find(Level::Odd, "it holds no image that was found to try with: name one of its studies with --study");
        }
        if let Some(path) = &samples.image {
            self.try_object(path, "image").await;
        }
        if let Some(path) = &samples.several_frames {
            self.try_object(path, "multi-frame image").await;
        }
    }

    /// One search, in the forms of JSON until one is taken. `None` where none is.
    async fn search(
        &mut self,
        call: &'static str,
        path: &str,
        query: &str,
    ) -> Option<Vec<Metadata>> {
        let tried = self.climb(Call::Json, call, path, Some(query), true).await;
        let empty = tried.iter().any(|t| matches!(t.outcome, Err(UpstreamError::Empty)));
        let Some(seen) = tried.iter().find_map(|tried| tried.outcome.as_ref().ok()) else {
            if empty {
                return Some(Vec::new());
            }
            if let Some(Err(error)) = tried.first().map(|tried| &tried.outcome) {
                self.seen.find(Level::Problem, format!("{call}: {error}{}", hint(error)));
            }
            return None;
        };
        self.seen.http = Some(format!("{:?}", seen.version));
        match Metadata::all_from_slice(&seen.body) {
            Ok(found) => Some(found),
            Err(UpstreamError::Empty) => Some(Vec::new()),
            Err(error) => {
                let text = format!("{call}: {error}; is the base URL that of DICOMweb?");
                self.seen.find(Level::Problem, text);
                None
            }
        }
    }

    /// Makes a call in each of its forms; only until one is taken, if that is enough. Forms that cost the
    /// archive more are for archives that take no other: a diagnosis must not end what it looks at.
    async fn climb(
        &mut self,
        kind: Call,
        call: &'static str,
        path: &str,
        query: Option<&str>,
        one_is_enough: bool,
    ) -> Vec<Tried> {
        let mut all = Vec::new();
        for (rung, accept) in kind.rungs().iter().enumerate() {
            if rung >= kind.cheap() && all.iter().any(|tried: &Tried| tried.outcome.is_ok()) {
                break;
            }
            let tried = self.client.try_form(kind, accept, (path, query), self.caller).await;
            self.seen.calls.push(CallReport::of(call, &tried));
            let done = match &tried.outcome {
                Ok(_) => one_is_enough,
                // No other form will help.
                Err(error) => !matches!(error.status(), Some(400 | 406 | 415 | 500 | 501)),
            };
            all.push(tried);
            if done {
                break;
            }
        }
        all
    }

    /// Looks at how the archive says that something is not there, which gives Orthanc away.
    async fn recognise(&mut self) {
        let path = format!("studies/{NOBODY}/series/{NOBODY}/instances/{NOBODY}/metadata");
        let Some((status, headers, body)) = self.raw(&path, "application/dicom+json").await else {
            return;
        };
        if self.client.dialect().is_none() {
            let said = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let recognised = if body.contains("OrthancError") {
                Some(Dialect::Orthanc)
            } else if said(header::SERVER).is_some_and(|server| server.starts_with("WildFly")) {
                Some(Dialect::Dcm4chee)
            } else {
                None
            };
            if let Some(dialect) = recognised {
                (self.seen.dialect, self.seen.known_by) = (dialect.as_str(), "how it answers");
            }
        }
        if !matches!(status, 404 | 410) {
            let text =
                format!("it says {status} of an object that is not there, where 404 is expected");
            self.seen.find(Level::Odd, text);
        }
    }

    async fn search_for_nobody(&mut self) {
        let query = format!("StudyInstanceUID={NOBODY}");
        let accept = Call::Json.rungs()[0];
        let tried =
            self.client.try_form(Call::Json, accept, ("studies", Some(&query)), self.caller).await;
        self.seen.calls.push(CallReport::of("search that finds nothing", &tried));
        let text = match &tried.outcome {
            Ok(seen)
                if Metadata::all_from_slice(&seen.body).is_ok_and(|found| !found.is_empty()) =>
            {
                "it ignores StudyInstanceUID: a search for a study that is not there brings others"
            }
            Ok(_) | Err(UpstreamError::Empty) => return,
            Err(_) => {
                "it answers a search that finds nothing with an error, where 200 or 204 is expected"
            }
        };
        self.seen.find(Level::Odd, text);
    }

    /// An image of one frame and one of several, as far as a few searches find them.
    async fn samples(&mut self, study: Option<&Uid>) -> Samples {
        let mut samples = Samples::default();
        let studies = match study {
            Some(study) => vec![study.clone()],
            None => {
                let query = format!("limit={LOOKED_INTO}");
                let found = self.search("search for studies", "studies", &query).await;
                uids(&found.unwrap_or_default(), tags::STUDY_INSTANCE_UID)
            }
        };
        for study in studies.into_iter().take(LOOKED_INTO) {
            let path = format!("studies/{study}/series");
            let query = format!("limit={LOOKED_INTO}");
            let found = self.search("search for series", &path, &query).await.unwrap_or_default();
            for series in uids(&found, tags::SERIES_INSTANCE_UID).into_iter().take(LOOKED_INTO) {
                self.samples_of(&SeriesPath { study: study.clone(), series }, &mut samples).await;
                if samples.image.is_some() && samples.several_frames.is_some() {
                    return samples;
                }
            }
        }
        samples
    }

    async fn samples_of(&mut self, series: &SeriesPath, samples: &mut Samples) {
        let query = "limit=2&includefield=00280008&includefield=00280010";
        let path = format!("{series}/instances");
        let found = self.search("search for instances", &path, query).await.unwrap_or_default();
        for said in &found {
            let Some(instance) = uids(std::slice::from_ref(said), tags::SOP_INSTANCE_UID).pop()
            else {
                continue;
            };
            let slot = match Said::from(&said.dataset).content() {
                Some(Content::Frames { .. }) => &mut samples.several_frames,
                Some(Content::Frame { .. }) | None => &mut samples.image,
                Some(Content::Text | Content::Other) => continue,
            };
            slot.get_or_insert(series.instance(instance));
        }
    }

    /// Everything that is fetched for a picture of an object.
    async fn try_object(&mut self, path: &InstancePath, what: &'static str) {
        let metadata = self.metadata(path).await;
        let frame =
            metadata.as_ref().map_or(FrameNumber::FIRST, |m| representative_frame(&m.dataset));
        let call = if what == "image" { "frame" } else { "frame of several" };
        let frames =
            self.climb(Call::Frame, call, &format!("{path}/frames/{frame}"), None, false).await;
        self.judge_forms(call, &frames);
        let is_small = metadata.as_ref().is_none_or(|m| match Said::from(&m.dataset).content() {
            Some(Content::Frame { bytes } | Content::Frames { bytes, .. }) => {
                bytes.is_none_or(|bytes| bytes <= SMALL)
            }
            Some(Content::Text | Content::Other) | None => true,
        });
        let whole = if is_small && what == "image" {
            let tried =
                self.climb(Call::Instance, "instance", &path.to_string(), None, false).await;
            self.judge_forms("instance", &tried);
            best(&tried)
        } else {
            None
        };
        let frame_seen = best(&frames);
        if let (Some(metadata), Some(seen)) = (&metadata, &frame_seen) {
            self.judge_syntax(metadata, seen);
        }
        if let Some(metadata) = &metadata {
            self.frame_beyond_the_end(path, number_of_frames(&metadata.dataset)).await;
        }
        let drawn = self.draw(what, metadata.as_ref(), frame, frame_seen, whole).await;
        self.seen.thumbnails = Some(self.seen.thumbnails.unwrap_or(true) && drawn);
        self.their_own(path, what).await;
    }

    async fn metadata(&mut self, path: &InstancePath) -> Option<Metadata> {
        let tried =
            self.climb(Call::Json, "metadata", &format!("{path}/metadata"), None, true).await;
        let Some(seen) = best(&tried) else {
            self.seen
                .find(Level::Problem, "it gives no metadata: objects have to be fetched whole");
            return None;
        };
        let metadata = match Metadata::from_slice(&seen.body) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.seen.find(Level::Problem, format!("metadata: {error}"));
                return None;
            }
        };
        if !metadata.unreadable.is_empty() {
            let count = metadata.unreadable.len();
            self.seen.find(Level::Odd, format!("{count} attributes of its metadata make no sense"));
        }
        let base = self.client.base();
        let elsewhere = |uri: &str| {
            url::Url::parse(uri).is_ok_and(|url| url.has_host() && url.origin() != base.origin())
        };
        if metadata.bulk.iter().any(|bulk| elsewhere(&bulk.uri)) {
            self.seen.find(
                Level::Odd,
                "its BulkDataURIs name another host than the configured one: those below its base path are asked \
                 of the configured one; set rewrite_urls = true for viewers that follow them",
            );
        }
        Some(metadata)
    }

    fn judge_forms(&mut self, call: &str, tried: &[Tried]) {
        let Some(first) = tried.iter().position(|tried| tried.outcome.is_ok()) else {
            let error = tried.first().and_then(|tried| tried.outcome.as_ref().err());
            let error = error.map(|error| format!(": {error}{}", hint(error))).unwrap_or_default();
            let level = if call == "instance" { Level::Odd } else { Level::Problem };
            self.seen.find(level, format!("{call}: no form of Accept brings it{error}"));
            return;
        };
        if first > 0 {
            let (theirs, ours) = (tried[first].accept, tried[0].accept);
            self.seen.find(Level::Odd, format!("{call}: it refuses {ours} and takes {theirs}"));
        }
    }

    fn judge_syntax(&mut self, metadata: &Metadata, seen: &Seen) {
        let stored = metadata.text(tags::AVAILABLE_TRANSFER_SYNTAX_UID);
        match (&seen.transfer_syntax, stored) {
            (None, _) => self.seen.find(
                Level::Odd,
                "it does not say the transfer syntax of frames: the bytes and the metadata have to tell",
            ),
            (Some(sent), Some(stored)) if sent.uid() != stored => {
                let stored = TransferSyntax::from_uid(&stored);
                if stored.is_encapsulated() && !sent.is_encapsulated() {
                    let text = "it decompresses frames though their stored syntax is asked for: slower, and more bytes";
                    self.seen.find(Level::Odd, text);
                }
            }
            (Some(_), _) => {}
        }
    }

    async fn frame_beyond_the_end(&mut self, path: &InstancePath, frames: u32) {
        let accept = Call::Frame.rungs()[0];
        let beyond = format!("{path}/frames/{}", frames.saturating_add(1));
        let tried = self.client.try_form(Call::Frame, accept, (&beyond, None), self.caller).await;
        self.seen.calls.push(CallReport::of("frame beyond the end", &tried));
        if tried.outcome.is_ok() {
            self.seen.find(Level::Odd, "it hands out a frame beyond the last one");
        }
    }

    /// Draws a thumbnail, of metadata and frame, else of the whole object.
    async fn draw(
        &mut self,
        what: &str,
        metadata: Option<&Metadata>,
        frame: FrameNumber,
        seen: Option<Seen>,
        whole: Option<Seen>,
    ) -> bool {
        let parts = metadata.zip(seen).and_then(|(metadata, seen)| {
            let attributes = ImageAttributes::of_frame(&metadata.dataset, frame).ok()?;
            let syntax = seen.transfer_syntax.unwrap_or(TransferSyntax::ExplicitLittleEndian);
            let attributes = Box::new(attributes);
            Some(Source::Frame { attributes, transfer_syntax: syntax, bytes: seen.body })
        });
        let file =
            whole.map(|seen| Source::File { bytes: seen.body, frame: FrameChoice::Representative });
        let mut failure = "nothing to draw from".to_owned();
        for (source, way) in [(parts, "metadata and frame"), (file, "the whole object")] {
            let Some(source) = source else { continue };
            match thumbnail(source).await {
                Ok(took) => {
                    let text = format!(
                        "a thumbnail of an {what} is drawn from {way} in {:.1} ms",
                        ms(took)
                    );
                    self.seen.find(Level::Good, text.replace("an multi", "a multi"));
                    return true;
                }
                Err(error) => failure = error,
            }
        }
        self.seen.find(Level::Problem, format!("no thumbnail of this {what}: {failure}"));
        false
    }

    /// What its own rendering costs.
    async fn their_own(&mut self, path: &InstancePath, what: &str) {
        let began = Instant::now();
        let answer = self.raw(&format!("{path}/rendered?viewport=256,256"), "image/jpeg").await;
        if let Some((200, _, _)) = answer {
            let text =
                format!("its own /rendered of this {what} takes {:.1} ms", ms(began.elapsed()));
            self.seen.find(Level::Good, text);
        }
    }

    /// A GET whose answer counts whatever its status is, with the beginning of its body.
    async fn raw(&self, path: &str, accept: &'static str) -> Option<(u16, HeaderMap, String)> {
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let url = self.client.url(path, query)?;
        let mut headers = HeaderMap::new();
        self.caller.add_to(&mut headers);
        self.client.authorize(&mut headers).await.ok()?;
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let timeout = self.client.timeout();
        let asked = self.client.http().get(url).headers(headers).timeout(timeout).send().await;
        let mut answer = asked.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > 16 << 20 {
                break;
            }
        }
        Some((status, headers, String::from_utf8_lossy(&body).into_owned()))
    }
}

impl CallReport {
    fn of(call: &'static str, tried: &Tried) -> Self {
        let (seen, error) = (tried.outcome.as_ref().ok(), tried.outcome.as_ref().err());
        let syntax = seen.and_then(|seen| seen.transfer_syntax.as_ref());
        Self {
            call,
            accept: tried.accept,
            succeeded: seen.is_some() || matches!(error, Some(UpstreamError::Empty)),
            status: error.and_then(UpstreamError::status),
            milliseconds: (ms(tried.took) * 10.0).round() / 10.0,
            bytes: seen.map_or(0, |seen| seen.body.len()),
            media_type: seen.and_then(|seen| seen.media_type.clone()),
            transfer_syntax: syntax.map(|syntax| syntax.uid().to_owned()),
            error: error.map(ToString::to_string),
        }
    }
}

fn best(tried: &[Tried]) -> Option<Seen> {
    tried.iter().find_map(|tried| tried.outcome.as_ref().ok()).cloned()
}

fn uids(found: &[Metadata], tag: dicom_core::Tag) -> Vec<Uid> {
    found.iter().filter_map(|said| said.text(tag)?.parse().ok()).collect()
}

async fn thumbnail(source: Source) -> Result<Duration, String> {
    const SIDE: std::num::NonZeroU32 = std::num::NonZeroU32::new(256).unwrap();
    let output = Output::Jpeg(Quality::THUMBNAIL);
    let spec = RenderSpec {
        overlays: Overlays::Omit,
        burned_in: BurnedIn::Pixelate,
        ..RenderSpec::new(Framing::FitWithin(SIDE), output)
    };
    let job = RenderJob::new(source, spec, Limits::default());
    let began = Instant::now();
    let drawn = tokio::task::spawn_blocking(move || core_render::render(&job, &mut |_| Ok(())));
    match drawn.await {
        Ok(Ok(_)) => Ok(began.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("drawing it failed unexpectedly".to_owned()),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What to do about it.
fn hint(error: &UpstreamError) -> &'static str {
    match error.status() {
        Some(401) => "; say who you are with --authorization, or configure upstream_credentials",
        Some(403) => "; whoever is asked for has no right to it",
        Some(404) => "; is the base URL that of DICOMweb, such as …/dicom-web?",
        _ => "",
    }
}
