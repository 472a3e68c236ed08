//! What was asked for before costs nothing: no fetch, no drawing; and nothing wrong or forbidden is shown.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use lightbox_tests::{Archive, Keeper, Place, Proxy, Reply, ct, places};

const MEMORY_ONLY: [(&str, &str); 2] = [("cache_disk", "off"), ("cache_memory", "64MB")];

fn status(reply: &Reply) -> &str {
    reply.header("cache-status")
}

fn is_hit(reply: &Reply) -> bool {
    reply.status() == 200 && status(reply).starts_with("lightbox; hit")
}

async fn drawn(proxy: &Proxy) -> f64 {
    proxy.metric("lightbox_pictures_total{outcome=\"drawn\"}").await
}

/// Waits until it is so.
async fn once<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 10 s: {what}");
}

// One fetch, one drawing ---------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn forty_equal_requests_cost_one_fetch_and_one_drawing() {
    let archive = Archive::of_ct(1, 1, 5).await;
    for keys in [&MEMORY_ONLY[..], &[("cache_disk", "off"), ("cache_memory", "off")]] {
        let proxy = Keeper::new(keys).start(&archive.url()).await;
        let place = Place::new(1, 1, 3);
        for path in [place.path(), place.series_path(), place.study_path()] {
            let (before, pictures) = (archive.between().calls(), drawn(&proxy).await);
            let pixels = archive.pixel_calls();
            let coalesced = || proxy.metric("lightbox_coalesced_total{for=\"request\"}");
            let followed = coalesced().await;
            let gate = archive.between().hold("/studies");
            let path = format!("{path}/thumbnail?viewport=40,{}", 20 + path.len() % 20);
            let asked = join_all((0..40).map(|_| proxy.get(&path)));
            let open = async {
                once("all wait", || async { coalesced().await - followed >= 39.0 }).await;
                gate.open();
            };
            let (replies, ()) = tokio::join!(asked, open);
            let first = &replies[0];
            assert_eq!(first.status(), 200, "{}", first.text());
            assert!(replies.iter().all(|reply| reply.body == first.body));
            assert!(archive.pixel_calls() - pixels <= 1, "{path}");
            assert!(archive.between().calls() - before <= 4, "{path}");
            assert_eq!(drawn(&proxy).await - pictures, 1.0, "{path}");
            let collapsed = replies.iter().filter(|r| status(r).contains("collapsed")).count();
            assert_eq!(collapsed, 39, "{path}: {}", status(first));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_image_in_several_sizes_share_its_fetch() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let path = Place::new(1, 1, 1).path();
    let gate = archive.between().hold("/studies");
    let sizes = join_all((20..40).map(|side| {
        let (proxy, path) = (&proxy, &path);
        async move { proxy.get(&format!("{path}/thumbnail?viewport={side},{side}")).await }
    }));
    let open = async {
        once("all wait", || async {
            proxy.metric("lightbox_coalesced_total{for=\"fetch\"}").await == 19.0
        })
        .await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(sizes, open);
    assert!(replies.iter().all(|reply| reply.status() == 200));
    assert_eq!((archive.pixel_calls(), drawn(&proxy).await), (1, 20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_nothing_from_those_who_wait() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    let gate = archive.between().hold("/studies");
    // The first of them leads, and leaves.
    let leader = tokio::spawn(proxy.request(Method::GET, &path, &[]).send());
    once("it has asked", || async { archive.between().calls() > 0 }).await;
    let follower = tokio::spawn(proxy.request(Method::GET, &path, &[]).send());
    once("the other waits", || async {
        proxy.metric("lightbox_coalesced_total{for=\"request\"}").await == 1.0
    })
    .await;
    leader.abort();
    let _ = leader.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    gate.open();
    let reply = Reply::read(follower.await.unwrap().unwrap()).await;
    assert_eq!(reply.status(), 200);
    assert_eq!((archive.pixel_calls(), drawn(&proxy).await), (1, 1.0));
}

// Hits ---------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_asks_and_draws_nothing() {
    let archive = Archive::of_ct(1, 2, 3).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let place = Place::new(1, 2, 2);
    for path in [
        format!("{}/thumbnail", place.path()),
        format!("{}/thumbnail", place.series_path()),
        format!("{}/thumbnail", place.study_path()),
        format!("{}/frames/1/thumbnail", place.path()),
        format!("{}/rendered", place.path()),
        format!("{}/rendered?accept=image/png&window=100,50,linear", place.path()),
        format!("{}/rendered?accept=image/png", place.series_path()),
        format!("{}/frames/1/rendered?viewport=30,30", place.path()),
    ] {
        let first = proxy.get(&path).await;
        assert_eq!(first.status(), 200, "{path}: {}", first.text());
        let (calls, pictures) = (archive.between().calls(), drawn(&proxy).await);
        let second = proxy.get(&path).await;
        assert!(is_hit(&second), "{path}: {}", status(&second));
        assert!(status(&second).ends_with("detail=memory"), "{path}: {}", status(&second));
        assert_eq!(second.body, first.body, "{path}");
        for name in ["etag", "content-type", "content-location", "x-representative", "vary"] {
            assert_eq!(second.header(name), first.header(name), "{path}: {name}");
        }
        assert!(second.header("age").parse::<u64>().unwrap() < 60);
        let held = proxy.get_with(&path, &[("if-none-match", first.header("etag"))]).await;
        assert_eq!((held.status(), held.body.len()), (304, 0), "{path}");
        assert_eq!(held.header("etag"), first.header("etag"));
        let head = proxy.send(Method::HEAD, &path, &[]).await;
        assert_eq!((head.status(), head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), first.body.len().to_string());
        assert_eq!((archive.between().calls(), drawn(&proxy).await), (calls, pictures), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_in_other_words_share_what_is_kept() {
    let archive = Archive::of_ct(1, 1, 3).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let place = Place::new(1, 1, 2);
    let jpeg = [("accept", "image/jpeg")];
    let first = proxy.get_with(&format!("{}/thumbnail?viewport=64,64", place.path()), &jpeg).await;
    let pictures = drawn(&proxy).await;
    for (query, accept) in [
        ("viewport=64%2C64", "image/jpeg"),
        ("viewport=64,64&accept=image/jpeg", "*/*"),
        (
            "accept=image%2Fjpeg&viewport=64,64&unknown=1",
            "multipart/related; type=\"application/octet-stream\"",
        ),
        // The default, spelled out.
        ("quality=80&viewport=64,64", "image/*"),
        ("viewport=64,64&iccprofile=no", "image/jpeg"),
    ] {
        let path = format!("{}/thumbnail?{query}", place.path());
        let reply = proxy.get_with(&path, &[("accept", accept)]).await;
        assert!(is_hit(&reply), "{query}: {}", status(&reply));
        assert_eq!(reply.body, first.body, "{query}");
    }
    // What stands for the series is this image.
    let series = format!("{}/thumbnail?viewport=64,64", place.series_path());
    assert_eq!(proxy.get(&series).await.body, first.body);
    assert_eq!(drawn(&proxy).await, pictures);
    for (query, accept) in [
        ("viewport=64,63", "image/jpeg"),
        ("viewport=64,64&quality=81", "image/jpeg"),
        ("viewport=64,64", "image/png"),
        ("viewport=64,64&window=1,2,linear", "image/jpeg"),
    ] {
        let path = format!("{}/thumbnail?{query}", place.path());
        let reply = proxy.get_with(&path, &[("accept", accept)]).await;
        assert_ne!(reply.header("etag"), first.header("etag"), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frame_of_an_image_of_one_is_the_image() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let path = Place::new(1, 1, 1).path();
    for kind in ["thumbnail", "rendered"] {
        let image = proxy.get(&format!("{path}/{kind}")).await;
        let frame = proxy.get(&format!("{path}/frames/1/{kind}")).await;
        assert!(is_hit(&frame), "{kind}: {}", status(&frame));
        assert_eq!(frame.body, image.body, "{kind}");
        assert!(frame.header("content-location").ends_with(&format!("{path}/frames/1")), "{kind}");
    }
    assert_eq!(archive.pixel_calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_or_window_is_drawn_without_a_fetch() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&MEMORY_ONLY).start(&archive.url()).await;
    let fresh = Proxy::start(&archive.url()).await;
    let path = Place::new(1, 1, 1).path();
    assert_eq!(proxy.get(&format!("{path}/thumbnail")).await.status(), 200);
    let calls = archive.between().calls();
    let mut asked = Vec::new();
    for query in ["viewport=20,20", "window=80,30,linear-exact", "accept=image/png", "quality=3"] {
        for kind in ["thumbnail", "rendered"] {
            let path = format!("{path}/{kind}?{query}");
            let reply = proxy.get(&path).await;
            let expected = "lightbox; hit";
            assert!(status(&reply).starts_with(expected), "{path}: {}", status(&reply));
            assert!(status(&reply).ends_with("detail=source-memory"), "{}", status(&reply));
            asked.push((path, reply));
        }
    }
    assert_eq!(archive.between().calls(), calls);
    for (path, reply) in asked {
        let expected = fresh.get(&path).await;
        assert_eq!(
            (expected.body, expected.headers["etag"].clone()),
            (reply.body, reply.headers["etag"].clone()),
            "{path}"
        );
    }
}

// Freshness ----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_shown_once_more_and_renewed() {
    let mut archive = Archive::of_ct(1, 1, 1).await;
    let keys = [&MEMORY_ONLY[..], &[("cache_ttl", "1s"), ("index_ttl", "1s")]].concat();
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let place = Place::new(1, 1, 1);
    let path = format!("{}/thumbnail", place.path());
    let old = proxy.get(&path).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;

    // It is as it was: nothing is drawn.
    let pictures = drawn(&proxy).await;
    let stale = proxy.get(&path).await;
    assert_eq!(stale.body, old.body);
    assert!(stale.header("warning").starts_with("110 "), "{:?}", stale.headers);
    once("it is renewed", || async { proxy.get(&path).await.header("warning").is_empty() }).await;
    assert_eq!(drawn(&proxy).await, pictures);

    // It is another one.
    archive.put(&format!("{}.dcm", place.instance_uid()), &ct(&place, 99)).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(proxy.get(&path).await.body, old.body);
    once("the new one is shown", || async { proxy.get(&path).await.body != old.body }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_that_grows_is_looked_up_soon() {
    let mut archive = Archive::of_ct(1, 1, 2).await;
    let keys = [&MEMORY_ONLY[..], &[("index_ttl", "1s")]].concat();
    let proxy = Keeper::new(&keys).start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).series_path());
    let of = |reply: &Reply| reply.header("content-location").to_owned();
    assert_eq!(of(&proxy.get(&path).await), Place::new(1, 1, 2).path());
    for instance in 3..=5 {
        let place = Place::new(1, 1, instance);
        archive.put(&format!("{}.dcm", place.instance_uid()), &ct(&place, 0)).await;
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(of(&proxy.get(&path).await), Place::new(1, 1, 3).path());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_archive_is_down_what_was_seen_is_shown_as_stale_and_nothing_else() {
    let archive = Archive::of_ct(1, 2, 2).await;
    let keys = [
        ("cache_ttl", "1s"),
        ("index_ttl", "1s"),
        ("stale_while_revalidate", "1s"),
        ("upstream_timeout", "1s"),
    ];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&archive.url()).await;
    let place = Place::new(1, 1, 1);
    let paths = [place.path(), place.series_path(), place.study_path()];
    let mut seen = Vec::new();
    for path in &paths {
        seen.push(proxy.get(&format!("{path}/thumbnail")).await.body);
    }
    archive.stop();
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let check = async |proxy: &Proxy| {
        for (path, bytes) in paths.iter().zip(&seen) {
            let reply = proxy.get(&format!("{path}/thumbnail")).await;
            assert_eq!((reply.status(), &reply.body), (200, bytes), "{path}");
            assert!(status(&reply).starts_with("lightbox; hit; ttl=-"), "{}", status(&reply));
            assert!(status(&reply).ends_with("archive-down"), "{}", status(&reply));
            assert_eq!(reply.count("warning"), 2);
        }
        let never = proxy.get(&format!("{}/thumbnail", Place::new(1, 2, 1).path())).await;
        assert_eq!(never.status(), 502, "{}", never.text());
        assert!(never.text().contains("the archive cannot be reached"), "{}", never.text());
    };
    check(&proxy).await;
    // Also after a restart.
    drop(proxy);
    check(&keeper.start(&archive.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_no_longer_has_or_gives_is_no_longer_shown() {
    for code in [404, 410, 401, 403] {
        let archive = Archive::of_ct(1, 1, 1).await;
        let keys = [("cache_ttl", "1s"), ("index_ttl", "1s"), ("stale_while_revalidate", "1s")];
        let keeper = Keeper::new(&keys);
        let proxy = keeper.start(&archive.url()).await;
        let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
        assert_eq!(proxy.get(&path).await.status(), 200);
        archive.between().fail("/studies", code, &[]);
        tokio::time::sleep(Duration::from_millis(3100)).await;
        assert_eq!(proxy.get(&path).await.status(), code, "{code}");
        // Not even once it cannot be asked.
        archive.stop();
        assert_eq!(proxy.get(&path).await.status(), 502, "{code}");
    }
}

// Changes that pass through ------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_or_deleted_through_us_is_known_at_once() {
    let origin = lightbox_tests::ScriptedOrigin::start().await;
    let mut image = lightbox_tests::TestImage::ramp(32, 32);
    image.put_on(&origin);
    let study = format!("/studies/{}", image.path.study);
    let stored = format!(r#"{{"00081190":{{"vr":"UR","Value":["http://x{study}"]}}}}"#);
    origin.on("/studies", move |_| lightbox_tests::Answer::json(stored.clone()));
    origin.on(&study, |_| lightbox_tests::Answer::status(204));
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&origin.url()).await;
    let path = format!("{}/thumbnail", image.url_path());
    let first = proxy.get(&path).await;
    assert_eq!(first.status(), 200);
    assert!(is_hit(&proxy.get(&path).await));

    let post = |path: &str| proxy.request(Method::POST, path, &[]).body("object");
    for target in ["/studies", &study] {
        // The same instance, but another picture.
        image.pixels.reverse();
        image.put_on(&origin);
        let before = proxy.get(&path).await;
        assert!(is_hit(&before), "{}", status(&before));
        let reply = Reply::read(post(target).send().await.unwrap()).await;
        assert!(reply.status() < 300);
        let after = proxy.get(&path).await;
        assert_ne!(after.body, before.body, "{target}");
    }
    // What was known before the last change is there still, under its content.
    let pictures = drawn(&proxy).await;
    image.pixels.reverse();
    image.put_on(&origin);
    assert!(Reply::read(post(&study).send().await.unwrap()).await.status() < 300);
    proxy.get(&path).await;
    assert_eq!(drawn(&proxy).await, pictures);

    assert_eq!(proxy.send(Method::DELETE, &study, &[]).await.status(), 204);
    for below in ["", "/metadata", "/frames/1"] {
        let path = format!("{}{below}", image.url_path());
        origin.on(&path, |_| lightbox_tests::Answer::status(404));
    }
    assert_eq!(proxy.get(&path).await.status(), 404);
    once("the files are gone", || async {
        keeper.files().iter().all(|file| std::fs::metadata(file).is_ok_and(|meta| meta.len() < 100))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_a_change_overtakes_is_not_kept() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let proxy = Keeper::new(&[]).start(&archive.url()).await;
    let place = Place::new(1, 1, 1);
    let path = format!("{}/thumbnail", place.path());
    let gate = archive.between().hold("/frames");
    let whole = archive.between().hold(&format!("/instances/{}", place.instance_uid()));
    let early = tokio::spawn(proxy.request(Method::GET, &path, &[]).send());
    once("it has asked", || async { archive.between().calls() > 0 }).await;
    let purge = proxy.admin_url() + "/cache/studies/" + &place.study_uid();
    let purged = lightbox_tests::client().delete(purge).send().await.unwrap();
    assert_eq!(purged.status(), 204);
    gate.open();
    whole.open();
    assert_eq!(early.await.unwrap().unwrap().status(), 200);
    let next = proxy.get(&path).await;
    assert!(!is_hit(&next), "{}", status(&next));
    assert!(is_hit(&proxy.get(&path).await));
}

// Privacy ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_forwarded_share_what_is_kept_once_the_archive_agrees() {
    let archive = Archive::of_ct(1, 1, 2).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    let path = format!("{}/thumbnail", Place::new(1, 1, 1).path());
    let first = proxy.get(&path).await;
    assert_eq!(status(&first), "lightbox; fwd=uri-miss; stored");
    assert_eq!(archive.pixel_calls(), 1);
    for credentials in [("authorization", "Bearer x"), ("cookie", "session=1")] {
        let calls = archive.between().calls();
        for _ in 0..3 {
            let reply = proxy.get_with(&path, &[credentials]).await;
            assert!(is_hit(&reply), "{credentials:?}: {}", status(&reply));
            assert_eq!(reply.body, first.body);
        }
        let asked = archive.between().received().split_off(calls);
        let asked: Vec<_> =
            asked.iter().map(|call| (&*call.path, call.header(credentials.0))).collect();
        assert_eq!(asked, [("/studies", credentials.1)], "once, as who asks");
    }
    assert_eq!(archive.pixel_calls(), 1);
    // With credentials of ours, the client's say nothing.
    let keys = [("upstream_credentials", "none")];
    let own = Keeper::new(&keys).start(&archive.url()).await;
    own.get_with(&path, &[("authorization", "Bearer y")]).await;
    assert!(is_hit(&own.get_with(&path, &[("authorization", "Bearer z")]).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_names_the_patient_is_made_each_time_and_kept_nowhere() {
    let archive = Archive::of_ct(1, 1, 1).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    let path = format!("{}/rendered?annotation=patient,technique", Place::new(1, 1, 1).path());
    for _ in 0..2 {
        let reply = proxy.get(&path).await;
        assert_eq!((reply.status(), status(&reply)), (200, "lightbox; fwd=bypass"));
    }
    assert_eq!(archive.pixel_calls(), 2);
    assert!(keeper.files().iter().all(|file| file.metadata().unwrap().len() < 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_files_say_nothing_and_they_are_for_the_server_alone() {
    use std::os::unix::fs::PermissionsExt;

    let archive = Archive::of_ct(1, 2, 2).await;
    let keeper = Keeper::new(&[]);
    let proxy = keeper.start(&archive.url()).await;
    for place in places(1, 2, 2) {
        for path in [place.path(), place.series_path(), place.study_path()] {
            assert_eq!(proxy.get(&format!("{path}/thumbnail")).await.status(), 200);
        }
    }
    once("they are written", || async { keeper.files().len() > 12 }).await;
    for file in keeper.files() {
        let name = file.strip_prefix(keeper.dir()).unwrap().to_str().unwrap().to_owned();
        assert!(!name.contains("2.25") && !name.contains("jpeg"), "{name}");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600, "{name}");
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{name}");
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"Anonymou"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_animation_is_kept_too() {
    use lightbox_tests::{ScriptedOrigin, TestImage};

    let origin = ScriptedOrigin::start().await;
    let image = TestImage::new(16, 16, (0..16 * 16 * 3_u32).map(|at| at as u8).collect());
    let image = image.with_frames(3);
    image.put_on(&origin);
    let proxy = Keeper::new(&MEMORY_ONLY).start(&origin.url()).await;
    let path = format!("{}/rendered?accept=image/gif", image.url_path());
    let first = proxy.get(&path).await;
    assert_eq!((first.status(), first.header("content-type")), (200, "image/gif"));
    let calls = origin.requests();
    let second = proxy.get(&path).await;
    assert!(is_hit(&second), "{}", status(&second));
    assert_eq!((second.body, origin.requests()), (first.body, calls));
    // One frame of it is another picture.
    let still = proxy.get(&format!("{}/rendered?accept=image/jpeg", image.url_path())).await;
    assert_eq!((still.status(), still.header("content-type")), (200, "image/jpeg"));
    assert!(is_hit(&proxy.get(&path).await));
}

// The archive's own validators ---------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_knows_again_is_renewed_without_its_pixels() {
    use lightbox_tests::{Answer, ScriptedOrigin, TestImage};

    let (origin, image) = (ScriptedOrigin::start().await, TestImage::ramp(32, 32));
    let tagged = |body: Answer, request: &lightbox_tests::Received, tag: &'static str| {
        if request.header("if-none-match") == tag {
            return Answer::status(304).header("etag", tag);
        }
        body.header("etag", tag)
    };
    let (metadata, frame) = (image.metadata().to_string(), image.frame(1).to_vec());
    let path = image.url_path();
    origin.on(&format!("{path}/metadata"), move |request| {
        tagged(Answer::json(metadata.clone()), request, "W/\"m,1\"")
    });
    origin.on(&format!("{path}/frames/1"), move |request| {
        let part = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
        tagged(Answer::multipart("application/octet-stream", &[(part, &frame)]), request, "\"f\"")
    });
    let keys = [
        &MEMORY_ONLY[..],
        &[("cache_ttl", "1s"), ("index_ttl", "1s"), ("stale_while_revalidate", "1s")],
    ]
    .concat();
    let proxy = Keeper::new(&keys).start(&origin.url()).await;
    for path in [format!("{path}/thumbnail"), format!("{path}/frames/1/rendered")] {
        let first = proxy.get(&path).await;
        assert_eq!(first.status(), 200, "{}", first.text());
        tokio::time::sleep(Duration::from_millis(3100)).await;
        let (bytes, pictures) = (origin.bytes_out(), drawn(&proxy).await);
        let second = proxy.get(&path).await;
        assert_eq!(status(&second), "lightbox; fwd=stale; fwd-status=304", "{path}");
        assert_eq!(second.body, first.body);
        assert_eq!((origin.bytes_out(), drawn(&proxy).await), (bytes, pictures), "{path}");
        assert!(is_hit(&proxy.get(&path).await));
    }
    // Once one of the two has changed, both are fetched.
    let changed = TestImage { pixels: image.pixels.iter().rev().copied().collect(), ..image };
    changed.put_on(&origin);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let path = format!("{path}/thumbnail");
    let before = proxy.get(&format!("{path}?quality=1")).await;
    let reply = proxy.get(&path).await;
    assert_eq!(reply.status(), 200);
    assert_ne!(reply.header("etag"), before.header("etag"));
    assert!(status(&reply).contains("hit") || status(&reply).contains("stored"));
}

// Every kind of object -----------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_the_corpus_are_the_same_kept_or_made_anew_or_drawn_from_what_is_kept() {
    use lightbox_tests::Corpus;

    let Some(corpus) = Corpus::find_or_say("kept pictures of the corpus") else { return };
    let archive = Archive::over(corpus.root()).await;
    let keeper = Keeper::new(&[]);
    let (proxy, fresh) = (keeper.start(&archive.url()).await, Proxy::start(&archive.url()).await);
    let (mut compared, mut broken) = (0, 0);
    for path in archive.paths() {
        for (first, second) in [
            ("thumbnail", "thumbnail?viewport=77,90"),
            (
                "rendered?accept=image/png&viewport=90,77",
                "frames/1/rendered?accept=image/jpeg&viewport=60,60",
            ),
        ] {
            for request in [first, first, second, second] {
                let path = format!("{path}/{request}");
                let (ours, expected) = (proxy.get(&path).await, fresh.get(&path).await);
                // Broken on purpose: whether it can be drawn depends on how it is fetched, and that on how
                // fast the archive was.
                if expected.status() >= 500 || ours.status() >= 500 {
                    broken += 1;
                    continue;
                }
                assert_eq!(ours.status(), expected.status(), "{path}: {}", ours.text());
                if expected.status() == 200 {
                    assert_eq!(
                        ours.header("content-location"),
                        expected.header("content-location")
                    );
                    assert!(ours.body == expected.body, "{path}: {}", status(&ours));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1000 && broken < 200, "{compared}, {broken}");
    // And once more from the disk.
    drop(proxy);
    let proxy = keeper.start(&archive.url()).await;
    let mut from_disk = 0;
    for path in archive.paths().iter().step_by(3) {
        let path = format!("{path}/thumbnail?viewport=77,90");
        let (ours, expected) = (proxy.get(&path).await, fresh.get(&path).await);
        if ours.status() == 200 && expected.status() == 200 {
            assert!(ours.body == expected.body, "{path}: {}", status(&ours));
        }
        from_disk += usize::from(status(&ours).ends_with("detail=disk"));
    }
    assert!(from_disk > 30, "{from_disk}");
}
