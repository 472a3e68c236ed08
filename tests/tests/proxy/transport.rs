//! How clients are connected: TLS and HTTP/2, limits and those who are slow, proxies in front, and what
//! browsers are told of what they get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lightbox_tests::pictures::Picture;
use lightbox_tests::{
    Answer, Browser, Nginx, Proxy, Received, Reply, ScriptedOrigin, TestImage, eventually,
    raw_exchange, skip,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, crypto::ring,
};

const MEBIBYTE: usize = 1 << 20;
/// `client_timeout` of the tests of those who are slow.
const PATIENCE: &str = "2s";

async fn in_front_of(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    keys: &[(&str, &str)],
) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(answer);
    let proxy = Proxy::start_with(&origin.url(), keys).await;
    (origin, proxy)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// TLS ----------------------------------------------------------------------------------------------

/// Who signs certificates, and the files of one.
struct Authority {
    folder: tempfile::TempDir,
    params: CertificateParams,
    key: KeyPair,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let authority = Self { folder: tempfile::tempdir().unwrap(), params, key, root };
        authority.renew();
        authority
    }

    /// A new certificate and its key, as PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Puts a new certificate into the files; returns it.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.sign();
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        // As those who renew certificates do it: nobody sees half a file.
        let aside = self.folder.path().join("aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.folder.path().join(name)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn proxy(&self, upstream: &str, more: &[(&str, &str)]) -> Proxy {
        let (certificate, key) = (self.path("cert.pem"), self.path("key.pem"));
        let keys = [("tls_cert", certificate.as_str()), ("tls_key", &key)];
        let keys: Vec<_> = keys.into_iter().chain(more.iter().copied()).collect();
        Proxy::start_with(upstream, &keys).await
    }

    /// Connects by this version of TLS, with these protocols offered.
    async fn connect(
        &self,
        proxy: &Proxy,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(proxy.address()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The certificate that is shown.
    async fn shown(&self, proxy: &Proxy) -> CertificateDer<'static> {
        let stream = self.connect(proxy, &[&TLS13], &[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    }
}

/// GET over a connection that speaks HTTP/2 already.
async fn get_by_http2<S>(stream: S, uri: &str) -> (u16, Version, Bytes)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let (status, version) = (answer.status().as_u16(), answer.version());
    (status, version, answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_http_2_where_the_client_offers_it() {
    let authority = Authority::new();
    let (origin, _) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let proxy = authority.proxy(&origin.url(), &[]).await;
    assert!(proxy.log().contains("listening on https://"), "{}", proxy.log());
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let stream = authority.connect(&proxy, &[version], &["h2", "http/1.1"]).await.unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(name));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        let (status, http, body) = get_by_http2(stream, "https://localhost/studies").await;
        assert_eq!((status, http, &body[..]), (200, Version::HTTP_2, &b"[]"[..]));
        for offered in [&["http/1.1"][..], &[]] {
            let mut stream = authority.connect(&proxy, &[version], offered).await.unwrap();
            let request = "GET /studies HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", text(&answer));
            let lower = text(&answer).to_ascii_lowercase();
            assert!(!lower.contains("strict-transport-security"), "{lower}");
        }
    }
    assert!(authority.connect(&proxy, &[&TLS13], &["spdy/3"]).await.is_err());
    // The archive is told, and builds its URLs from it.
    for seen in origin.received() {
        assert_eq!(seen.header("x-forwarded-proto"), "https");
        assert_eq!(seen.header("x-forwarded-host"), "localhost");
        assert!(seen.header("forwarded").ends_with(";host=localhost;proto=https"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_by_tls_in_many_streams_at_once() {
    let authority = Authority::new();
    let origin = ScriptedOrigin::start().await;
    // Larger than the pieces in which HTTP/2 is given it.
    let pixels = (0..600 * 600_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let image = TestImage::new(600, 600, pixels);
    image.put_on(&origin);
    let plain = Proxy::start(&origin.url()).await;
    let path = format!("{}/rendered?accept=image/png", image.url_path());
    let expected = plain.get(&path).await;
    assert!(expected.status() == 200 && expected.body.len() > 200_000, "{}", expected.body.len());
    let proxy = authority.proxy(&origin.url(), &[("cache_memory", "64MiB")]).await;
    let stream = authority.connect(&proxy, &[&TLS13], &["h2"]).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let one = || {
        let (mut sender, path) = (sender.clone(), path.clone());
        async move {
            let request = Request::get(format!("https://localhost{path}"));
            let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.unwrap().to_bytes()
        }
    };
    for body in futures_util::future::join_all((0..40).map(|_| one())).await {
        assert!(body == expected.body, "{} bytes", body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let authority = Authority::new();
    let (origin, _) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let proxy = authority.proxy(&origin.url(), &[]).await;
    let reloads = async |outcome: &str| {
        proxy.metric(&format!("lightbox_tls_reloads_total{{outcome=\"{outcome}\"}}")).await
    };
    let old = authority.connect(&proxy, &[&TLS13], &["h2"]).await.unwrap();
    let renewed = authority.renew();
    eventually("the new certificate", || async { authority.shown(&proxy).await == renewed }).await;
    assert_eq!((reloads("loaded").await, reloads("failed").await), (1.0, 0.0));
    let (status, ..) = get_by_http2(old, "https://localhost/studies").await;
    assert_eq!(status, 200, "who was connected before stays so");

    let (certificate, key) = authority.sign();
    let mut failures = 0.0;
    for (name, broken) in [
        ("cert.pem", "no certificate"),
        ("cert.pem", ""),
        // A certificate that another key belongs to.
        ("cert.pem", &*certificate),
    ] {
        authority.write(name, broken);
        failures += 1.0;
        eventually("a failure", || async { reloads("failed").await == failures }).await;
        assert_eq!(authority.shown(&proxy).await, renewed, "{broken}");
    }
    std::fs::remove_file(authority.path("key.pem")).unwrap();
    eventually("another", || async { reloads("failed").await == failures + 1.0 }).await;
    assert_eq!(authority.shown(&proxy).await, renewed);
    // Said once for each change, with the file, and nothing of a key.
    let log = proxy.log();
    assert_eq!(log.matches("cannot be used").count(), 4, "{log}");
    assert!(log.contains("cert.pem") && log.contains("key.pem"), "{log}");
    // And it recovers.
    authority.write("key.pem", &key);
    let fixed = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    eventually("the fixed one", || async { authority.shown(&proxy).await == fixed }).await;
    assert_eq!(reloads("loaded").await, 2.0);
}

#[test]
fn a_certificate_that_cannot_be_used_is_said_at_the_start() {
    let authority = Authority::new();
    let (_, other_key) = authority.sign();
    authority.write("other.pem", &other_key);
    authority.write("empty.pem", "");
    let start = |certificate: Option<&str>, key: Option<&str>| {
        let mut file = String::from(
            "upstream = \"http://127.0.0.1:9\"\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             cache_disk = \"off\"\n",
        );
        for (name, value) in [("tls_cert", certificate), ("tls_key", key)] {
            if let Some(value) = value {
                file.push_str(&format!("{name} = {:?}\n", authority.path(value)));
            }
        }
        authority.write("lightbox.toml", &file);
        let words = ["serve", "--config", "lightbox.toml"];
        let done = lightbox_tests::lightbox(authority.folder.path(), &words);
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        done.stderr
    };
    assert!(start(Some("cert.pem"), None).contains("tls_key: "));
    assert!(start(None, Some("key.pem")).contains("tls_cert: "));
    assert!(start(Some("nowhere.pem"), Some("key.pem")).contains("nowhere.pem"));
    assert!(start(Some("empty.pem"), Some("key.pem")).contains("no certificate"));
    assert!(start(Some("cert.pem"), Some("cert.pem")).contains("no private key"));
    let said = start(Some("cert.pem"), Some("other.pem"));
    assert!(said.contains("tls_key: ") && said.contains("not the key"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_shake_hands_is_told_or_let_go() {
    let authority = Authority::new();
    let (origin, _) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let proxy = authority.proxy(&origin.url(), &[("client_timeout", PATIENCE)]).await;
    let request = b"GET /studies HTTP/1.1\r\nHost: x\r\n\r\n";
    let said = text(&raw_exchange(proxy.address(), request).await);
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("https://"), "{said}");
    // Something else, the beginning of a handshake, and nothing at all.
    for start in [&b"\x00\x01\x02\x03"[..], b"\x16\x03\x01\x02\x00\x01", b""] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        // A reset is an end too.
        let _ = read.await.expect("it ends");
        assert!(began.elapsed() < Duration::from_secs(10), "{start:?}");
    }
    assert!(proxy.metric("lightbox_tls_handshakes_failed_total").await >= 3.0);
    eventually("no connection is left", || async {
        proxy.metric("lightbox_connections").await == 0.0
    })
    .await;
    assert_eq!(origin.requests(), 0);
    assert!(authority.connect(&proxy, &[&TLS13], &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_in_clear_by_who_knows_it() {
    let (_origin, proxy) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (status, version, _) = get_by_http2(stream, &format!("{}/studies", proxy.url())).await;
    assert_eq!((status, version), (200, Version::HTTP_2));
}

// Limits ---------------------------------------------------------------------------------------------

fn assert_problem(reply: &Reply, status: u16) {
    assert_eq!(reply.status(), status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (problem["status"].as_u64(), &problem["stage"]),
        (Some(status.into()), &"request".into())
    );
}

#[tokio::test]
async fn a_request_is_for_one_host_and_its_body_comes_plainly() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let sent = |version: &str, fields: &str| {
        let request = format!("GET /studies {version}\r\nConnection: close\r\n{fields}\r\n");
        let address = proxy.address().to_owned();
        async move { text(&raw_exchange(&address, request.as_bytes()).await) }
    };
    for (version, fields) in [
        ("HTTP/1.1", "Host: images.example:8080\r\n"),
        ("HTTP/1.1", "Host: [::1]:8080\r\n"),
        ("HTTP/1.0", ""),
        ("HTTP/1.1", "Host: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n"),
    ] {
        let answer = sent(version, fields).await;
        assert!(answer.contains(" 200 "), "{version} {fields:?}: {answer}");
    }
    let passed = origin.requests();
    for (version, fields) in [
        ("HTTP/1.1", ""),
        ("HTTP/1.1", "Host: a\r\nHost: a\r\n"),
        ("HTTP/1.0", "Host: a\r\nHost: b\r\n"),
        ("HTTP/1.1", "Host: me@images.example\r\n"),
        ("HTTP/1.1", "Host: images.example/there\r\n"),
        ("HTTP/1.1", "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n"),
    ] {
        let answer = sent(version, fields).await;
        assert!(answer.contains(" 400 "), "{version} {fields:?}: {answer}");
    }
    assert_eq!(origin.requests(), passed, "what is refused reaches nobody");
}

#[tokio::test]
async fn heads_have_a_size() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let long = |length: usize| format!("/studies?a={}", "x".repeat(length));
    assert_eq!(proxy.get(&long(16_000)).await.status(), 200);
    assert_problem(&proxy.get(&long(16_384)).await, 414);
    assert_problem(&proxy.get(&format!("/studies/{}/thumbnail", "1".repeat(60_000))).await, 414);
    let large = "x".repeat(30_000);
    assert_eq!(proxy.get_with("/studies", &[("x-large", &large)]).await.status(), 200);
    let larger = "x".repeat(40_000);
    assert_problem(&proxy.get_with("/studies", &[("x-large", &larger)]).await, 431);
    let passed = origin.requests();
    assert_eq!(passed, 2, "what is refused reaches nobody");
    // Above what hyper reads, it says so itself.
    let request = |fields: String| {
        format!("GET /studies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
    };
    let many: String = (0..90).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = raw_exchange(proxy.address(), request(many).as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", text(&answer));
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let huge = format!("x: {}\r\n", "y".repeat(200_000));
    for fields in [many, huge] {
        let answer = raw_exchange(proxy.address(), request(fields).as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", text(&answer));
    }
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(70_000));
    let answer = raw_exchange(proxy.address(), target.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 414"), "{}", text(&answer));
    let admin = proxy.admin_url();
    let answer =
        lightbox_tests::client().get(format!("{admin}{}", long(20_000))).send().await.unwrap();
    assert_eq!(answer.status(), 414);
    assert_eq!(origin.requests(), passed + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_a_size_over_http_2_too() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]"), &[]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut status = async |query: usize, fields: usize, size: usize| {
        let uri = format!("{}/studies?{}", proxy.url(), "q".repeat(query));
        let mut request = Request::get(uri);
        for n in 0..fields {
            request = request.header(format!("x-{n}"), "v".repeat(size));
        }
        let sent = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
        sent.map(|answer| answer.status().as_u16())
    };
    assert_eq!(status(1, 1, 1).await.unwrap(), 200);
    assert_eq!(status(17_000, 1, 1).await.unwrap(), 414);
    assert_eq!(status(1, 150, 1).await.unwrap(), 431);
    assert_eq!(status(1, 1, 31_000).await.unwrap(), 200);
    // Whether the client is told by its settings not to send it, or by the answer.
    assert!(status(1, 1, 60_000).await.is_ok_and(|status| status == 431) || origin.requests() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http_2_has_a_hundred_requests_at_once() {
    let (origin, proxy) =
        in_front_of(|_| Answer::json("[]").after(Duration::from_secs(2)), &[]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    // The settings of the server have come with the first answer.
    let one = || {
        let (mut sender, uri) = (sender.clone(), format!("{}/studies", proxy.url()));
        async move {
            sender.ready().await.unwrap();
            let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
            sender.send_request(request).await.unwrap().status().as_u16()
        }
    };
    assert_eq!(one().await, 200);
    let all = futures_util::future::join_all((0..150).map(|_| one()));
    let most = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        origin.requests() - 1
    };
    let (all, most) = tokio::join!(all, most);
    assert!(all.iter().all(|&status| status == 200));
    assert!((1..=100).contains(&most), "{most} at once");
}

/// Frames of HTTP/2 written by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END: u8 = 0x1 | 0x4;

/// `GET path` in HPACK, without Huffman and without the table.
fn get_fields(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'x']);
    block
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_and_takes_back_requests_without_end_is_shown_the_door() {
    let (origin, proxy) =
        in_front_of(|_| Answer::json("[]").after(Duration::from_secs(30)), &[]).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for n in 0..20_000_u32 {
        let id = 2 * n + 1;
        bytes.extend(frame(HEADERS, END, id, &get_fields("/studies")));
        bytes.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    let (mut reading, mut writing) = stream.split();
    let mut said = Vec::new();
    let (_, read) = tokio::join!(
        writing.write_all(&bytes),
        tokio::time::timeout(Duration::from_secs(30), reading.read_to_end(&mut said)),
    );
    // A reset is an end too.
    let _ = read.expect("the connection ends");
    assert!(said.windows(9).any(|head| head[3] == GOAWAY && head[5..9] == [0; 4]), "{said:?}");
    assert!(origin.requests() < 5_000, "{} of 20000 reached the archive", origin.requests());
    assert!(is_served(&proxy).await, "others are served");
}

/// Whether a connection is accepted and a request on it answered.
async fn is_served(proxy: &Proxy) -> bool {
    let request = b"OPTIONS /studies/1/thumbnail HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    raw_exchange(proxy.address(), request).await.starts_with(b"HTTP/1.1 204")
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_requests_have_a_size_where_one_is_set() {
    let limit = [("max_request_bytes", "1MiB")];
    let (origin, proxy) = in_front_of(|_| Answer::status(200), &limit).await;
    let send = async |length: usize, declared: bool| {
        let body = vec![7; length];
        let body = if declared {
            reqwest::Body::from(body)
        } else {
            let pieces: Vec<_> =
                body.chunks(65_536).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
            reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
        };
        let request = proxy.request(Method::POST, "/studies", &[]).body(body);
        Reply::read(request.send().await.unwrap()).await
    };
    for declared in [true, false] {
        assert_eq!(send(MEBIBYTE, declared).await.status(), 200);
    }
    let before = origin.requests();
    let head =
        format!("POST /studies HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", MEBIBYTE + 1);
    let said = text(&raw_exchange(proxy.address(), head.as_bytes()).await);
    assert!(said.starts_with("HTTP/1.1 413") && said.contains("max_request_bytes"), "{said}");
    assert_eq!(origin.requests(), before, "refused by its length alone");
    // Also to who goes on sending: the answer is not lost.
    for length in [MEBIBYTE + 1, 4 * MEBIBYTE] {
        assert_problem(&send(length, false).await, 413);
    }
    let (_archive, open) = in_front_of(|_| Answer::status(200), &[]).await;
    let body = vec![7; 8 * MEBIBYTE];
    let sent = open.request(Method::POST, "/studies", &[]).body(body).send().await.unwrap();
    assert_eq!(sent.status(), 200, "by default the archive decides");
}

// Those who are slow --------------------------------------------------------------------------------

/// Until the peer has closed; what it said, and how long that took.
async fn until_closed(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let (began, mut said) = (Instant::now(), Vec::new());
    let read = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut said));
    // A reset is an end too.
    let _ = read.await.expect("the connection ends");
    (said, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_the_connection() {
    let (origin, proxy) =
        in_front_of(|_| Answer::json("[]"), &[("client_timeout", PATIENCE)]).await;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let half_head = [PREFACE, &settings, &frame(HEADERS, 0x1, 1, &get_fields("/studies"))].concat();
    for start in [
        &b""[..],
        b"GET /studies HTTP/1.1\r\nHost: x\r\nX-Slow:",
        &PREFACE[..10],
        PREFACE,
        &[PREFACE, &settings[..]].concat(),
        // Its end would come in frames of its own.
        &half_head,
    ] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(start).await.unwrap();
        let (_, took) = until_closed(&mut stream).await;
        assert!(took < Duration::from_secs(20), "{took:?}: {}", text(start));
    }
    // One byte now and then does not help.
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"GET /studies HTTP/1.1\r\nX: ").await.unwrap();
    let began = Instant::now();
    while stream.write_all(b"y").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(origin.requests(), 0);
    eventually("no connection is left", || async {
        proxy.metric("lightbox_connections").await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up() {
    let (origin, proxy) =
        in_front_of(|_| Answer::status(200), &[("client_timeout", PATIENCE)]).await;
    for (version, length) in
        [("1.1", "Content-Length: 100000"), ("1.1", "Transfer-Encoding: chunked")]
    {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let head = format!("POST /studies HTTP/{version}\r\nHost: x\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"5\r\nfirst\r\n").await.unwrap();
        let (said, took) = until_closed(&mut stream).await;
        assert!(said.starts_with(b"HTTP/1.1 408"), "{length}: {}", text(&said));
        assert!(text(&said).contains("application/problem+json"), "{}", text(&said));
        assert!((1..15).contains(&took.as_secs()), "{took:?}");
    }
    // Whose pieces come in time may take long as a whole.
    let (feed, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|piece| (Ok::<_, std::io::Error>(piece), body))
    });
    let request = proxy.request(Method::POST, "/studies", &[]);
    let answer = tokio::spawn(request.body(reqwest::Body::wrap_stream(pieces)).send());
    for _ in 0..6 {
        feed.send(Bytes::from_static(&[7; 8 << 10])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    drop(feed);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(origin.received().last().unwrap().body_length, 6 * (8 << 10));
    assert_eq!(proxy.metric("lightbox_stalled_total{what=\"upload\"}").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up_over_http_2() {
    let (_origin, proxy) =
        in_front_of(|_| Answer::status(200), &[("client_timeout", PATIENCE)]).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let first =
        futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from("x")))]);
    let silent = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let request = Request::post(format!("{}/studies", proxy.url())).body(StreamBody::new(silent));
    let answer =
        tokio::time::timeout(Duration::from_secs(20), sender.send_request(request.unwrap()));
    assert_eq!(answer.await.expect("in time").unwrap().status(), 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_an_answer_is_cut_off_and_the_archive_let_go() {
    let endless = || Answer::endless("application/octet-stream", vec![0; 65_536]);
    for is_tls in [false, true] {
        let authority = Authority::new();
        let (origin, _) = in_front_of(move |_| endless(), &[]).await;
        let slow = [("client_timeout", PATIENCE)];
        let proxy = match is_tls {
            true => authority.proxy(&origin.url(), &slow).await,
            false => Proxy::start_with(&origin.url(), &slow).await,
        };
        let request = b"GET /studies/1 HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut held = Vec::new();
        let mut held_by_tls = Vec::new();
        for _ in 0..5 {
            if is_tls {
                let mut stream = authority.connect(&proxy, &[&TLS13], &[]).await.unwrap();
                stream.write_all(request).await.unwrap();
                held_by_tls.push(stream);
            } else {
                let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
                stream.write_all(request).await.unwrap();
                held.push(stream);
            }
        }
        eventually("all are answered", || async { origin.requests() == 5 }).await;
        eventually("all are cut off", || async {
            proxy.metric("lightbox_stalled_total{what=\"connection\"}").await == 5.0
                && proxy.metric("lightbox_connections").await == 0.0
        })
        .await;
        let sent = origin.bytes_out();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(origin.bytes_out(), sent, "the archive sends to nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_an_answer_slowly_gets_all_of_it() {
    const SIZE: usize = 24 * MEBIBYTE;
    let chunks = || Answer::chunks(vec![Bytes::from(vec![7; MEBIBYTE]); 24], Duration::ZERO);
    let (_origin, proxy) = in_front_of(move |_| chunks(), &[("client_timeout", PATIENCE)]).await;
    let mut response = proxy.request(Method::GET, "/studies/1", &[]).send().await.unwrap();
    let (began, mut length, mut paused) = (Instant::now(), 0, 0);
    while let Some(chunk) = response.chunk().await.unwrap() {
        length += chunk.len();
        if length > paused {
            paused += SIZE / 12;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    assert_eq!(length, SIZE);
    assert!(began.elapsed() > Duration::from_secs(5), "longer than one wait may be");
}

/// Takes no window beyond the first of 64 KiB, and answers every ping.
async fn alive_but_taking_nothing(mut stream: TcpStream, path: &str) -> Duration {
    let began = Instant::now();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let get = frame(HEADERS, END, 1, &get_fields(path));
    stream.write_all(&[PREFACE, &settings, &get].concat()).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        let answer = match (head[3], head[4] & 1) {
            (SETTINGS, 0) => frame(SETTINGS, 1, 0, &[]),
            (PING, 0) => frame(PING, 1, 0, &payload),
            _ => continue,
        };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_over_http_2_is_cut_off_though_the_connection_lives() {
    let endless = || Answer::endless("application/octet-stream", vec![0; 65_536]);
    let (origin, proxy) = in_front_of(move |_| endless(), &[("client_timeout", PATIENCE)]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let held = alive_but_taking_nothing(stream, "/studies/1");
    let took = tokio::time::timeout(Duration::from_secs(40), held).await.expect("it ends");
    assert!(took > Duration::from_secs(2), "{took:?}");
    eventually("the archive is let go", || async {
        let sent = origin.bytes_out();
        tokio::time::sleep(Duration::from_millis(300)).await;
        origin.bytes_out() == sent && proxy.metric("lightbox_connections").await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_that_is_not_taken_is_let_go_while_others_go_on() {
    let origin = ScriptedOrigin::start().await;
    origin.on("/left", |_| Answer::endless("application/octet-stream", vec![0; 65_536]));
    origin.on("/taken", |_| Answer::json("[]"));
    let proxy = Proxy::start_with(&origin.url(), &[("client_timeout", PATIENCE)]).await;
    let io = TokioIo::new(TcpStream::connect(proxy.address()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut get = async |path: &str| {
        let request = Request::get(format!("{}{path}", proxy.url())).body(Empty::<Bytes>::new());
        sender.send_request(request.unwrap()).await.unwrap()
    };
    let left = get("/left").await;
    let began = Instant::now();
    while proxy.metric("lightbox_stalled_total{what=\"stream\"}").await < 1.0 {
        assert!(began.elapsed() < Duration::from_secs(30), "it is let go");
        assert_eq!(get("/taken").await.status(), 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    let sent = origin.bytes_out();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(origin.bytes_out() <= sent + 100, "the archive sends to nobody");
    assert!(left.into_body().collect().await.is_err(), "and what came of it does not look whole");
    assert_eq!(get("/taken").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_may_wait_for_us_as_long_as_it_takes() {
    let late = || Answer::json("[]").after(Duration::from_secs(6));
    let (_origin, proxy) = in_front_of(move |_| late(), &[("client_timeout", "1s")]).await;
    assert_eq!(proxy.get("/studies").await.status(), 200);
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (status, ..) = get_by_http2(stream, &format!("{}/studies", proxy.url())).await;
    assert_eq!(status, 200, "over HTTP/2 too");
    // The same of a body whose next piece is not there yet.
    let slow = || {
        let chunks = ["[", " ", "]"].map(|piece| Bytes::from_static(piece.as_bytes()));
        Answer::chunks(chunks.to_vec(), Duration::from_secs(4))
    };
    let (_origin, proxy) = in_front_of(move |_| slow(), &[("client_timeout", "1s")]).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (_, _, body) = get_by_http2(stream, &format!("{}/studies", proxy.url())).await;
    assert_eq!(&body[..], b"[ ]");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_end_well_when_the_server_is_told_to_leave() {
    let authority = Authority::new();
    let (origin, _) = in_front_of(|_| Answer::json("[]").after(Duration::from_secs(2)), &[]).await;
    let mut proxy = authority.proxy(&origin.url(), &[]).await;
    let idle = authority.connect(&proxy, &[&TLS13], &["h2"]).await.unwrap();
    let stream = authority.connect(&proxy, &[&TLS13], &["h2"]).await.unwrap();
    let answer = tokio::spawn(get_by_http2(stream, "https://localhost/studies"));
    eventually("it is under way", || async { origin.requests() == 1 }).await;
    proxy.signal("TERM");
    assert_eq!(answer.await.unwrap().0, 200);
    assert!(proxy.ended(Duration::from_secs(10)).await.success());
    drop(idle);
}

// Proxies in front -----------------------------------------------------------------------------------

const SAID: [(&str, &str); 6] = [
    ("forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-prefix", "/evil"),
    ("x-real-ip", "203.0.113.9"),
];

#[tokio::test]
async fn what_proxies_say_is_believed_of_those_that_are_trusted() {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::json("[]"));
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (trusted, is_trusted) in [
        ("", false),
        ("127.0.0.2", false),
        ("10.0.0.0/8,::1", false),
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
        ("::ffff:127.0.0.1", true),
        ("::ffff:127.0.0.0/104", true),
        ("10.0.0.0/8,127.0.0.1", true),
    ] {
        let proxy = Proxy::start_with(&origin.url(), &[("trusted_proxies", trusted)]).await;
        let before = origin.requests();
        proxy.get_with("/studies", &SAID).await;
        let seen = origin.received()[before].clone();
        let ours = format!("for={};host={};proto=http", address.ip(), proxy.address());
        if is_trusted {
            assert_eq!(seen.header("forwarded"), format!("{}, {ours}", SAID[0].1), "{trusted}");
            assert_eq!(seen.header("x-forwarded-for"), "203.0.113.9, 127.0.0.1", "{trusted}");
            for (name, value) in &SAID[2..] {
                assert_eq!(seen.header(name), *value, "{trusted}");
            }
        } else {
            assert_eq!(seen.header("forwarded"), ours, "{trusted}");
            assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1", "{trusted}");
            assert_eq!(seen.header("x-forwarded-host"), proxy.address(), "{trusted}");
            assert_eq!(seen.header("x-forwarded-proto"), "http", "{trusted}");
            let all = format!("{:?}", seen.headers);
            assert!(!all.contains("evil") && !all.contains("203.0.113.9"), "{trusted}: {all}");
        }
    }
}

/// Of answers whose URLs become ours.
async fn rewriting(keys: &[(&str, &str)]) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(64, 64);
    image.put_on(&origin);
    origin.on("/studies", |_| {
        Answer::json(r#"["http://pacs:1/studies/1"]"#).header("cache-control", "public, max-age=60")
    });
    let keys: Vec<_> = keys.iter().copied().chain([("rewrite_urls", "true")]).collect();
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    (origin, proxy)
}

#[tokio::test]
async fn a_host_that_anybody_names_stands_in_no_url_that_others_get() {
    let (origin, proxy) = rewriting(&[("cache_memory", "64MiB"), ("cache_disk", "off")]).await;
    let reply = proxy.get_with("/studies", &SAID).await;
    assert_eq!(reply.text(), format!(r#"["{}/studies/1"]"#, proxy.url()));
    // The host of the request itself is the client's to name: no cache may hand its URLs to others.
    let reply = proxy.get_with("/studies", &[("host", "evil.example")]).await;
    assert_eq!(reply.text(), r#"["http://evil.example/studies/1"]"#);
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    // Where this server's own URL is known, it stands there whoever asks.
    let (_origin, known) = rewriting(&[("public_url", "https://images.example")]).await;
    for headers in [&SAID[..], &[("host", "evil.example")], &[]] {
        let reply = known.get_with("/studies", headers).await;
        assert_eq!(reply.text(), r#"["https://images.example/studies/1"]"#);
        assert_eq!(reply.header("cache-control"), "public, max-age=60");
    }
    // Pictures, and what is asked of the archive for them, depend on nothing of it.
    let path = format!("{}/thumbnail", TestImage::ramp(64, 64).url_path());
    let before = origin.requests();
    let evil: Vec<_> = SAID.iter().copied().chain([("host", "evil.example")]).collect();
    let poisoned = proxy.get_with(&path, &evil).await;
    let asked = origin.received();
    assert!(asked.len() > before);
    for request in &asked[before..] {
        let all = format!("{:?}", request.headers);
        assert!(!all.contains("evil") && !all.contains("203.0.113.9"), "{all}");
    }
    let clean = proxy.get(&path).await;
    assert!(clean.header("cache-status").contains("hit"), "{}", clean.header("cache-status"));
    assert_eq!(clean.body, poisoned.body);
    for name in ["content-location", "etag", "vary"] {
        assert_eq!(clean.header(name), poisoned.header(name));
        assert!(!clean.header(name).contains("evil"));
    }
}

#[tokio::test]
async fn the_audit_names_the_client_behind_trusted_proxies() {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(8, 8);
    image.put_on(&origin);
    let chain = [("x-forwarded-for", "198.51.100.66, 203.0.113.9, ::ffff:10.0.0.7")];
    for (trusted, expected) in
        [("127.0.0.1, 10.0.0.0/8", "203.0.113.9"), ("10.0.0.0/8", "127.0.0.1")]
    {
        let keys = [("audit", "stdout"), ("trusted_proxies", trusted)];
        let proxy = Proxy::start_with(&origin.url(), &keys).await;
        let path = format!("{}/thumbnail", image.url_path());
        assert_eq!(proxy.get_with(&path, &chain).await.status(), 200);
        let address = format!("\"address\":\"{expected}\"");
        eventually("it is written down", || async { proxy.log().contains("AuditEvent") }).await;
        assert!(proxy.log().contains(&address), "{trusted}: {}", proxy.log());
        assert!(!proxy.log().contains("198.51.100.66"), "{}", proxy.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_as_the_documents_set_it_up() {
    let (origin, proxy) = rewriting(&[("trusted_proxies", "127.0.0.1")]).await;
    let documents = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/transport.md"),
    )
    .unwrap();
    let location = documents.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
    let location =
        location.expect("the recipe for nginx").replace("127.0.0.1:8080", proxy.address());
    let nginx = match Nginx::start(1, "", &location, &[]) {
        Ok(nginx) => nginx,
        Err(why) => return skip("nginx in front", &why),
    };
    let client = lightbox_tests::client();
    let mut request = client.get(format!("{}/studies", nginx.url()));
    for (name, value) in SAID {
        request = request.header(name, value);
    }
    let reply = Reply::read(request.send().await.unwrap()).await;
    assert_eq!(reply.text(), format!(r#"["{}/studies/1"]"#, nginx.url()));
    let seen = origin.received().pop().unwrap();
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1, 127.0.0.1");
    let all = format!("{:?}", seen.headers);
    assert!(!all.contains("evil") && !all.contains("203.0.113.9"), "{all}");
}

// What browsers are told -----------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_says_what_a_browser_may_make_of_it() {
    let demo = Proxy::demo(None).await;
    let searched = demo.get("/studies").await;
    assert_eq!(searched.status(), 200, "{}", searched.text());
    let searched: serde_json::Value = serde_json::from_slice(&searched.body).unwrap();
    let studies = searched.as_array().unwrap();
    let mut kinds = std::collections::BTreeMap::new();
    for study in studies {
        let uid = study["0020000D"]["Value"][0].as_str().unwrap();
        let found = demo.get(&format!("/studies/{uid}/instances?includefield=00080060")).await;
        let found: serde_json::Value = serde_json::from_slice(&found.body).unwrap();
        for instance in found.as_array().unwrap() {
            let of = |tag: &str| instance[tag]["Value"][0].as_str().unwrap_or_default().to_owned();
            let (series, object) = (of("0020000E"), of("00080018"));
            let path = format!("/studies/{uid}/series/{series}/instances/{object}");
            kinds.entry(of("00080060")).or_insert(path);
        }
    }
    let sandboxed = |reply: &Reply| reply.header("content-security-policy").contains("sandbox");
    let nosniff = |reply: &Reply, what: &str| {
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(reply.count("x-content-type-options"), 1, "{what}");
        assert_eq!(reply.header("cross-origin-resource-policy"), "cross-origin", "{what}");
    };
    let (ct, sr, doc) = (&kinds["CT"], &kinds["SR"], &kinds["DOC"]);
    for (path, accept, kind, is_sandboxed) in [
        (format!("{ct}/rendered"), "image/jpeg", "image/jpeg", false),
        (format!("{ct}/rendered"), "image/png", "image/png", false),
        (format!("{ct}/thumbnail"), "*/*", "image/jpeg", false),
        (format!("{sr}/thumbnail"), "*/*", "image/jpeg", false),
        (format!("{sr}/rendered"), "text/html", "text/html", true),
        (format!("{sr}/rendered"), "text/plain", "text/plain", true),
        (format!("{sr}/rendered"), "text/xml", "text/xml", true),
        (format!("{doc}/rendered"), "application/pdf", "application/pdf", true),
        (format!("{ct}/metadata"), "application/dicom+json", "application/dicom+json", false),
        ("/studies/x/thumbnail".to_owned(), "*/*", "application/problem+json", false),
        (format!("{ct}/rendered"), "text/html", "application/problem+json", false),
        ("/studies/1.2/thumbnail".to_owned(), "image/jpeg", "image/jpeg", false),
    ] {
        let reply = demo.get_with(&path, &[("accept", accept)]).await;
        let what = format!("{path} as {accept}");
        assert_eq!(reply.header("content-type").split(';').next(), Some(kind), "{what}");
        nosniff(&reply, &what);
        assert_eq!(sandboxed(&reply), is_sandboxed, "{what}");
        if is_sandboxed {
            let policy = reply.header("content-security-policy");
            assert!(policy.contains("default-src 'none'"), "{policy}");
        }
    }
    let collection = "multipart/related; type=\"image/jpeg\"";
    let series = ct.split("/instances").next().unwrap();
    let reply = demo.get_with(&format!("{series}/rendered"), &[("accept", collection)]).await;
    assert!(reply.header("content-type").starts_with("multipart/related"));
    nosniff(&reply, "a collection");
    // The page has a policy of its own, and is nobody's to embed.
    let page = demo.get_with("/", &[("accept", "text/html")]).await;
    let policy = page.header("content-security-policy");
    for part in
        ["default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cross-origin-resource-policy"), "same-origin");
}

#[tokio::test]
async fn pages_that_the_archive_sends_run_nothing_in_the_name_of_this_server() {
    let (_origin, proxy) = in_front_of(
        |request| {
            let kind = request.query.as_deref().unwrap_or_default().replace('_', " ");
            Answer::new(200, &kind, "<script>alert(1)</script>")
                .header("content-security-policy", "img-src 'none'")
        },
        &[],
    )
    .await;
    for (kind, is_page) in [
        ("text/html", true),
        ("TEXT/HTML;_charset=x", true),
        ("image/svg+xml", true),
        ("application/xml", true),
        ("application/xhtml+xml", true),
        ("application/pdf", false),
        ("application/dicom+json", false),
        ("text/plain", false),
        // What nobody can be sure of.
        ("", true),
        ("text/html,", true),
        ("image/jpeg,_text/html", true),
        ("image/jpeg;_x=y,text/html", true),
        ("html", true),
    ] {
        let reply = proxy.get(&format!("/studies/1?{kind}")).await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{kind}");
        let policies: Vec<_> = reply.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies[0], "img-src 'none'", "the archive's own stays");
        let sandboxed = policies.iter().any(|policy| policy.to_str().unwrap().contains("sandbox"));
        assert_eq!((policies.len() == 2, sandboxed), (is_page, is_page), "{kind}: {policies:?}");
        assert_eq!(reply.text(), "<script>alert(1)</script>");
    }
}

/// A page that is red all over.
fn red_pdf() -> Vec<u8> {
    let drawing = "1 0 0 rg 0 0 300 300 re f";
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{drawing}\nendstream", drawing.len()),
    ];
    let (mut pdf, mut table) = (String::from("%PDF-1.4\n"), String::from("0000000000 65535 f \n"));
    for (number, object) in (1..).zip(objects) {
        table.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let end = format!("trailer << /Size 5 /Root 1 0 R >>\nstartxref\n{}\n%%EOF", pdf.len());
    format!("{pdf}xref\n0 5\n{table}{end}").into_bytes()
}

fn is_red(browser: &mut Browser) -> bool {
    let picture = Picture::from_png(&browser.screenshot()).unwrap();
    let is_red = |pixel: &&[u8]| pixel[0] > 240 && pixel[1] < 15 && pixel[2] < 15;
    picture.samples.chunks_exact(picture.channels).filter(is_red).count() >= 1000
}

/// Whether Chromium draws it within `patience`.
fn shows_red(browser: &mut Browser, url: &str, patience: Duration) -> bool {
    // What was there before must be gone: a picture of it would pass for the new page's.
    browser.open("about:blank");
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_red(browser) {
        assert!(Instant::now() < deadline, "the page before is still shown");
        std::thread::sleep(Duration::from_millis(100));
    }
    browser.open(url);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        if is_red(browser) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_shows_a_pdf_under_our_policy() {
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip("PDF and policies in a real browser", &why),
    };
    // The policy of each path is that of the archive.
    let viewer = "sandbox; default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; media-src 'self'";
    let policies = [("none", String::new()), ("viewer", viewer.to_owned())];
    let origin = ScriptedOrigin::start().await;
    for (name, policy) in policies.clone() {
        origin.on(&format!("/{name}"), move |_| {
            let answer = Answer::new(200, "application/pdf", red_pdf());
            if policy.is_empty() {
                answer
            } else {
                answer.header("content-security-policy", &policy)
            }
        });
    }
    let (proxy, pages) = (Proxy::start(&origin.url()).await, ScriptedOrigin::start().await);
    for (name, _) in policies {
        let url = format!("{}/{name}", proxy.url());
        let object = format!("<object data='{url}' style='width: 500px; height: 500px'></object>");
        pages.on(&format!("/{name}"), move |_| Answer::new(200, "text/html", object.clone()));
        let patience = Duration::from_secs(30);
        for (way, url) in [("object", format!("{}/{name}", pages.url())), ("navigation", url)] {
            let is_shown = shows_red(&mut browser, &url, patience);
            assert!(is_shown, "{name}, {way}");
        }
    }
}

// Where we are led -----------------------------------------------------------------------------------

const IMAGE: &str = "/dicom-web/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const OURS: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const SECRETS: [(&str, &str); 2] =
    [("authorization", "Bearer of-the-caller"), ("cookie", "session=of-the-caller")];

fn octets(bytes: &[u8]) -> Answer {
    let part = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    Answer::multipart("application/octet-stream", &[(part, bytes)])
}

/// An archive below /dicom-web whose image has its palette where `uri` says.
fn with_a_palette_at(origin: &ScriptedOrigin, uri: &str) {
    let image = TestImage::ramp(8, 8);
    let mut metadata = image.metadata();
    metadata[0]["00280004"] = serde_json::json!({"vr": "CS", "Value": ["PALETTE COLOR"]});
    for (tag, data) in
        [("00281101", "00281201"), ("00281102", "00281202"), ("00281103", "00281203")]
    {
        metadata[0][tag] = serde_json::json!({"vr": "US", "Value": [256, 0, 16]});
        metadata[0][data] = serde_json::json!({"vr": "OW", "BulkDataURI": uri});
    }
    let text = metadata.to_string();
    origin.on(&format!("{IMAGE}/metadata"), move |_| Answer::json(text.clone()));
    origin.on(&format!("{IMAGE}/frames/1"), move |_| octets(image.frame(1)));
}

#[tokio::test]
async fn bulk_data_is_fetched_from_the_archive_below_its_base_and_from_nowhere_else() {
    let (origin, trap) = (ScriptedOrigin::start().await, ScriptedOrigin::start().await);
    let table: Vec<u8> = (0..256_u16).flat_map(|i| (i * 257).to_le_bytes()).collect();
    let bulk = table.clone();
    origin.on("/dicom-web/bulk", move |_| octets(&bulk));
    trap.otherwise(move |_| octets(&table));
    let proxy = Proxy::start_with(&format!("{}/dicom-web", origin.url()), &[]).await;
    let path = format!("{OURS}/frames/1/rendered?accept=image/png");
    let (own, other) = (
        origin.url().trim_start_matches("http://").to_owned(),
        trap.url().trim_start_matches("http://").to_owned(),
    );
    let port = other.rsplit(':').next().unwrap();
    let number: u32 = 0x7F00_0001;
    // Whatever host is named: the archive is asked, at the origin that is configured.
    for uri in [
        format!("http://{own}/dicom-web/bulk"),
        format!("HTTP://{own}/dicom-web/bulk"),
        "/dicom-web/bulk".to_owned(),
        format!("http://{other}/dicom-web/bulk"),
        format!("https://{other}/dicom-web/bulk"),
        format!("//{other}/dicom-web/bulk"),
        format!("http:\\\\{other}\\dicom-web\\bulk"),
        format!("http://LOCALHOST.:{port}/dicom-web/bulk"),
        format!("http://[::ffff:127.0.0.1]:{port}/dicom-web/bulk"),
        format!("http://[::ffff:7f00:1]:{port}/dicom-web/bulk"),
        format!("http://{number}:{port}/dicom-web/bulk"),
        format!("http://0x7f.1:{port}/dicom-web/bulk"),
        format!("http://127.1:{port}/dicom-web/bulk"),
        format!("http://%31%32%37.0.0.1:{port}/dicom-web/bulk"),
        format!(" http://{other}/dicom-web/bulk"),
        format!("http://{other}/x/../dicom-web/bulk"),
    ] {
        with_a_palette_at(&origin, &uri);
        let reply = proxy.get_with(&path, &SECRETS).await;
        assert_eq!(reply.status(), 200, "{uri}: {}", reply.text());
        assert_eq!(trap.requests(), 0, "{uri}");
    }
    // What does not lie below the base is asked of nobody, whatever it is spelt like.
    let before = origin.requests();
    for uri in [
        format!("http://{other}/bulk"),
        format!("http://{other}/"),
        format!("http://user@{other}/dicom-web/bulk"),
        format!("http://user:password@{own}/dicom-web/bulk"),
        format!("http://{own}@{other}/dicom-web/bulk"),
        format!("http://{own}\\@{other}/bulk"),
        format!("http://{other}#@{own}/dicom-web/bulk"),
        format!("http://{other}?@{own}/dicom-web/bulk"),
        format!("http://[::ffff:127.0.0.1]:{port}/bulk"),
        format!("http://[::1]:{port}/bulk"),
        format!("http://0:{port}/bulk"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::ffff:169.254.169.254]/latest/meta-data/".to_owned(),
        format!("http://{own}/system"),
        format!("http://{own}/dicom-webx/bulk"),
        format!("http://{own}/dicom-web/../system"),
        format!("http://{own}/dicom-web/%2e%2e/system"),
        format!("http://{own}/dicom-web/..%2fsystem"),
        format!("http://{own}/dicom-web/..%5csystem"),
        format!("http://{own}/dicom-web\\..\\system"),
        format!("http://{own}/dicom-web/..;/system"),
        format!("http://{own}/DICOM-WEB/bulk"),
        format!("ftp://{own}/dicom-web/bulk"),
        format!("gopher://{other}/dicom-web/bulk"),
        "file:///etc/passwd".to_owned(),
        "file:///dicom-web/bulk".to_owned(),
        "data:application/octet-stream;base64,AAAA".to_owned(),
        "javascript:alert(1)".to_owned(),
        "http://".to_owned(),
        "http://[::".to_owned(),
    ] {
        with_a_palette_at(&origin, &uri);
        let reply = proxy.get_with(&path, &SECRETS).await;
        assert_ne!(reply.status(), 200, "{uri}");
        assert_eq!(trap.requests(), 0, "{uri}");
    }
    for request in &origin.received()[before..] {
        assert!(request.path.starts_with("/dicom-web/studies"), "{}", request.path);
    }
}

#[tokio::test]
async fn redirects_of_the_archive_are_not_followed() {
    let trap = ScriptedOrigin::start().await;
    let image = TestImage::ramp(8, 8);
    let whole = image.file();
    trap.otherwise(move |_| {
        Answer::multipart("application/dicom", &[("application/dicom", &whole)])
    });
    for status in [300, 301, 302, 303, 307, 308] {
        for own in [false, true] {
            let origin = ScriptedOrigin::start().await;
            let base = if own { origin.url() } else { trap.url() };
            let location = base.replace("http://", "http://user:password@");
            for location in [base.clone(), location, base.replace("http:", "")] {
                origin.otherwise(move |request| {
                    if request.path.ends_with("/bait") {
                        return Answer::status(200);
                    }
                    Answer::status(status).header("location", &format!("{location}/bait"))
                });
                let proxy = Proxy::start(&origin.url()).await;
                for path in ["rendered", "thumbnail", "frames/1/rendered"] {
                    let path = format!("{}/{path}", image.url_path());
                    let reply = proxy.get_with(&path, &SECRETS).await;
                    assert_eq!(reply.status(), 502, "{status}: {}", reply.text());
                    assert!(!reply.text().contains("127.0.0.1"), "{}", reply.text());
                }
                for path in [
                    "/studies/2.25.1001/thumbnail",
                    "/studies/2.25.1001/series/2.25.1001.2/thumbnail",
                ] {
                    assert_eq!(proxy.get_with(path, &SECRETS).await.status(), 502, "{status}");
                }
                // What passes through is the client's to follow or not.
                let reply = proxy.get_with("/studies", &SECRETS).await;
                assert_eq!(reply.status(), status);
                assert!(origin.received().iter().all(|seen| !seen.path.ends_with("/bait")));
                assert_eq!(trap.requests(), 0, "{status} to {}", reply.header("location"));
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_of_bulk_data_or_of_tokens_is_not_followed_either() {
    let (origin, trap) = (ScriptedOrigin::start().await, ScriptedOrigin::start().await);
    trap.otherwise(|_| Answer::json(r#"{"access_token": "stolen", "expires_in": 60}"#));
    with_a_palette_at(&origin, "/dicom-web/bulk");
    let away = trap.url();
    origin.on("/dicom-web/bulk", move |_| {
        Answer::status(307).header("location", &format!("{away}/dicom-web/bulk"))
    });
    let upstream = format!("{}/dicom-web", origin.url());
    let proxy = Proxy::start(&upstream).await;
    let reply = proxy.get_with(&format!("{OURS}/frames/1/rendered"), &SECRETS).await;
    assert_ne!(reply.status(), 200);
    let server = ScriptedOrigin::start().await;
    for status in [302, 307, 308] {
        let away = trap.url();
        server.otherwise(move |_| Answer::status(status).header("location", &away));
        let token_url = format!("{}/token", server.url());
        let keys = [
            ("upstream_credentials", "oauth2"),
            ("upstream_token_url", token_url.as_str()),
            ("upstream_client_id", "lightbox"),
            ("upstream_client_secret", "very-secret"),
        ];
        let proxy = Proxy::start_with(&upstream, &keys).await;
        assert_eq!(proxy.get(&format!("{OURS}/thumbnail")).await.status(), 502, "{status}");
    }
    assert!(server.requests() > 0);
    assert_eq!(trap.requests(), 0);
}

#[tokio::test]
async fn what_is_sent_does_not_lead_out_of_the_archives_base() {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::json("[]"));
    let proxy = Proxy::start(&format!("{}/dicom-web", origin.url())).await;
    for path in [
        "/..;/system",
        "/studies/..;a=b/..;/system",
        "/studies/..%3b/..%3B/system",
        "/%2e%2e;/system",
        "/..%2fsystem",
        "/..%5csystem",
        "/studies/..\\..\\system",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let answer = raw_exchange(proxy.address(), request.as_bytes()).await;
            assert!(answer.starts_with(b"HTTP/1.1 400"), "{method} {path}: {}", text(&answer));
        }
    }
    assert_eq!(origin.requests(), 0);
    // What only looks like it is the archive's.
    assert_eq!(proxy.get("/studies/...;a/x;..").await.status(), 200);
}
