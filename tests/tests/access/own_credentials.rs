//! By whose right an archive is asked, and who never sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use lightbox_tests::{Answer, Proxy, Received, ScriptedOrigin, TestImage};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const IMAGE: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const CALLER: [(&str, &str); 2] =
    [("authorization", "Bearer of-the-caller"), ("cookie", "a=of-the-caller")];

/// An archive that answers whoever shows this, and 401 to others.
async fn locked(
    authorization: impl Fn() -> String + Send + Sync + Clone + 'static,
) -> ScriptedOrigin {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(8, 8);
    origin.otherwise(move |request| {
        if request.header("authorization") != authorization() {
            return Answer::status(401).header("www-authenticate", "Basic realm=\"pacs\"");
        }
        of(&image, request).header("set-cookie", "session=ours")
    });
    origin
}

fn of(image: &TestImage, request: &Received) -> Answer {
    let part = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
    match &*request.path {
        path if path.ends_with("/metadata") => Answer::json(image.metadata().to_string()),
        path if path.contains("/frames/") => {
            Answer::multipart("application/octet-stream", &[(part, image.frame(1))])
        }
        path if path == IMAGE => {
            Answer::multipart("application/dicom", &[("application/dicom", &image.file())])
        }
        _ => Answer::new(200, "text/plain", "passed"),
    }
}

fn sees_no_caller(origin: &ScriptedOrigin) {
    for request in origin.received() {
        let all = format!("{:?}", request.headers);
        assert!(!all.contains("of-the-caller"), "{}: {all}", request.path);
    }
}

/// A picture and something that passes through.
async fn assert_open(proxy: &Proxy) {
    let picture = proxy.get_with(&format!("{IMAGE}/thumbnail"), &CALLER).await;
    assert_eq!(picture.status(), 200, "{}", picture.text());
    let passed = proxy.get_with("/something", &CALLER).await;
    assert_eq!((passed.status(), passed.text().as_str()), (200, "passed"));
    assert_eq!(passed.count("set-cookie"), 0, "a session of ours");
}

#[tokio::test]
async fn nobodys_credentials_are_none() {
    let origin = locked(String::new).await;
    let proxy = Proxy::start_with(&origin.url(), &[("upstream_credentials", "none")]).await;
    assert_open(&proxy).await;
    sees_no_caller(&origin);
}

#[tokio::test]
async fn a_password_goes_in_place_of_the_callers_credentials_and_with_reading_only() {
    // RFC 7617 §2.
    let origin = locked(|| "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned()).await;
    let keys = [
        ("upstream_credentials", "basic"),
        ("upstream_user", "Aladdin"),
        ("upstream_password", "open sesame"),
        ("log", "trace"),
    ];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    assert_open(&proxy).await;
    let stored = proxy.send(Method::POST, "/studies", &CALLER).await;
    assert_eq!((stored.status(), stored.count("www-authenticate")), (401, 0));
    assert_eq!(origin.received().pop().unwrap().header("authorization"), "");
    sees_no_caller(&origin);
    let log = proxy.log();
    for secret in ["sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ", "of-the-caller", "2.25.1001"] {
        let said = log.lines().find(|line| line.contains(secret) && line.contains("proxy_server"));
        assert_eq!(said, None, "{secret}");
    }
    assert!(!log.contains("QWxhZGRpbjpvcGVuIHNlc2FtZQ") && !log.contains("sesame"));
    let writes: Vec<_> = keys.into_iter().chain([("allow_writes", "true")]).collect();
    let proxy = Proxy::start_with(&origin.url(), &writes).await;
    assert_eq!(proxy.send(Method::POST, "/studies", &CALLER).await.status(), 200);
}

#[tokio::test]
async fn credentials_that_the_archive_refuses_are_our_fault() {
    let origin = locked(|| "Basic other".to_owned()).await;
    let keys =
        [("upstream_credentials", "basic"), ("upstream_user", "u"), ("upstream_password", "p")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    for path in [&format!("{IMAGE}/thumbnail"), "/something"] {
        let reply = proxy.get(path).await;
        assert_eq!((reply.status(), reply.count("www-authenticate")), (502, 0), "{}", reply.text());
        assert!(reply.text().contains("refuses"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_token_of_a_file_may_be_replaced_at_any_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    std::fs::write(&path, "one\n").unwrap();
    let origin =
        locked(move || format!("Bearer {}", std::fs::read_to_string(&path).unwrap().trim())).await;
    let name = file.path().to_str().unwrap();
    let keys = [("upstream_credentials", "bearer"), ("upstream_token_file", name)];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    for token in ["one\n", "two"] {
        std::fs::write(file.path(), token).unwrap();
        assert_open(&proxy).await;
    }
    sees_no_caller(&origin);
    let keys = [("upstream_credentials", "bearer"), ("upstream_token_file", "/no/such/file")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    let reply = proxy.get(&format!("{IMAGE}/thumbnail")).await;
    assert_eq!(reply.status(), 502);
    assert!(reply.text().contains("token file"), "{}", reply.text());
}

#[tokio::test]
async fn headers_of_a_gateway_go_with_every_call_and_nowhere_else() {
    let origin = ScriptedOrigin::start().await;
    TestImage::ramp(8, 8).put_on(&origin);
    let keys = [("upstream_headers", "X-Api-Key: k1\nX-Tenant: t")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    proxy.get_with(&format!("{IMAGE}/thumbnail"), &CALLER).await;
    proxy.get_with("/something", &CALLER).await;
    for request in origin.received() {
        assert_eq!(
            (request.header("x-api-key"), request.header("x-tenant")),
            ("k1", "t"),
            "{}",
            request.path
        );
        assert_eq!(request.header("authorization"), "Bearer of-the-caller");
    }
}

// OAuth2 -------------------------------------------------------------------------------------------

/// A token endpoint that hands out `t1`, `t2` … for so many seconds, and how many it did.
async fn token_endpoint(expires_in: u32) -> (ScriptedOrigin, Arc<AtomicUsize>) {
    let (server, count) = (ScriptedOrigin::start().await, Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    server.on("/token", move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        // RFC 6749 §2.3.1: id and secret are form-encoded first: "client:se%2Fcret".
        let expected = "Basic Y2xpZW50OnNlJTJGY3JldA==";
        if request.header("authorization") != expected || !body.contains("grant_type=client_credentials") {
            return Answer::status(401);
        }
        assert!(body.contains("scope=dicom+web"), "{body}");
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let json = format!("{{\"access_token\":\"t{number}\",\"token_type\":\"Bearer\",\"expires_in\":{expires_in}}}");
        Answer::new(200, "application/json", json).after(Duration::from_millis(100))
    });
    (server, count)
}

async fn with_tokens(server: &ScriptedOrigin, origin: &ScriptedOrigin) -> Proxy {
    let url = format!("{}/token", server.url());
    let keys = [
        ("upstream_credentials", "oauth2"),
        ("upstream_token_url", &*url),
        ("upstream_client_id", "client"),
        ("upstream_client_secret", "se/cret"),
        ("upstream_scope", "dicom web"),
        ("upstream_timeout", "2s"),
    ];
    Proxy::start_with(&origin.url(), &keys).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_all_and_is_renewed_ahead_of_its_end() {
    let (server, count) = token_endpoint(5).await;
    let current = count.clone();
    // The token before is good as well, as it is while it has not ended.
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(8, 8);
    origin.otherwise(move |request| {
        let now = current.load(Ordering::SeqCst);
        let good = [now, now.saturating_sub(1)].map(|number| format!("Bearer t{number}"));
        if good.iter().any(|good| good == request.header("authorization")) {
            of(&image, request)
        } else {
            Answer::status(401)
        }
    });
    let proxy = with_tokens(&server, &origin).await;
    let path = format!("{IMAGE}/thumbnail");
    let replies = futures_util::future::join_all((0..10).map(|_| proxy.get(&path))).await;
    assert!(replies.iter().all(|reply| reply.status() == 200));
    assert_eq!(count.load(Ordering::SeqCst), 1, "one for all");
    tokio::time::sleep(Duration::from_millis(4300)).await;
    // A fifth of its life is left: this one still uses it, and has the next fetched.
    assert_eq!(proxy.get(&path).await.status(), 200);
    for _ in 0..40 {
        if count.load(Ordering::SeqCst) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "renewed ahead");
    assert_eq!(proxy.get_with("/something", &CALLER).await.text(), "passed");
    sees_no_caller(&origin);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let (server, count) = token_endpoint(3600).await;
    let origin = locked(|| "Bearer t2".to_owned()).await;
    let proxy = with_tokens(&server, &origin).await;
    assert_eq!(proxy.get(&format!("{IMAGE}/frames/1/rendered")).await.status(), 200);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let never = locked(|| "Bearer never".to_owned()).await;
    let proxy = with_tokens(&server, &never).await;
    let before = count.load(Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(proxy.get(&format!("{IMAGE}/frames/1/rendered")).await.status(), 502);
    }
    assert!(count.load(Ordering::SeqCst) - before <= 2, "not a token for each call");
}

#[tokio::test]
async fn without_a_token_there_is_no_picture_and_no_storm() {
    let server = ScriptedOrigin::start().await;
    server.otherwise(|_| Answer::status(500));
    let origin = locked(String::new).await;
    let proxy = with_tokens(&server, &origin).await;
    for _ in 0..10 {
        let reply = proxy.get(&format!("{IMAGE}/thumbnail")).await;
        assert_eq!(reply.status(), 502, "{}", reply.text());
        assert!(
            reply.text().contains("token endpoint") && !reply.text().contains("cret"),
            "{}",
            reply.text()
        );
    }
    assert!(server.requests() <= 3, "{}", server.requests());
    assert_eq!(origin.requests(), 0);
}

// TLS ----------------------------------------------------------------------------------------------

struct Authority {
    folder: tempfile::TempDir,
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let authority = Self { folder: tempfile::tempdir().unwrap(), params, key, certificate };
        authority.file("ca.pem", &authority.certificate);
        authority
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An archive that shows a certificate of ours, and wants to see one if `asks`. Its answers name the
    /// version of HTTP.
    async fn serve(&self, asks: bool) -> String {
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = self.sign("localhost");
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let builder = if asks {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            ServerConfig::builder().with_client_cert_verifier(verifier)
        } else {
            ServerConfig::builder().with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = hyper::service::service_fn(
                        |request: Request<hyper::body::Incoming>| async move {
                            let said = format!("{:?} {}", request.version(), request.method());
                            Ok::<_, std::convert::Infallible>(Response::new(Full::new(
                                bytes::Bytes::from(said),
                            )))
                        },
                    );
                    // The peer may leave when it likes.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        format!("https://localhost:{port}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_http_2_spoken() {
    let authority = Authority::new();
    let archive = authority.serve(false).await;
    let ca = authority.file("ca.pem", &authority.certificate);
    let proxy = Proxy::start_with(&archive, &[("upstream_ca", &ca)]).await;
    assert_eq!(proxy.get("/something").await.text(), "HTTP/2.0 GET");
    let proxy = Proxy::start(&archive).await;
    for path in ["/something", &format!("{IMAGE}/thumbnail")] {
        let reply = proxy.get(path).await;
        assert_eq!(reply.status(), 502);
        assert!(reply.text().contains("trusted"), "{}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ours_is_shown_to_an_archive_that_asks_and_reads_only() {
    let authority = Authority::new();
    let archive = authority.serve(true).await;
    let ca = authority.file("ca.pem", &authority.certificate);
    let (certificate, key) = authority.sign("lightbox");
    let certificate = authority.file("client.pem", &certificate);
    let key = authority.file("client-key.pem", &key);
    let keys = [
        ("upstream_ca", &*ca),
        ("upstream_credentials", "mtls"),
        ("upstream_cert", &certificate),
        ("upstream_key", &key),
    ];
    let proxy = Proxy::start_with(&archive, &keys).await;
    assert_eq!(proxy.get("/something").await.text(), "HTTP/2.0 GET");
    assert_eq!(proxy.send(Method::POST, "/studies", &[]).await.status(), 403);
    let writes: Vec<_> = keys.into_iter().chain([("allow_writes", "true")]).collect();
    let proxy = Proxy::start_with(&archive, &writes).await;
    assert_eq!(proxy.send(Method::POST, "/studies", &[]).await.text(), "HTTP/2.0 POST");
    let without = Proxy::start_with(&archive, &[("upstream_ca", &ca)]).await;
    assert_eq!(without.get("/something").await.status(), 502);
}
