//! What may have changed without our having seen it is asked for, and what was kept of it is not shown before.

use std::io::Write;
use std::time::Duration;

use http::Method;
use lightbox_tests::{
    Answer, Archive, Keeper, Place, Proxy, Received, Reply, ScriptedOrigin, TestImage, eventually,
    strict_parts,
};

fn status(reply: &Reply) -> &str {
    reply.header("cache-status")
}

fn is_hit(reply: &Reply) -> bool {
    reply.status() == 200 && status(reply).starts_with("lightbox; hit")
}

/// An archive of one image, whose study answers as it is told to, and its thumbnail, kept.
async fn kept(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> (ScriptedOrigin, TestImage, Keeper, Proxy, String) {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(32, 32);
    image.put_on(&origin);
    origin.on(&format!("/studies/{}", image.path.study), answer);
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&origin.url()).await;
    let path = format!("{}/thumbnail", image.url_path());
    assert_eq!(proxy.get(&path).await.status(), 200);
    assert!(is_hit(&proxy.get(&path).await));
    (origin, image, keeper, proxy, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_change_that_nobody_heard_is_looked_up() {
    for method in [Method::DELETE, Method::POST, Method::PUT] {
        let late = |_: &Received| Answer::status(200).after(Duration::from_secs(600));
        let (origin, image, _keeper, proxy, path) = kept(late).await;
        let study = format!("/studies/{}", image.path.study);
        let before = origin.requests();
        let leaving = tokio::spawn(proxy.request(method.clone(), &study, &[]).send());
        eventually("the archive has it", || async { origin.requests() > before }).await;
        assert!(is_hit(&proxy.get(&path).await), "{method}: nothing has come of it yet");
        leaving.abort();
        let _ = leaving.await;
        eventually("it is asked for", || async { !is_hit(&proxy.get(&path).await) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_may_have_been_made_and_one_that_is_refused_was_not() {
    for (method, code, asks) in [
        (Method::DELETE, 504, true),
        (Method::POST, 500, true),
        (Method::DELETE, 404, true),
        (Method::DELETE, 410, true),
        (Method::POST, 404, false),
        (Method::DELETE, 403, false),
        (Method::DELETE, 409, false),
    ] {
        let (_origin, image, _keeper, proxy, path) = kept(move |_| Answer::status(code)).await;
        let study = format!("/studies/{}", image.path.study);
        assert_eq!(proxy.send(method.clone(), &study, &[]).await.status(), code);
        let reply = proxy.get(&path).await;
        assert_eq!((reply.status(), !is_hit(&reply)), (200, asks), "{method} {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_known_also_from_an_archive_that_likes_to_compress() {
    let (origin, mut image, _keeper, proxy, path) = kept(|_| Answer::status(404)).await;
    let study = format!("/studies/{}", image.path.study);
    let stored = format!(r#"{{"00081190":{{"vr":"UR","Value":["http://x{study}"]}}}}"#);
    origin.on("/studies", move |request| {
        if !request.header("accept-encoding").contains("gzip") {
            return Answer::json(stored.clone());
        }
        let level = flate2::Compression::fast();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(stored.as_bytes()).unwrap();
        Answer::json(gzip.finish().unwrap()).header("content-encoding", "gzip")
    });
    image.pixels.reverse();
    image.put_on(&origin);
    let before = proxy.get(&path).await;
    assert!(is_hit(&before));
    let headers = [("accept-encoding", "gzip")];
    let sent = proxy.request(Method::POST, "/studies", &headers).body("object").send().await;
    assert_eq!(sent.unwrap().status(), 200);
    assert_ne!(proxy.get(&path).await.body, before.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_holds_of_one_is_no_part_that_is_missing() {
    let archive = Archive::of_ct(1, 1, 4).await;
    let proxy = Keeper::new(&[]).start(&archive.url()).await;
    let place = Place::new(1, 1, 2);
    let one = format!("{}/rendered", place.path());
    let held = proxy.get_with(&one, &[("accept", "image/jpeg")]).await.header("etag").to_owned();
    assert!(!held.is_empty());
    let path = format!("{}/rendered", place.series_path());
    let all = [("accept", "multipart/related; type=\"image/jpeg\"")];
    for held in [None, Some(held.as_str()), Some("*"), Some("\"x\"")] {
        let condition = held.map(|held| ("if-none-match", held));
        let headers: Vec<_> = all.into_iter().chain(condition).collect();
        let reply = proxy.get_with(&path, &headers).await;
        assert_eq!(reply.status(), 200, "{held:?}");
        let parts = strict_parts(&reply).unwrap();
        assert_eq!(parts.len(), 4, "{held:?}");
        assert!(parts.iter().all(|part| !part.body.is_empty()), "{held:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_ranges_that_are_not_met_or_not_meant() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&[]).start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    let first = proxy.get(&path).await;
    let tag = first.header("etag");
    for _ in 0..2 {
        for (wanted, code) in [(tag, 200), ("*", 200), ("\"other\"", 412), ("W/\"other\"", 412)] {
            let reply = proxy.get_with(&path, &[("if-match", wanted)]).await;
            assert_eq!(reply.status(), code, "{wanted}");
        }
        // Once more with an answer that is remembered by its words.
        assert!(is_hit(&proxy.get(&path).await));
    }
}
