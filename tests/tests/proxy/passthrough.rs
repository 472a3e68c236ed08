//! Everything that is not a picture goes through: untouched, streamed, unbuffered.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use lightbox_tests::{Answer, Proxy, Received, Reply, ScriptedOrigin, closed_port, raw_exchange};
use tokio::sync::mpsc;

const MEBIBYTE: usize = 1 << 20;

/// An origin at `/archive` whose every answer is scripted, and the proxy in front of it.
async fn in_front_of(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(answer);
    let proxy = Proxy::start(&format!("{}/archive", origin.url())).await;
    (origin, proxy)
}

fn only(origin: &ScriptedOrigin) -> Received {
    let mut received = origin.received();
    assert_eq!(received.len(), 1, "one request in, one request out: {received:#?}");
    received.remove(0)
}

#[tokio::test]
async fn methods_paths_and_raw_queries_arrive_as_sent() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "SEARCH"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let before = origin.requests();
        // A hash sign and doubled encodings must not be touched; neither must order or repetition.
        let query = "PatientName=D%C3%B6e%2C*&00100020=a%20b&x=1&x=%2525&y";
        let reply = proxy.send(method.clone(), &format!("/studies?{query}"), &[]).await;
        assert_eq!(reply.status(), 200, "{method}");
        let seen = &origin.received()[before];
        assert_eq!((&seen.method, seen.path.as_str()), (&method, "/archive/studies"));
        assert_eq!(seen.query.as_deref(), Some(query));
    }
}

#[tokio::test]
async fn the_path_below_the_archives_base_is_kept_encoded() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    for path in ["/studies/1.2/series/3.4/metadata", "/a%2Fb%20c/d", "/studies/1.2/rendered3d"] {
        proxy.get(path).await;
        let seen = origin.received().pop().unwrap();
        assert_eq!(seen.path, format!("/archive{path}"));
    }
}

#[tokio::test]
async fn a_base_path_of_our_own_is_replaced_by_the_archives() {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::json("[]"));
    let keys = [("base_path", "/dicom-web")];
    let proxy = Proxy::start_with(&format!("{}/rs/", origin.url()), &keys).await;
    assert_eq!(proxy.get("/dicom-web/studies").await.status(), 200);
    assert_eq!(only(&origin).path, "/rs/studies");
}

#[tokio::test]
async fn statuses_headers_and_bodies_come_back_as_the_archive_sent_them() {
    let (_origin, proxy) = in_front_of(|request| {
        let status = request.query.as_deref().unwrap_or("200").parse().unwrap();
        Answer::new(status, "text/weird; charset=x", "body\r\n\0")
            .header("ETag", "W/\"1\"")
            .header("X-Own", "one")
            .header("X-Own", "two")
            .header("Cache-Control", "max-age=7")
    })
    .await;
    for status in [200, 201, 202, 206, 400, 401, 403, 404, 406, 409, 410, 415, 500, 501, 503] {
        let reply = proxy.get(&format!("/studies?{status}")).await;
        assert_eq!(reply.status(), status);
        assert_eq!(reply.text(), "body\r\n\0", "{status}");
        assert_eq!(reply.header("content-type"), "text/weird; charset=x");
        assert_eq!(reply.header("etag"), "W/\"1\"");
        assert_eq!(reply.header("cache-control"), "max-age=7");
        assert_eq!(reply.count("x-own"), 2);
        assert_eq!(reply.header("content-length"), "7");
    }
}

#[tokio::test]
async fn no_content_has_no_body() {
    let (_origin, proxy) = in_front_of(|_| Answer::status(204)).await;
    let reply = proxy.get("/studies?PatientID=none").await;
    assert_eq!((reply.status(), reply.body.len()), (204, 0));
    assert_eq!(reply.count("content-type"), 0);
}

#[tokio::test]
async fn head_is_forwarded_as_head_and_keeps_the_length() {
    let (origin, proxy) =
        in_front_of(|_| Answer::status(200).header("content-length", "1234567")).await;
    let reply = proxy.send(Method::HEAD, "/studies/1.2", &[]).await;
    assert_eq!(only(&origin).method, Method::HEAD);
    assert_eq!((reply.header("content-length"), reply.body.len()), ("1234567", 0));
}

#[tokio::test]
async fn end_to_end_headers_go_up_and_hop_by_hop_headers_stay() {
    let (origin, proxy) = in_front_of(|_| {
        Answer::json("[]")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Authenticate", "Basic")
            .header("Connection", "x-hop")
            .header("X-Hop", "ours alone")
            .header("Upgrade", "h2c")
    })
    .await;
    let sent = [
        ("Authorization", "Bearer token"),
        ("Cookie", "session=1"),
        ("Accept", "application/dicom+json;q=0.9"),
        ("If-None-Match", "\"tag\""),
        ("Range", "bytes=0-9"),
        ("X-Custom", "value"),
        ("Connection", "x-secret-hop, keep-alive"),
        ("X-Secret-Hop", "1"),
        ("Keep-Alive", "timeout=9"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic abc"),
        ("Upgrade", "websocket"),
    ];
    let reply = proxy.get_with("/studies", &sent).await;
    let seen = only(&origin);
    for (name, value) in &sent[..6] {
        assert_eq!(seen.header(name), *value, "{name} goes to the archive");
    }
    for (name, _) in &sent[7..] {
        assert_eq!(seen.header(name), "", "{name} is between client and proxy");
    }
    assert!(!seen.header("connection").contains("x-secret-hop"));
    for name in ["keep-alive", "proxy-authenticate", "x-hop", "upgrade"] {
        assert_eq!(reply.count(name), 0, "{name} is between proxy and archive");
    }
}

#[tokio::test]
async fn the_archive_learns_under_which_name_it_was_asked() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    proxy.get_with("/studies", &[("Host", "pacs.example:8443")]).await;
    let seen = only(&origin);
    // Archives build BulkDataURI and RetrieveURL from it.
    let forwarded = seen.header("forwarded").to_ascii_lowercase();
    assert!(forwarded.contains("host=") && forwarded.contains("pacs.example:8443"), "{forwarded}");
    assert!(forwarded.contains("proto=http"), "{forwarded}");
}

#[tokio::test]
async fn redirects_are_the_clients_business() {
    let (origin, proxy) =
        in_front_of(|_| Answer::status(302).header("Location", "http://elsewhere.example/x")).await;
    let reply = proxy.get("/studies/1.2").await;
    assert_eq!((reply.status(), reply.header("location")), (302, "http://elsewhere.example/x"));
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn compressed_bodies_stay_compressed() {
    // Not gzip at all: who unpacks it, fails on it.
    let (origin, proxy) = in_front_of(|_| {
        Answer::json(&b"\x1f\x8b\x08 no gzip"[..]).header("Content-Encoding", "gzip")
    })
    .await;
    let reply = proxy.get_with("/studies", &[("Accept-Encoding", "gzip, br")]).await;
    assert_eq!(
        (reply.header("content-encoding"), &reply.body[..]),
        ("gzip", &b"\x1f\x8b\x08 no gzip"[..])
    );
    assert_eq!(only(&origin).header("accept-encoding"), "gzip, br");
    proxy.get("/studies").await;
    let seen = origin.received().pop().unwrap();
    assert_eq!(seen.header("accept-encoding"), "", "nothing is asked for that the client did not");
}

#[tokio::test]
async fn stow_bodies_and_answers_pass_byte_for_byte() {
    let (origin, proxy) = in_front_of(|request| {
        Answer::new(409, "application/dicom+json", request.body.clone())
            .header("Warning", "299 - \"x\"")
    })
    .await;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let kind = r#"multipart/related; type="application/dicom"; boundary=a_B"#;
    let request = proxy.request(Method::POST, "/studies/1.2", &[("Content-Type", kind)]);
    let reply = Reply::read(request.body(body.clone()).send().await.unwrap()).await;
    assert_eq!((reply.status(), reply.header("warning")), (409, "299 - \"x\""));
    assert!(reply.body == body, "the body came back as it went");
    let seen = only(&origin);
    assert_eq!((seen.header("content-type"), seen.body_length), (kind, 100_000));
    assert_eq!(seen.header("content-length"), "100000");
}

#[tokio::test]
async fn the_first_chunk_of_an_answer_arrives_before_the_last_is_sent() {
    let origin = ScriptedOrigin::start().await;
    let (answer, feed) = Answer::fed("multipart/related");
    let answer = std::sync::Mutex::new(Some(answer));
    origin.on("/studies/1.2", move |_| answer.lock().unwrap().take().expect("asked once"));
    let proxy = Proxy::start(&origin.url()).await;
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    let mut response = proxy.request(Method::GET, "/studies/1.2", &[]).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
    feed.send(Bytes::from_static(b"last")).await.unwrap();
    drop(feed);
    assert_eq!(response.chunk().await.unwrap().unwrap(), "last");
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn the_first_chunk_of_a_request_arrives_before_the_last_is_sent() {
    let (origin, proxy) = in_front_of(|_| Answer::status(200)).await;
    let (feed, body) = streamed_body();
    let request = proxy.request(Method::POST, "/studies", &[]).body(body);
    let answer = tokio::spawn(request.send());
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    until("the first chunk to arrive", || origin.bytes_in() == 5).await;
    assert!(!answer.is_finished());
    feed.send(Bytes::from_static(b"last")).await.unwrap();
    drop(feed);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(origin.bytes_in(), 9);
}

#[tokio::test]
async fn an_archive_may_answer_while_the_body_still_comes() {
    let origin = ScriptedOrigin::start().await;
    origin.on_headers("/studies", |_| Answer::status(401).header("WWW-Authenticate", "Bearer"));
    let proxy = Proxy::start(&origin.url()).await;
    let (feed, body) = streamed_body();
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    let sent = proxy.request(Method::POST, "/studies", &[]).body(body).send();
    let response =
        tokio::time::timeout(Duration::from_secs(10), sent).await.expect("no wait").unwrap();
    assert_eq!(response.status(), 401);
    drop(feed);
}

#[tokio::test]
async fn large_bodies_pass_both_ways_in_little_memory() {
    const SIZE: u64 = 64 * MEBIBYTE as u64;
    let (origin, proxy) = in_front_of(|request| {
        if request.method == Method::POST {
            return Answer::status(200);
        }
        Answer::chunks(vec![Bytes::from(vec![7; MEBIBYTE]); 64], Duration::ZERO)
    })
    .await;
    proxy.get("/studies?warm=up").await;
    let before = proxy.peak_memory();

    let (feed, body) = streamed_body();
    let answer = tokio::spawn(proxy.request(Method::POST, "/studies", &[]).body(body).send());
    let chunk = Bytes::from(vec![7; MEBIBYTE]);
    for _ in 0..64 {
        feed.send(chunk.clone()).await.unwrap();
    }
    drop(feed);
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    assert_eq!(origin.bytes_in(), SIZE);

    let mut response = proxy.request(Method::GET, "/studies/1", &[]).send().await.unwrap();
    let mut length = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        length += chunk.len() as u64;
    }
    assert_eq!(length, SIZE);
    let growth = proxy.peak_memory().saturating_sub(before);
    assert!(growth < 16 * MEBIBYTE as u64, "grew by {growth} bytes");
}

#[tokio::test]
async fn a_client_that_reads_slowly_slows_the_archive_down() {
    let (origin, proxy) =
        in_front_of(|_| Answer::endless("application/octet-stream", vec![0; 65_536])).await;
    let mut response = proxy.request(Method::GET, "/studies/1.2", &[]).send().await.unwrap();
    response.chunk().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = origin.bytes_out();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(origin.bytes_out(), sent, "nobody reads, nothing more is taken from the archive");
    assert!(sent < 32 * MEBIBYTE as u64, "{sent} bytes are on their way");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_archives_work() {
    let (origin, proxy) =
        in_front_of(|_| Answer::endless("application/octet-stream", vec![0; 65_536])).await;
    let mut response = proxy.request(Method::GET, "/studies/1.2", &[]).send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let mut last = None;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = origin.bytes_out();
        if last == Some(now) {
            return;
        }
        last = Some(now);
    }
    panic!("the archive still sends to nobody");
}

#[tokio::test]
async fn an_answer_cut_off_by_the_archive_is_cut_off_for_the_client() {
    let (_origin, proxy) =
        in_front_of(|_| Answer::truncated("application/dicom", "half", 1000)).await;
    let response = proxy.request(Method::GET, "/studies/1.2", &[]).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "1000");
    assert!(response.bytes().await.is_err(), "a short body must not look whole");
}

#[tokio::test]
async fn an_archive_that_is_down_is_502() {
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}/", closed_port())).await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let reply = proxy.send(method, "/studies", &[("Origin", "http://viewer.example")]).await;
        assert_eq!(reply.status(), 502);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
    }
}

#[tokio::test]
async fn a_slow_call_holds_up_no_other() {
    let (origin, proxy) =
        in_front_of(|_| Answer::json("[]").after(Duration::from_secs(3600))).await;
    let waiting = tokio::spawn(proxy.request(Method::GET, "/studies", &[]).send());
    origin.on("/archive/studies/1.2/metadata", |_| Answer::json("[]"));
    assert_eq!(proxy.get("/studies/1.2/metadata").await.status(), 200);
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn cors_headers_are_added_once() {
    let (_origin, proxy) = in_front_of(|request| {
        let answer = Answer::json("[]").header("Vary", "Accept");
        if request.query.is_some() {
            return answer
                .header("Access-Control-Allow-Origin", "http://other.example")
                .header("Access-Control-Expose-Headers", "X-Own");
        }
        answer
    })
    .await;
    for path in ["/studies", "/studies?own"] {
        let reply = proxy.get_with(path, &[("Origin", "http://viewer.example")]).await;
        assert_eq!(reply.count("access-control-allow-origin"), 1, "{path}");
    }
}

#[tokio::test]
async fn preflights_are_answered_here() {
    let (origin, proxy) = in_front_of(|_| Answer::status(404)).await;
    let preflight = [
        ("Origin", "http://viewer.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "accept,authorization"),
    ];
    let reply = proxy.send(Method::OPTIONS, "/studies/1.2/series/3/metadata", &preflight).await;
    assert!(reply.status.is_success());
    assert_eq!(origin.requests(), 0);
    let plain = proxy.send(Method::OPTIONS, "/studies", &[]).await;
    assert_eq!((plain.status(), origin.requests()), (404, 1), "capabilities are the archive's");
}

#[tokio::test]
async fn an_empty_expect_header_harms_nobody() {
    let (_origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    let request = "GET /studies HTTP/1.1\r\nHost: x\r\nExpect:\r\nConnection: close\r\n\r\n";
    let answer = raw_exchange(proxy.address(), request.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn nothing_escapes_from_the_archives_base() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    for path in
        ["/../admin", "/studies/../../admin", "/%2e%2e/admin", "/studies/%2E%2E/%2E%2E/admin"]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        raw_exchange(proxy.address(), request.as_bytes()).await;
    }
    let outside = origin.received().into_iter().find(|r| !r.path.starts_with("/archive/"));
    assert!(outside.is_none(), "{outside:#?}");
}

#[tokio::test]
async fn an_absolute_request_target_reaches_no_other_host() {
    let (origin, proxy) = in_front_of(|_| Answer::json("[]")).await;
    let other = ScriptedOrigin::start().await;
    let request =
        format!("GET {}/studies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", other.url());
    raw_exchange(proxy.address(), request.as_bytes()).await;
    assert_eq!(other.requests(), 0);
    assert!(origin.received().iter().all(|r| r.path.starts_with("/archive/")));
}

fn streamed_body() -> (mpsc::Sender<Bytes>, reqwest::Body) {
    let (feed, receiver) = mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (Ok::<_, std::io::Error>(chunk), receiver))
    });
    (feed, reqwest::Body::wrap_stream(stream))
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}
