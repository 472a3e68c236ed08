//! The archive that is asked, the proxy in front of it, and answers that say what is wrong with them.

use std::fmt::Display;

use folder_origin::{FolderOrigin, InstanceSummary};
use http::Method;
use lightbox_tests::decoded::Decoded;
use lightbox_tests::pictures::Picture;
use lightbox_tests::{Between, Part, Proxy, Reply, raw_exchange, strict_parts};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::objects;
use crate::walk::Verdict;

pub(crate) const JPEGS: &str = r#"multipart/related; type="image/jpeg""#;
pub(crate) const PNGS: &str = r#"multipart/related; type="image/png""#;
pub(crate) const CHROMIUM_IMG: &str =
    "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
pub(crate) const CHROMIUM_NAVIGATION: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";

/// A folder of sample studies and made objects, served, with the real binary in front of it.
pub(crate) struct Archive {
    _folder: TempDir,
    origin: String,
    samples: Vec<InstanceSummary>,
    between: Between,
    proxy: Proxy,
    strict: OnceCell<Proxy>,
}

impl Archive {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let origin = tokio::task::spawn_blocking(move || {
            folder_origin::samples::write(&path.join("samples")).unwrap();
            objects::write(&path.join("made"));
            FolderOrigin::open(&path).unwrap()
        });
        let origin = origin.await.unwrap();
        let is_sample =
            |instance: &&InstanceSummary| !objects::is_made(instance.path.study.as_str());
        let samples = origin.instances().filter(is_sample).cloned().collect();
        assert_eq!(origin.skipped(), 0, "every file is one that the archive can serve");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(origin.serve(listener, std::future::pending()));
        let between = Between::start(&url).await;
        let proxy = Proxy::start(&between.url()).await;
        Self { _folder: folder, origin: url, samples, between, proxy, strict: OnceCell::new() }
    }

    /// GET with `Accept: */*`, which is what the client library sends by itself.
    pub(crate) async fn get(&self, path: &str) -> Asked {
        self.get_with(path, &[]).await
    }

    /// GET of a single picture as PNG, so that its pixels can be compared.
    pub(crate) async fn png(&self, path: &str) -> Result<Picture, String> {
        self.get_accept(path, "image/png").await.typed("image/png")?.first_picture()
    }

    pub(crate) async fn get_accept(&self, path: &str, accept: &str) -> Asked {
        self.get_with(path, &[("Accept", accept)]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Asked {
        ask(&self.proxy, Method::GET, path, headers).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Asked {
        ask(&self.proxy, method, path, headers).await
    }

    /// The same archive behind a proxy without leniency.
    pub(crate) async fn strict(&self) -> &Proxy {
        self.strict.get_or_init(|| self.configured(&[("strict", "true")])).await
    }

    /// The same archive behind a proxy with these configuration keys.
    pub(crate) async fn configured(&self, keys: &[(&str, &str)]) -> Proxy {
        Proxy::start_with(&self.between.url(), keys).await
    }

    /// The same archive through a go-between of its own, which may fail or hold calls.
    pub(crate) async fn disturbed(&self, keys: &[(&str, &str)]) -> (Between, Proxy) {
        let between = Between::start(&self.origin).await;
        let proxy = Proxy::start_with(&between.url(), keys).await;
        (between, proxy)
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The instances of the sample studies.
    pub(crate) fn samples(&self) -> &[InstanceSummary] {
        &self.samples
    }

    /// The calls that the archive got so far.
    pub(crate) fn calls(&self) -> usize {
        self.between.calls()
    }
}

/// An answer and what was asked for it.
#[derive(Debug)]
pub(crate) struct Asked {
    what: String,
    pub(crate) reply: Reply,
}

pub(crate) async fn ask(
    proxy: &Proxy,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Asked {
    let said: Vec<String> = headers.iter().map(|(n, value)| format!("{n}: {value}")).collect();
    let what = format!("{method} {path} [{}]", said.join(" | "));
    Asked { what, reply: proxy.send(method, path, headers).await }
}

/// GET without any `Accept`, which no client library leaves out.
pub(crate) async fn ask_without_accept(proxy: &Proxy, path: &str) -> Asked {
    let request = format!("GET {path} HTTP/1.1\r\nHost: lightbox\r\nConnection: close\r\n\r\n");
    let raw = raw_exchange(proxy.address(), request.as_bytes()).await;
    Asked { what: format!("GET {path} [no Accept]"), reply: read_raw(&raw) }
}

/// Status, headers and, where its length is announced, body.
fn read_raw(raw: &[u8]) -> Reply {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer has headers");
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        (name, http::HeaderValue::from_str(value).expect("a header value"))
    });
    Reply {
        status: status.parse().expect("a status"),
        headers: headers.collect(),
        body: raw[end + 4..].to_vec().into(),
    }
}

impl Asked {
    /// What is wrong with the answer, in full.
    pub(crate) fn wrong(&self, expected: impl Display) -> String {
        let reply = &self.reply;
        let kind = reply.header("content-type");
        let readable = kind.contains("json") || kind.contains("text");
        let text: String = reply.text().chars().take(300).collect();
        let body = if readable { text } else { format!("{} bytes", reply.body.len()) };
        let others = ["warning", "x-representative", "allow", "location"].map(|name| {
            let value = reply.header(name);
            if value.is_empty() { String::new() } else { format!(" {name}: {value}") }
        });
        format!(
            "{}: expected {expected}; came {} {kind}{} {body}",
            self.what,
            reply.status(),
            others.concat()
        )
    }

    pub(crate) fn must(&self, holds: bool, expected: impl Display) -> Result<&Self, String> {
        if holds { Ok(self) } else { Err(self.wrong(expected)) }
    }

    pub(crate) fn status(&self, status: u16) -> Result<&Self, String> {
        self.must(self.reply.status() == status, format_args!("status {status}"))
    }

    pub(crate) fn status_of(&self, statuses: &[u16]) -> Result<&Self, String> {
        self.must(statuses.contains(&self.reply.status()), format_args!("one of {statuses:?}"))
    }

    /// 200, and this type before any parameter.
    pub(crate) fn typed(&self, media_type: &str) -> Result<&Self, String> {
        let essence = self.reply.header("content-type").split(';').next().unwrap_or_default();
        let right = self.reply.status() == 200 && essence.trim() == media_type;
        self.must(right, format_args!("200 {media_type}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.reply.header(name)
    }

    pub(crate) fn has_header(&self, name: &str, part: &str) -> Result<&Self, String> {
        let found = self.header(name);
        let holds = found.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
        self.must(holds, format_args!("{name} with {part:?}, not {found:?}"))
    }

    /// A `Warning: 299`, and what it says.
    pub(crate) fn warned(&self) -> Result<&str, String> {
        let warning = self.header("warning");
        self.must(warning.starts_with("299 "), "Warning: 299 …")?;
        Ok(warning)
    }

    /// The picture of a single-part answer, decoded; its bytes are what the header says.
    pub(crate) fn decoded(&self) -> Result<Decoded, String> {
        self.status(200)?;
        decode(self.header("content-type"), &self.reply.body).map_err(|why| self.wrong(why))
    }

    pub(crate) fn first_picture(&self) -> Result<Picture, String> {
        Ok(self.decoded()?.first().clone())
    }

    pub(crate) fn parts(&self) -> Result<Vec<Part>, String> {
        self.status_of(&[200, 206])?;
        strict_parts(&self.reply).map_err(|why| self.wrong(format_args!("parts, but {why}")))
    }

    /// The pictures of all parts, decoded.
    pub(crate) fn pictures(&self) -> Result<Vec<Decoded>, String> {
        let parts = self.parts()?;
        let decode = |part: &Part| decode(part.header("content-type"), &part.body);
        parts.iter().map(decode).collect::<Result<_, _>>().map_err(|why| self.wrong(why))
    }

    /// The grey level of the first pixel of each part.
    pub(crate) fn greys(&self) -> Result<Vec<u8>, String> {
        Ok(self.pictures()?.iter().map(|picture| picture.first().at(0, 0)).collect())
    }

    /// One picture that is grey all over, to within a JPEG's rounding.
    pub(crate) fn shows(&self, grey: u8) -> Verdict {
        let found = self.first_picture()?.at(0, 0);
        let right = found.abs_diff(grey) <= 1;
        self.must(right, format_args!("the picture of grey {grey}, not of {found}")).map(drop)
    }
}

fn decode(content_type: &str, bytes: &[u8]) -> Result<Decoded, String> {
    let decoded = Decoded::read(bytes)?;
    if content_type == decoded.media_type {
        Ok(decoded)
    } else {
        Err(format!("a picture as announced, but {content_type} is {}", decoded.media_type))
    }
}

/// The four levels at which a single-frame object has renderings.
pub(crate) fn levels(place: &lightbox_tests::Place) -> [String; 4] {
    [place.study_path(), place.series_path(), place.path(), format!("{}/frames/1", place.path())]
}

pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Verdict {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, came {found:?}"))
    }
}

/// No sample differs by more than this.
pub(crate) fn near(what: &str, found: &[u8], expected: &[u8], tolerance: u8) -> Verdict {
    equal(&format!("{what}, number of samples"), found.len(), expected.len())?;
    let apart = |(found, expected): (&u8, &u8)| found.abs_diff(*expected) > tolerance;
    match found.iter().zip(expected).position(apart) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{what}: sample {at} is {} and should be {} ± {tolerance}",
            found[at], expected[at]
        )),
    }
}
