//! An origin on a loopback port, a small HTTP client, and small DICOM files.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use folder_origin::FolderOrigin;
use serde_json::Value;

/// A running origin; stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) skipped: usize,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn over(folder: &Path) -> Self {
        let origin = FolderOrigin::open(folder).expect("the folder is readable");
        let skipped = origin.skipped();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound socket");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                origin.serve(listener, async { drop(stopped.await) }).await.expect("it serves");
            });
        });
        Self { address, skipped, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.ask("GET", path, &[("Accept", accept)])
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("the origin listens");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).expect("a request goes out");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer comes back");
        Answer::parse(&bytes)
    }

    pub(crate) fn json(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path);
        if answer.status == 204 {
            return Vec::new();
        }
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("content-type"), "application/dicom+json");
        serde_json::from_slice(&answer.body).expect("an array of objects")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server is a failure of the test.
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "the origin panicked");
        }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Part {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = find(bytes, b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.expect("a status"),
            headers: headers.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The parts of a multipart answer, whose length was announced rightly.
    pub(crate) fn parts(&self) -> Vec<Part> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-length"), self.body.len().to_string());
        let content_type = self.header("content-type");
        assert!(content_type.starts_with("multipart/related; type=\""), "{content_type}");
        let boundary = content_type.split("boundary=").nth(1).expect("a boundary");
        let opening = format!("--{boundary}\r\n").into_bytes();
        let mut rest = &self.body[..];
        let mut parts = Vec::new();
        while let Some(after) = rest.strip_prefix(&opening[..]) {
            let head_end = find(after, b"\r\n\r\n").expect("a part's head");
            let head = String::from_utf8_lossy(&after[..head_end]).into_owned();
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            let body = &after[head_end + 4..head_end + 4 + length];
            parts.push(Part { head, body: body.to_vec() });
            rest = &after[head_end + 4 + length + 2..];
        }
        assert_eq!(rest, format!("--{boundary}--\r\n").as_bytes());
        parts
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// An object of study 1.1, series 1.1.{series}, instance 1.1.{series}.{number}.
pub(crate) fn object(series: u32, number: u32) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let instance = format!("1.1.{series}.{number}");
    for (tag, vr, text) in [
        (tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.7"),
        (tags::SOP_INSTANCE_UID, VR::UI, instance.as_str()),
        (tags::STUDY_DATE, VR::DA, "20260301"),
        (tags::MODALITY, VR::CS, if series == 1 { "OT" } else { "MR" }),
        (tags::PATIENT_NAME, VR::PN, "Test^Object"),
        (tags::PATIENT_ID, VR::LO, "T-1"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.1"),
        (tags::SERIES_INSTANCE_UID, VR::UI, &format!("1.1.{series}")),
        (tags::SERIES_NUMBER, VR::IS, &series.to_string()),
        (tags::INSTANCE_NUMBER, VR::IS, &number.to_string()),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
    }
    object
}

/// Adds the Image Pixel module of a grey image.
pub(crate) fn image(
    object: &mut InMemDicomObject,
    rows: u16,
    columns: u16,
    bits_allocated: u16,
    frames: u32,
) {
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, bits_allocated),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let frames = frames.to_string();
    put(object, tags::NUMBER_OF_FRAMES, VR::IS, frames.as_str());
    put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
}

pub(crate) fn put(
    object: &mut InMemDicomObject,
    tag: Tag,
    vr: VR,
    value: impl Into<PrimitiveValue>,
) {
    object.put(DataElement::new(tag, vr, value.into()));
}

pub(crate) fn save(object: InMemDicomObject, path: &Path, transfer_syntax: &str) {
    let meta = FileMetaTableBuilder::new().transfer_syntax(transfer_syntax);
    let file = object.with_meta(meta).expect("it has its UIDs");
    file.write_to_file(path).expect("the folder is writable");
}

pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(crate) const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub(crate) const MPEG4: &str = "1.2.840.10008.1.2.4.102";
