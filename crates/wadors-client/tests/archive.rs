//! The client against an archive on loopback that is slow, wrong, or breaks off.
//!
//! The archive is a bare TCP server that plays a script: only so can it cut a body short, forget a
//! delimiter, or count what it could send.

// clippy.toml allows this in tests, but does not see that the helpers here are of tests too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dicomweb_types::{FrameNumber, InstancePath, TransferSyntax};
use http::{HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wadors_client::{Caller, Client, ClientConfig, InstanceAnswer, SizeLimit, UpstreamError};

const TIMEOUT: Duration = Duration::from_millis(300);

/// What the archive does once it has a request.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    /// Sends the bytes one by one, each in a packet of its own.
    Trickle(Vec<u8>),
    /// Sends zeros until the client goes away, at most so many.
    Flood(u64),
    Wait(Duration),
    Close,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    connections: AtomicUsize,
    sent: AtomicU64,
}

struct Archive {
    client: Client,
    seen: Arc<Seen>,
}

impl Archive {
    async fn playing(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/dicom-web/", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, script.clone(), shared.clone()));
            }
        });
        Self { client: client(&base), seen }
    }

    async fn answering(head: &str, body: &[u8]) -> Self {
        Self::playing(vec![Step::Send(answer(head, body))]).await
    }

    async fn frame(&self) -> Result<wadors_client::Frame, UpstreamError> {
        self.client.frame(&path(), FrameNumber::FIRST, &Caller::anonymous()).await
    }

    async fn instance(&self, size: SizeLimit) -> Result<InstanceAnswer, UpstreamError> {
        self.client.instance(&path(), &Caller::anonymous(), size).await
    }

    fn request(&self) -> String {
        self.seen.requests.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn serve(mut socket: TcpStream, script: Vec<Step>, seen: Arc<Seen>) {
    socket.set_nodelay(true).unwrap();
    while let Some(request) = read_request(&mut socket).await {
        seen.requests.lock().unwrap().push(request);
        for step in &script {
            match step {
                Step::Send(bytes) => send(&mut socket, bytes, &seen).await,
                Step::Trickle(bytes) => {
                    for byte in bytes {
                        send(&mut socket, &[*byte], &seen).await;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Flood(bytes) => {
                    let mut left = *bytes;
                    while left > 0 && socket.write_all(&[0; 1024]).await.is_ok() {
                        seen.sent.fetch_add(1024, Ordering::SeqCst);
                        left = left.saturating_sub(1024);
                    }
                }
                Step::Wait(time) => tokio::time::sleep(*time).await,
                Step::Close => return,
            }
        }
    }
}

async fn send(socket: &mut TcpStream, bytes: &[u8], seen: &Seen) {
    if socket.write_all(bytes).await.is_ok() {
        seen.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn client(base: &str) -> Client {
    let config = ClientConfig::new(base.parse().unwrap());
    let config = ClientConfig { timeout: TIMEOUT, max_bytes: 4 << 20, ..config };
    Client::new(config).unwrap()
}

fn path() -> InstancePath {
    InstancePath {
        study: "1.2.3".parse().unwrap(),
        series: "1.2.3.4".parse().unwrap(),
        instance: "1.2.3.4.5".parse().unwrap(),
    }
}

/// A whole answer: `head` is the status and headers but for the length.
fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const RELATED: &str =
    "200 OK\r\nContent-Type: multipart/related; type=application/dicom; boundary=b";

fn part(payload: &str) -> Vec<u8> {
    format!("--b\r\nContent-Type: application/dicom\r\n\r\n{payload}\r\n--b--\r\n").into_bytes()
}

fn whole(payload: &'static str) -> Result<InstanceAnswer, UpstreamError> {
    Ok(InstanceAnswer::Whole(payload.into(), None))
}

#[tokio::test]
async fn an_instance_is_asked_for_as_it_is_stored_with_the_callers_credentials() {
    let archive = Archive::answering(RELATED, &part("file")).await;
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    headers.append("cookie", HeaderValue::from_static("a=1"));
    headers.insert("referer", HeaderValue::from_static("http://viewer/"));
    let caller = Caller::from_headers(&headers);
    let got = archive.client.instance(&path(), &caller, SizeLimit::None).await;
    assert_eq!(got, whole("file"));
    let request = archive.request();
    assert!(
        request.starts_with(
            "GET /dicom-web/studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5 HTTP/1.1\r\n"
        ),
        "{request}"
    );
    let mut sent: Vec<&str> = request.lines().skip(1).filter(|line| !line.is_empty()).collect();
    sent.retain(|line| !line.starts_with("host: "));
    sent.sort_unstable();
    assert_eq!(
        sent,
        [
            r#"accept: multipart/related; type="application/dicom"; transfer-syntax=*"#,
            "authorization: Bearer x",
            "cookie: a=1",
        ]
    );
}

#[tokio::test]
async fn one_connection_serves_many_fetches() {
    let archive = Archive::answering(RELATED, &part("file")).await;
    for _ in 0..5 {
        assert_eq!(archive.instance(SizeLimit::None).await, whole("file"));
    }
    assert_eq!(archive.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_in_single_bytes_is_read() {
    let body = answer(RELATED, &part("fi\r\n--le"));
    let archive = Archive::playing(vec![Step::Trickle(body)]).await;
    assert_eq!(archive.instance(SizeLimit::None).await, whole("fi\r\n--le"));
}

#[tokio::test]
async fn a_body_in_chunks_is_read() {
    let mut body = format!("HTTP/1.1 {RELATED}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in part("file").chunks(3) {
        body.extend(format!("{:x}\r\n", piece.len()).bytes().chain(piece.iter().copied()));
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    let archive = Archive::playing(vec![Step::Send(body)]).await;
    assert_eq!(archive.instance(SizeLimit::None).await, whole("file"));
}

#[tokio::test]
async fn line_ends_of_a_lone_lf_and_parts_without_headers_are_read() {
    for body in [
        "--b\nContent-Type: application/dicom\n\nfile\n--b--\n",
        "--b\r\n\r\nfile\r\n--b--\r\n",
        "--b\r\nContent-Type: application/dicom\r\n\r\nfile",
        "preamble\r\n--b\r\nContent-Type: application/dicom\r\n\r\nfile\r\n--b--\r\n",
    ] {
        let archive = Archive::answering(RELATED, body.as_bytes()).await;
        assert_eq!(archive.instance(SizeLimit::None).await, whole("file"), "{body:?}");
    }
}

#[tokio::test]
async fn a_single_part_is_taken_for_the_multipart_asked_for() {
    for head in ["200 OK\r\nContent-Type: application/dicom", "200 OK", "206 Partial Content"] {
        let archive = Archive::answering(head, b"file").await;
        assert_eq!(archive.instance(SizeLimit::None).await, whole("file"), "{head}");
    }
    let head = "200 OK\r\nContent-Type: image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90";
    let frame = Archive::answering(head, b"jp2").await.frame().await.unwrap();
    assert_eq!(frame.transfer_syntax, Some(TransferSyntax::Jpeg2000Lossless));
}

#[tokio::test]
async fn a_page_for_people_is_not_taken_for_an_image() {
    let archive = Archive::answering("200 OK\r\nContent-Type: text/html", b"<html>log in").await;
    for error in
        [archive.frame().await.unwrap_err(), archive.instance(SizeLimit::None).await.unwrap_err()]
    {
        assert!(matches!(error, UpstreamError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_syntax_of_a_frame_is_the_parts_then_the_answers_then_unknown() {
    let jpeg = "1.2.840.10008.1.2.4.70";
    for (outer, inner, expected) in [
        (";transfer-syntax=1.2", "; transfer-syntax=1.2.840.10008.1.2.4.70;", Some(jpeg)),
        ("; transfer-syntax=1.2.840.10008.1.2.4.70", "", Some(jpeg)),
        ("; transfer-syntax=1.2.840.10008.1.2.4.70", "; transfer-syntax=*", Some(jpeg)),
        (r#"; type="image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70""#, "", Some(jpeg)),
        ("; transfer-syntax=*", "; transfer-syntax=\"\"", None),
        ("", "", None),
    ] {
        let head = format!("200 OK\r\nContent-Type: multipart/related{outer}; boundary=b");
        let body = format!("--b\r\nContent-Type: image/jpeg{inner}\r\n\r\n\u{7f}\0\r\n--b--");
        let archive = Archive::answering(&head, body.as_bytes()).await;
        let frame = archive.frame().await.unwrap();
        assert_eq!(
            frame.transfer_syntax.as_ref().map(TransferSyntax::uid),
            expected,
            "{outer} {inner}"
        );
        assert_eq!(frame.media_type.as_deref(), Some("image/jpeg"));
        assert_eq!(&frame.bytes[..], b"\x7f\0", "padding is kept");
        assert!(archive.request().contains("/instances/1.2.3.4.5/frames/1 HTTP"));
    }
}

#[tokio::test]
async fn metadata_is_asked_for_and_read() {
    let json = br#"[{"00280010": {"vr": "US", "Value": ["512"]}}]"#;
    let archive = Archive::answering("200 OK\r\nContent-Type: application/dicom+json", json).await;
    let metadata = archive.client.metadata(&path(), &Caller::anonymous()).await.unwrap();
    let rows = metadata.dataset.element(dicom_core::Tag(0x0028, 0x0010)).unwrap();
    assert_eq!(rows.to_int::<u16>().unwrap(), 512);
    assert!(archive.request().contains("/metadata HTTP/1.1\r\naccept: application/dicom+json\r\n"));
}

#[tokio::test]
async fn studies_are_searched_for_page_by_page_to_the_end() {
    let body = br#"[{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}]"#;
    let archive = Archive::answering("200 OK\r\nContent-Type: application/dicom+json", body).await;
    let (matching, caller) = ([("StudyDate", "20260131-")], Caller::anonymous());
    let mut studies = archive.client.studies(&matching, &[], &caller);
    let first = studies.next_page().await.unwrap().unwrap();
    assert_eq!(first.iter().map(|(uid, _)| uid.as_str()).collect::<Vec<_>>(), ["1.2.3"]);
    assert!(archive.request().contains("/studies?limit=200&offset=0&StudyDate=20260131- "));
    // The first answer of an archive may be cut short without a word, so it is asked on; here by one
    // that repeats itself.
    assert!(studies.next_page().await.unwrap().unwrap().is_empty());
    assert!(archive.request().contains("offset=1&"), "{}", archive.request());
    assert!(studies.next_page().await.unwrap().is_none());
    assert_eq!(archive.seen.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_page_of_studies_that_failed_can_be_asked_for_again() {
    let archive = Archive::answering("500 Broken", b"").await;
    let caller = Caller::anonymous();
    let mut studies = archive.client.studies(&[], &[], &caller);
    for _ in 0..2 {
        assert_eq!(studies.next_page().await.unwrap_err().status(), Some(500));
        assert!(archive.request().contains("offset=0 "));
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_challenges_and_says_nothing_else() {
    let head =
        "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Bearer";
    let archive = Archive::answering(head, b"secret of 1.2.3").await;
    let error = archive.frame().await.unwrap_err();
    assert!(error.is_denied() && !error.is_transient());
    assert!(!error.to_string().contains("1.2.3") && !error.to_string().contains("realm"));
    let UpstreamError::Status { status: 401, www_authenticate, retry_after: None } = error else {
        panic!("a status")
    };
    assert_eq!(www_authenticate, [r#"Basic realm="x""#, "Bearer"]);
    assert_eq!(archive.client.ready().await, Ok(()));
}

#[tokio::test]
async fn a_busy_archive_says_when_to_come_back() {
    let archive = Archive::answering("503 Busy\r\nRetry-After: 7", b"").await;
    let error = archive.frame().await.unwrap_err();
    assert!(error.is_transient());
    assert!(
        matches!(error, UpstreamError::Status { retry_after: Some(after), .. } if after == "7")
    );
    assert_eq!(archive.client.ready().await.unwrap_err().status(), Some(503));
}

#[tokio::test]
async fn a_redirect_is_refused_not_followed() {
    let archive = Archive::answering("302 Found\r\nLocation: /elsewhere", b"").await;
    assert_eq!(archive.frame().await, Err(UpstreamError::Redirected { status: 302 }));
    assert_eq!(archive.seen.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_without_content_are_empty() {
    let archive =
        Archive::playing(vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".into())]).await;
    assert_eq!(archive.frame().await, Err(UpstreamError::Empty));
    assert_eq!(archive.client.ready().await, Ok(()));
    for body in ["", "--b--\r\n"] {
        let archive = Archive::answering(RELATED, body.as_bytes()).await;
        assert_eq!(archive.frame().await, Err(UpstreamError::Empty), "{body:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_told_from_an_end() {
    let complete = answer(RELATED, &part("file"));
    for cut in [complete.len() - 1, complete.len() - 20, complete.len() - 35] {
        let archive =
            Archive::playing(vec![Step::Send(complete[..cut].to_vec()), Step::Close]).await;
        let got = archive.instance(SizeLimit::None).await;
        // The part is whole once its delimiter is there.
        let expected =
            if cut == complete.len() - 1 { whole("file") } else { Err(UpstreamError::BrokeOff) };
        assert_eq!(got, expected, "cut at {cut} of {}", complete.len());
    }
    // An HTTP/1.0 answer ends with its connection; without a delimiter nobody knows whether it did.
    let old = format!("HTTP/1.0 {RELATED}\r\n\r\n--b\r\nA: b\r\n\r\nfile");
    let archive = Archive::playing(vec![Step::Send(old.clone().into()), Step::Close]).await;
    assert_eq!(archive.instance(SizeLimit::None).await, Err(UpstreamError::BrokeOff));
    let ended = format!("{old}\r\n--b--");
    let archive = Archive::playing(vec![Step::Send(ended.into()), Step::Close]).await;
    assert_eq!(archive.instance(SizeLimit::None).await, whole("file"));
}

#[tokio::test]
async fn a_body_that_is_compressed_unasked_is_refused() {
    let archive =
        Archive::answering(&format!("{RELATED}\r\nContent-Encoding: gzip"), b"\x1f\x8b").await;
    assert!(matches!(archive.frame().await, Err(UpstreamError::Malformed { .. })));
}

#[tokio::test]
async fn an_archive_that_is_down_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&base).ready().await.unwrap_err();
    assert_eq!(error.to_string(), "the archive cannot be reached: connection refused");
    let archive = Archive::playing(vec![Step::Close]).await;
    assert!(matches!(archive.frame().await, Err(UpstreamError::Unreachable { .. })));
}

#[tokio::test]
async fn silence_is_a_timeout_before_the_head_and_within_the_body() {
    let begun = &answer(RELATED, &part("file"))[..120];
    for script in [vec![], vec![Step::Send(begun.to_vec())], vec![Step::Send(b"HTTP/1.1 2".into())]]
    {
        let silent = Step::Wait(Duration::from_secs(60));
        let archive = Archive::playing([script, vec![silent]].concat()).await;
        let asked = Instant::now();
        assert_eq!(archive.frame().await, Err(UpstreamError::Timeout));
        let waited = asked.elapsed();
        assert!(waited >= TIMEOUT && waited < TIMEOUT * 8, "{waited:?}");
    }
}

#[tokio::test]
async fn a_slow_body_may_take_longer_than_the_timeout() {
    let body = part("file");
    let head = format!("HTTP/1.1 {RELATED}\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut script = vec![Step::Send(head.into())];
    for piece in body.chunks(12) {
        script.extend([Step::Wait(TIMEOUT / 3), Step::Send(piece.to_vec())]);
    }
    let archive = Archive::playing(script).await;
    let asked = Instant::now();
    assert_eq!(archive.instance(SizeLimit::None).await, whole("file"));
    assert!(asked.elapsed() > TIMEOUT);
}

#[tokio::test]
async fn an_instance_declared_too_large_is_not_read() {
    let head = format!("HTTP/1.1 {RELATED}\r\nContent-Length: 1000000000\r\n\r\n");
    let archive = Archive::playing(vec![Step::Send(head.into()), Step::Flood(1_000_000_000)]).await;
    let limit = 100_000;
    let got = archive.instance(SizeLimit::Bytes(limit)).await;
    assert_eq!(got, Ok(InstanceAnswer::LargerThan(limit)));
    assert_hung_up(&archive).await;
    let got = archive.instance(SizeLimit::None).await;
    assert_eq!(got, Err(UpstreamError::TooLarge { limit: 4 << 20 }));
    assert_eq!(archive.frame().await, Err(UpstreamError::TooLarge { limit: 4 << 20 }));
}

#[tokio::test]
async fn an_instance_that_grows_too_large_is_abandoned() {
    let begin = String::from_utf8(part("")).unwrap().replace("\r\n--b--\r\n", "");
    let head = format!("HTTP/1.0 {RELATED}\r\n\r\n{begin}");
    let archive = Archive::playing(vec![Step::Send(head.into()), Step::Flood(1_000_000_000)]).await;
    let limit = 100_000;
    let got = archive.instance(SizeLimit::Bytes(limit)).await;
    assert_eq!(got, Ok(InstanceAnswer::LargerThan(limit)));
    assert_hung_up(&archive).await;
}

/// The archive could not go on sending: only what the buffers of the system hold has left it.
async fn assert_hung_up(archive: &Archive) {
    let mut before = u64::MAX;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = archive.seen.sent.load(Ordering::SeqCst);
        if sent == before {
            assert!(sent < 50_000_000, "{sent} bytes were sent");
            return;
        }
        before = sent;
    }
    panic!("the archive is still sending");
}

#[tokio::test]
async fn the_pool_passes_answers_through_untouched() {
    let archive = Archive::answering(
        "302 Found\r\nLocation: /x\r\nContent-Encoding: gzip\r\nSet-Cookie: a=1",
        b"raw",
    )
    .await;
    let url = archive.client.url("//studies/%2C", Some("a=%2c")).unwrap();
    for _ in 0..2 {
        let answer = archive.client.http().get(url.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(&answer.bytes().await.unwrap()[..], b"raw");
        let request = archive.request();
        assert!(request.starts_with("GET /dicom-web//studies/%2C?a=%2c HTTP/1.1\r\n"), "{request}");
        assert!(!request.contains("cookie") && !request.contains("accept-encoding"), "{request}");
    }
}
