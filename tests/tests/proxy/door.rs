//! Pictures through the real door: what is asked, what is fetched, what comes back when things fail.

use std::time::{Duration, Instant};

use http::Method;
use lightbox_tests::pictures::{Picture, jpeg_size};
use lightbox_tests::{Answer, Corpus, Proxy, Reply, ScriptedOrigin, TestImage, closed_port};

const MEBIBYTE: u64 = 1 << 20;
const CHROMIUM_IMG: &str =
    "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const CHROMIUM_NAVIGATION: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
const OHIF_BULK: &str = r#"multipart/related; type="application/octet-stream""#;
const VIEWER: (&str, &str) = ("Origin", "http://viewer.example");

/// An archive that holds one image, and the proxy in front of it.
async fn in_front_of(image: &TestImage) -> (ScriptedOrigin, Proxy) {
    in_front_of_with(image, &[]).await
}

async fn in_front_of_with(image: &TestImage, keys: &[(&str, &str)]) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    image.put_on(&origin);
    let proxy = Proxy::start_with(&origin.url(), keys).await;
    (origin, proxy)
}

/// An archive that answers every request for the one image in this way.
async fn failing_with(
    answer: impl Fn() -> Answer + Send + Sync + 'static,
    keys: &[(&str, &str)],
) -> (ScriptedOrigin, Proxy, String) {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(move |_| answer());
    let proxy = Proxy::start_with(&origin.url(), keys).await;
    (origin, proxy, TestImage::ramp(8, 8).url_path())
}

fn png(reply: &Reply) -> Picture {
    assert_eq!(
        (reply.status(), reply.header("content-type")),
        (200, "image/png"),
        "{}",
        reply.text()
    );
    Picture::from_png(&reply.body).expect("a PNG")
}

/// A problem as of RFC 9457, readable by a viewer of another origin, with nothing of a patient in it.
fn assert_problem(reply: &Reply, status: u16) {
    assert_eq!(reply.status(), status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.count("access-control-allow-origin"), 1);
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert_eq!(problem["status"], status);
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    for secret in ["2.25.1001", "Doe", "Jane"] {
        assert!(!reply.text().contains(secret), "{problem}");
    }
}

// Pictures -------------------------------------------------------------------------------------

#[tokio::test]
async fn every_resource_of_an_instance_is_a_picture_of_it() {
    let image = TestImage::ramp(64, 256);
    let (_origin, proxy) = in_front_of(&image).await;
    for resource in ["rendered", "thumbnail", "frames/1/rendered", "frames/1/thumbnail"] {
        let path = format!("{}/{resource}", image.url_path());
        let jpeg = proxy.get(&path).await;
        assert_eq!(
            (jpeg.status(), jpeg.header("content-type")),
            (200, "image/jpeg"),
            "{}",
            jpeg.text()
        );
        assert_eq!(jpeg_size(&jpeg.body), Some((256, 64)), "{resource}");
        let exact = png(&proxy.get(&format!("{path}?accept=image/png")).await);
        assert_eq!((exact.width, exact.height, exact.channels), (256, 64, 1));
        assert_eq!(exact.samples, image.pixels, "{resource}: the window is the identity");
    }
}

#[tokio::test]
async fn thumbnails_are_small_and_rendered_pictures_native() {
    let image = TestImage::ramp(512, 1024);
    let (_origin, proxy) = in_front_of(&image).await;
    let size = async |resource: &str| {
        jpeg_size(&proxy.get(&format!("{}/{resource}", image.url_path())).await.body)
    };
    assert_eq!(size("thumbnail").await, Some((256, 128)));
    assert_eq!(size("rendered").await, Some((1024, 512)));
    assert_eq!(size("thumbnail?viewport=100,100").await, Some((100, 50)));
    assert_eq!(size("rendered?viewport=300,100").await, Some((200, 100)));
    // Columns 256 to 767 of the left half, mirrored or not, at half their size.
    assert_eq!(size("rendered?viewport=256,256,256,0,512,512").await, Some((256, 256)));
    assert_eq!(size("rendered?viewport=256,256,256,0,-512,512").await, Some((256, 256)));
}

#[tokio::test]
async fn the_window_of_the_request_beats_that_of_the_file() {
    let image = TestImage::ramp(8, 256);
    let (_origin, proxy) = in_front_of(&image).await;
    let base = format!("{}/rendered?accept=image/png&window=", image.url_path());
    // PS3.3 C.11.2.1.2.1: a width of 1 is a threshold, black up to the centre less a half.
    let threshold = png(&proxy.get(&format!("{base}100,1,linear")).await);
    assert_eq!([98, 99, 100, 101].map(|x| threshold.at(x, 0)), [0, 0, 255, 255]);
    // C.11.2.1.3.1: the middle of a sigmoid is the middle of the output.
    let sigmoid = png(&proxy.get(&format!("{base}100,50,sigmoid")).await);
    assert_eq!([0, 100, 255].map(|x| sigmoid.at(x, 0)), [0, 128, 255]);
}

#[tokio::test]
async fn quality_trades_size_for_exactness() {
    let image = TestImage::ramp(128, 256);
    let (_origin, proxy) = in_front_of(&image).await;
    let length = async |quality: u8| {
        proxy.get(&format!("{}/rendered?quality={quality}", image.url_path())).await.body.len()
    };
    assert!(length(10).await < length(100).await);
}

#[tokio::test]
async fn a_frame_of_a_multi_frame_object_is_that_frame() {
    let pixels: Vec<u8> = [10_u8, 20, 30].iter().flat_map(|&grey| vec![grey; 64]).collect();
    let image = TestImage::new(8, 8, pixels).with_frames(3);
    let (_origin, proxy) = in_front_of(&image).await;
    for (number, grey) in [(1, 10), (2, 20), (3, 30)] {
        let path = format!("{}/frames/{number}/rendered?accept=image/png", image.url_path());
        assert_eq!(png(&proxy.get(&path).await).samples, vec![grey; 64]);
    }
}

#[tokio::test]
async fn one_frame_costs_the_archive_one_frame() {
    let frame = 256 * 256;
    let image = TestImage::new(256, 256, vec![77; frame * 64]).with_frames(64);
    let (origin, proxy) = in_front_of(&image).await;
    let reply = proxy.get(&format!("{}/frames/2/rendered", image.url_path())).await;
    assert_eq!(reply.status(), 200);
    let fetched = origin.bytes_out();
    assert!(fetched < 1_000_000, "{fetched} bytes were fetched for a frame of {frame}");
}

#[tokio::test]
async fn encoded_commas_and_slashes_mean_the_same_picture() {
    let image = TestImage::ramp(64, 256);
    let (_origin, proxy) = in_front_of(&image).await;
    let reply =
        async |query: &str| proxy.get(&format!("{}/rendered?{query}", image.url_path())).await;
    let plain = reply("viewport=32,32&window=40,400,linear&accept=image/png").await;
    let encoded = reply("viewport=32%2C32&window=40%2c400%2Clinear&accept=image%2Fpng").await;
    assert_eq!((plain.status(), encoded.status()), (200, 200));
    assert_eq!(plain.body, encoded.body);
    assert_eq!(plain.header("etag"), encoded.header("etag"));
}

#[tokio::test]
async fn unknown_names_are_ignored_and_names_are_case_sensitive() {
    let image = TestImage::ramp(8, 8);
    let (_origin, proxy) = in_front_of(&image).await;
    let plain = proxy.get(&format!("{}/rendered", image.url_path())).await;
    for query in ["token=secret", "Viewport=bad", "QUALITY=0&x", "presentationUID=1.2", "&&=&a=%FF"]
    {
        let reply = proxy.get(&format!("{}/rendered?{query}", image.url_path())).await;
        assert_eq!((reply.status(), &reply.body), (200, &plain.body), "{query}");
    }
}

// Negotiation (clients.md, section 1) -------------------------------------------------------------

#[tokio::test]
async fn every_known_viewer_gets_the_type_it_can_show() {
    let image = TestImage::ramp(8, 8);
    let (_origin, proxy) = in_front_of(&image).await;
    let rows: [(&str, Option<&str>, &str); 18] = [
        // OHIF: bulk, fetch, direct.
        ("accept=image%2Fjpeg", Some(OHIF_BULK), "image/jpeg"),
        ("accept=image/jpeg", Some(OHIF_BULK), "image/jpeg"),
        ("", Some(OHIF_BULK), "image/jpeg"),
        ("viewport=256%2C256", Some("image/jpeg"), "image/jpeg"),
        ("accept=image/jpeg", Some(CHROMIUM_IMG), "image/jpeg"),
        ("accept=image%2Fjpeg", Some("*/*"), "image/jpeg"),
        // A browser on its own, curl, and whoever says nothing.
        ("", Some(CHROMIUM_IMG), "image/jpeg"),
        ("", Some(CHROMIUM_NAVIGATION), "image/jpeg"),
        ("", Some("*/*"), "image/jpeg"),
        ("", Some("image/*"), "image/jpeg"),
        ("", None, "image/jpeg"),
        // The libraries.
        ("", Some("image/png"), "image/png"),
        ("", Some("image/png;q=0.9, image/jpeg;q=0.2"), "image/png"),
        ("", Some("IMAGE/PNG"), "image/png"),
        // The query wins, also where the header alone would fail.
        ("accept=image/png", Some("image/jpeg"), "image/png"),
        ("accept=image/png", Some("text/html"), "image/png"),
        // A weight of 0 excludes; the most specific range decides.
        ("", Some("image/jpeg;q=0, image/*"), "image/png"),
        ("", Some("image/*;q=0.1, image/png"), "image/png"),
    ];
    for resource in ["thumbnail", "rendered"] {
        for (query, accept, media_type) in rows {
            let headers: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
            let reply =
                proxy.get_with(&format!("{}/{resource}?{query}", image.url_path()), &headers).await;
            let got = (reply.status(), reply.header("content-type"));
            assert_eq!(
                got,
                (200, media_type),
                "{resource} ?{query} Accept: {accept:?} {}",
                reply.text()
            );
            assert_eq!(reply.body.starts_with(b"\xFF\xD8"), media_type == "image/jpeg");
        }
    }
}

#[tokio::test]
async fn what_no_picture_satisfies_is_406() {
    let image = TestImage::ramp(8, 8);
    let (_origin, proxy) = in_front_of(&image).await;
    for accept in
        ["text/html", "application/pdf", "video/mp4", "image/tiff", "image/jpeg;q=0, image/png;q=0"]
    {
        let headers = [("Accept", accept), VIEWER];
        let reply = proxy.get_with(&format!("{}/rendered", image.url_path()), &headers).await;
        assert_problem(&reply, 406);
        assert!(
            reply.text().contains("image/png"),
            "the types to be had are named: {}",
            reply.text()
        );
    }
}

// Headers -----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_picture_carries_every_header_it_should() {
    let image = TestImage::ramp(64, 64);
    let (_origin, proxy) = in_front_of(&image).await;
    let reply = proxy.get_with(&format!("{}/rendered", image.url_path()), &[VIEWER]).await;
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    let location = reply.header("content-location");
    assert!(location.contains(&image.url_path()), "{location}");
    let etag = reply.header("etag");
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 8, "strong: {etag}");
    assert!(!etag.contains("2.25."), "no UID in it: {etag}");
    let vary = reply.header("vary").to_ascii_lowercase();
    assert!(vary.contains("accept") && vary.contains("authorization"), "{vary}");
    assert!(reply.header("cache-control").contains("private"), "{}", reply.header("cache-control"));
    for stage in ["upstream", "decode", "render", "encode"] {
        let timing = reply.header("server-timing");
        assert!(timing.contains(&format!("{stage};dur=")), "{stage} in {timing}");
    }
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert!(reply.header("access-control-expose-headers").to_ascii_lowercase().contains("etag"));
    assert_eq!(reply.count("access-control-allow-credentials"), 0, "never with a wildcard");
}

#[tokio::test]
async fn an_unchanged_picture_is_304() {
    let image = TestImage::ramp(64, 64);
    let (_origin, proxy) = in_front_of(&image).await;
    let path = format!("{}/thumbnail", image.url_path());
    let etag = proxy.get(&path).await.header("etag").to_owned();
    for matching in [etag.clone(), format!("\"other\", {etag}"), format!("W/{etag}"), "*".into()] {
        let reply = proxy.get_with(&path, &[("If-None-Match", &matching), VIEWER]).await;
        assert_eq!((reply.status(), reply.body.len()), (304, 0), "{matching}");
        assert_eq!(reply.header("etag"), etag);
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(reply.header("vary").to_ascii_lowercase().contains("accept"));
    }
    let reply = proxy.get_with(&path, &[("If-None-Match", "\"other\"")]).await;
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn every_representation_has_a_tag_of_its_own() {
    let image = TestImage::ramp(64, 64).with_frames(1);
    let (_origin, proxy) = in_front_of(&image).await;
    let mut tags = std::collections::HashSet::new();
    let different = [
        "",
        "?accept=image/png",
        "?viewport=32,32",
        "?viewport=32,32,0,0,32,32",
        "?viewport=32,32,0,0,-32,32",
        "?window=40,400,linear",
        "?window=40,400,linear-exact",
        "?window=40,400,sigmoid",
        "?window=41,400,linear",
        "?quality=50",
        "?quality=51",
    ];
    for query in different {
        let reply = proxy.get(&format!("{}/rendered{query}", image.url_path())).await;
        assert_eq!(reply.status(), 200, "{query}: {}", reply.text());
        assert!(tags.insert(reply.header("etag").to_owned()), "{query}");
    }
    let again = proxy.get(&format!("{}/rendered", image.url_path())).await;
    assert!(tags.contains(again.header("etag")), "the same request has the same tag");
}

#[tokio::test]
async fn changed_pixels_change_the_tag() {
    let path = TestImage::ramp(64, 64).url_path();
    let mut tags = Vec::new();
    for pixels in [vec![1; 4096], vec![2; 4096]] {
        let (_origin, proxy) = in_front_of(&TestImage::new(64, 64, pixels)).await;
        tags.push(proxy.get(&format!("{path}/rendered")).await.header("etag").to_owned());
    }
    assert_ne!(tags[0], tags[1]);
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let image = TestImage::ramp(64, 64);
    let (_origin, proxy) = in_front_of(&image).await;
    for resource in ["rendered", "thumbnail", "frames/1/rendered"] {
        let path = format!("{}/{resource}", image.url_path());
        let get = proxy.get(&path).await;
        let head = proxy.send(Method::HEAD, &path, &[]).await;
        assert_eq!((head.status(), head.body.len()), (200, 0));
        for name in
            ["content-type", "content-length", "etag", "content-location", "vary", "cache-control"]
        {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
    }
}

#[tokio::test]
async fn other_methods_are_405_and_do_not_reach_the_archive() {
    let image = TestImage::ramp(8, 8);
    let (origin, proxy) = in_front_of(&image).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let path = format!("{}/rendered", image.url_path());
        let reply = proxy.send(method, &path, &[VIEWER]).await;
        assert_problem(&reply, 405);
        let allow = reply.header("allow");
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn preflights_of_pictures_are_answered_without_the_archive() {
    let image = TestImage::ramp(8, 8);
    let (origin, proxy) = in_front_of(&image).await;
    for asked in ["accept", "authorization", "accept,authorization"] {
        let headers = [
            VIEWER,
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", asked),
        ];
        let path = format!("{}/thumbnail?accept=image%2Fjpeg", image.url_path());
        let reply = proxy.send(Method::OPTIONS, &path, &headers).await;
        assert!(reply.status.is_success(), "{}", reply.status());
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(reply.header("access-control-allow-methods").contains("GET"));
        let allowed = reply.header("access-control-allow-headers").to_ascii_lowercase();
        // A wildcard does not cover Authorization (Fetch, CORS-preflight fetch).
        for name in ["accept", "authorization", "if-none-match", "range", "content-type"] {
            assert!(allowed.contains(name), "{name} in {allowed}");
        }
        assert!(reply.count("access-control-max-age") == 1);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn the_callers_credentials_go_with_every_fetch() {
    let image = TestImage::ramp(8, 8);
    let (origin, proxy) = in_front_of(&image).await;
    let credentials = [("Authorization", "Bearer secret-token"), ("Cookie", "session=secret")];
    for resource in ["rendered", "frames/1/thumbnail"] {
        let reply = proxy.get_with(&format!("{}/{resource}", image.url_path()), &credentials).await;
        assert_eq!(reply.status(), 200);
    }
    assert!(origin.requests() > 0);
    for seen in origin.received() {
        assert_eq!(seen.header("authorization"), "Bearer secret-token", "{}", seen.path);
        assert_eq!(seen.header("cookie"), "session=secret", "{}", seen.path);
    }
    let before = origin.requests();
    proxy.get(&format!("{}/rendered", image.url_path())).await;
    for seen in &origin.received()[before..] {
        assert_eq!(seen.header("authorization"), "", "nobody else's credentials: {}", seen.path);
    }
    assert!(!proxy.log().contains("secret"), "{}", proxy.log());
}

#[tokio::test]
async fn the_archive_is_asked_not_to_transcode() {
    let image = TestImage::ramp(8, 8);
    let (origin, proxy) = in_front_of(&image).await;
    proxy.get(&format!("{}/rendered", image.url_path())).await;
    let fetches = origin.received();
    let pixels = fetches.iter().filter(|seen| !seen.path.ends_with("/metadata"));
    let accepts: Vec<_> = pixels.map(|seen| seen.header("accept").to_owned()).collect();
    assert!(!accepts.is_empty());
    for accept in accepts {
        assert!(
            accept.contains("transfer-syntax=*") || accept.contains(r#"transfer-syntax="*""#),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn nothing_of_a_patient_is_logged() {
    let image = TestImage::ramp(8, 8);
    let (_origin, proxy) = in_front_of(&image).await;
    proxy.get(&format!("{}/rendered", image.url_path())).await;
    proxy.get(&format!("{}/rendered?viewport=0,0", image.url_path())).await;
    proxy.get("/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.9/rendered").await;
    proxy.get("/studies?PatientName=Doe%5EJane").await;
    for secret in ["2.25.1001", "Doe", "Jane"] {
        assert!(!proxy.log().contains(secret), "{}", proxy.log());
    }
}

// What is wrong with the request ------------------------------------------------------------------

#[tokio::test]
async fn malformed_uids_and_frames_are_400_and_do_not_reach_the_archive() {
    let (origin, proxy) = in_front_of(&TestImage::ramp(8, 8)).await;
    let long = "1".repeat(65);
    for uid in ["1.2a", "1..2", ".1", "1.", "x", "1%2F2", "1.2%00", &long] {
        for path in [
            format!("/studies/{uid}/series/1/instances/1/rendered"),
            format!("/studies/1/series/{uid}/instances/1/thumbnail"),
            format!("/studies/1/series/1/instances/{uid}/frames/1/rendered"),
        ] {
            assert_problem(&proxy.get_with(&path, &[VIEWER]).await, 400);
        }
    }
    for frame in ["0", "-1", "x", "1.0", "4294967296", "%201"] {
        let path = format!("/studies/1/series/1/instances/1/frames/{frame}/rendered");
        assert_problem(&proxy.get_with(&path, &[VIEWER]).await, 400);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn bad_parameters_are_400_and_do_not_reach_the_archive() {
    let image = TestImage::ramp(8, 8);
    let (origin, proxy) = in_front_of(&image).await;
    let queries = [
        "viewport=0,0",
        "viewport=128,0",
        "viewport=128",
        "viewport=",
        "viewport=a,b",
        "viewport=1.5,2",
        "viewport=-1,5",
        "viewport=1,2,3,4,0,6",
        "viewport=1,2,3,4,5,6,7",
        "viewport=99999999999,1",
        "window=40,400",
        "window=40,400,LINEAR",
        "window=40,0,linear",
        "window=40,-1,sigmoid",
        "window=nan,1,linear",
        "window=.5,1,linear",
        "window=",
        "window=1,1,linear,",
        "quality=0",
        "quality=101",
        "quality=-1",
        "quality=high",
        "quality=80.5",
        "quality=",
        // R2.1 [D]: a repeated name is ambiguous.
        "quality=50&quality=60",
        "viewport=1,1&viewport=2,2",
    ];
    for query in queries {
        let reply =
            proxy.get_with(&format!("{}/rendered?{query}", image.url_path()), &[VIEWER]).await;
        assert_eq!(reply.status(), 400, "{query}");
        assert_problem(&reply, 400);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_viewport_beyond_every_limit_is_refused() {
    let image = TestImage::ramp(8, 8);
    let (_origin, proxy) = in_front_of(&image).await;
    let before = proxy.peak_memory();
    let path = format!("{}/rendered?viewport=4000000000,4000000000", image.url_path());
    let reply = proxy.get_with(&path, &[VIEWER]).await;
    assert!((400..500).contains(&reply.status()), "{}: {}", reply.status(), reply.text());
    assert!(proxy.peak_memory() - before < 64 * MEBIBYTE);
}

#[tokio::test]
async fn unknown_instances_and_frames_are_404() {
    let image = TestImage::new(8, 8, vec![1; 128]).with_frames(2);
    let (_origin, proxy) = in_front_of(&image).await;
    let unknown = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.9";
    for resource in ["rendered", "thumbnail", "frames/1/rendered"] {
        assert_problem(&proxy.get_with(&format!("{unknown}/{resource}"), &[VIEWER]).await, 404);
    }
    for frame in ["3", "4000000000"] {
        let path = format!("{}/frames/{frame}/rendered", image.url_path());
        assert_problem(&proxy.get_with(&path, &[VIEWER]).await, 404);
    }
}

// What is wrong with the archive --------------------------------------------------------------------

#[tokio::test]
async fn refusals_of_the_archive_come_back_with_their_challenge() {
    for status in [401, 403, 404, 410] {
        let answer = move || {
            Answer::new(status, "text/plain", "for Doe^Jane")
                .header("WWW-Authenticate", "Bearer realm=\"pacs\"")
        };
        let (_origin, proxy, image) = failing_with(answer, &[]).await;
        let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
        assert_problem(&reply, status);
        if status == 401 {
            assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"pacs\"");
        }
    }
}

#[tokio::test]
async fn errors_of_the_archive_are_its_fault() {
    for status in [500, 501, 502, 503] {
        let (_origin, proxy, image) =
            failing_with(move || Answer::new(status, "text/html", "oops"), &[]).await;
        let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
        assert!(matches!(reply.status(), 502 | 503), "{status} became {}", reply.status());
        assert_problem(&reply, reply.status());
    }
}

#[tokio::test]
async fn an_archive_that_is_down_is_502() {
    let proxy = Proxy::start(&format!("http://127.0.0.1:{}/", closed_port())).await;
    let path = format!("{}/thumbnail", TestImage::ramp(8, 8).url_path());
    assert_problem(&proxy.get_with(&path, &[VIEWER]).await, 502);
}

#[tokio::test]
async fn an_archive_that_stalls_is_504_in_time() {
    let never = || Answer::json("[]").after(Duration::from_secs(3600));
    let half =
        || Answer::stalled(r#"multipart/related; type="application/dicom"; boundary=b"#, "--b\r\n");
    for answer in [never as fn() -> Answer, half] {
        let (_origin, proxy, image) = failing_with(answer, &[("upstream_timeout", "500ms")]).await;
        let start = Instant::now();
        let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
        assert_problem(&reply, 504);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn an_archive_that_drips_is_cut_off_by_the_request_timeout() {
    let drip = || {
        let byte = bytes::Bytes::from_static(b" ");
        Answer::chunks(vec![byte; 10_000], Duration::from_millis(100))
            .header("content-type", r#"multipart/related; type="application/dicom"; boundary=b"#)
    };
    let (_origin, proxy, image) = failing_with(drip, &[("request_timeout", "1s")]).await;
    let start = Instant::now();
    assert_problem(&proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await, 504);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn answers_that_are_no_dicom_are_the_archives_fault() {
    let answers: [fn() -> Answer; 6] = [
        || Answer::new(200, "text/html", "<html>please log in</html>"),
        || Answer::new(200, "", ""),
        || Answer::multipart("application/dicom", &[]),
        || Answer::multipart("application/dicom", &[("application/dicom", b"no DICOM at all")]),
        || Answer::new(200, "multipart/related", "no boundary"),
        || Answer::json("[{}]"),
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        let (_origin, proxy, image) = failing_with(answer, &[]).await;
        let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
        // Nothing at all may also mean that there is no such object.
        let clear = matches!(reply.status(), 404 | 500..=502);
        assert!(clear, "{at}: {} {}", reply.status(), reply.text());
        assert_problem(&reply, reply.status());
    }
}

#[tokio::test]
async fn redirects_of_the_archive_are_not_followed() {
    let elsewhere = ScriptedOrigin::start().await;
    let target = elsewhere.url();
    let (_origin, proxy, image) =
        failing_with(move || Answer::status(302).header("Location", &target), &[]).await;
    let credentials = [("Authorization", "Bearer secret"), VIEWER];
    let reply = proxy.get_with(&format!("{image}/rendered"), &credentials).await;
    assert_problem(&reply, 502);
    assert_eq!(elsewhere.requests(), 0, "credentials stay with the archive they are for");
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_no_picture() {
    let image = TestImage::ramp(64, 64);
    let (origin, proxy) = in_front_of(&image).await;
    let file = image.file();
    let half = || {
        let kind = r#"multipart/related; type="application/dicom"; boundary=b"#;
        let mut body = b"--b\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
        body.extend(&file[..file.len() / 2]);
        (kind, body)
    };
    let (kind, body) = half();
    let length = file.len() + 100;
    origin.on(&image.url_path(), move |_| Answer::truncated(kind, body.clone(), length));
    let frame = format!("{}/frames/1", image.url_path());
    let kind = r#"multipart/related; type="application/octet-stream"; boundary=b"#;
    origin.on(&frame, move |_| Answer::truncated(kind, "--b\r\n\r\nhalf", length));
    let reply = proxy.get_with(&format!("{}/rendered", image.url_path()), &[VIEWER]).await;
    assert!(matches!(reply.status(), 502 | 504), "{}: {}", reply.status(), reply.text());
    assert_problem(&reply, reply.status());
}

#[tokio::test]
async fn a_file_that_lacks_pixels_is_an_error_or_what_is_there() {
    for kept in [0, 1, 1024, 4000] {
        let image = TestImage::new(64, 64, vec![200; kept]);
        let (_origin, proxy) = in_front_of(&image).await;
        let reply = proxy.get_with(&format!("{}/rendered", image.url_path()), &[VIEWER]).await;
        if reply.status() == 200 {
            assert_eq!(jpeg_size(&reply.body), Some((64, 64)), "{kept} of 4096 bytes");
        } else {
            assert!((500..=502).contains(&reply.status()), "{kept}: {}", reply.status());
            assert_problem(&reply, reply.status());
        }
    }
}

// Memory --------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_claimed_size_costs_no_memory() {
    let mut image = TestImage::new(u16::MAX, u16::MAX, vec![0; 64]);
    image.frames = i32::MAX as u32;
    let (_origin, mut proxy) = in_front_of(&image).await;
    let before = proxy.peak_memory();
    for resource in ["rendered", "thumbnail", "frames/1/rendered", "frames/2147483647/rendered"] {
        let reply = proxy.get_with(&format!("{}/{resource}", image.url_path()), &[VIEWER]).await;
        assert!((400..600).contains(&reply.status()), "{resource}: {}", reply.status());
        assert_problem(&reply, reply.status());
    }
    let growth = proxy.peak_memory() - before;
    assert!(growth < 64 * MEBIBYTE, "grew by {growth} bytes");
    assert!(proxy.is_alive());
}

#[tokio::test]
async fn an_object_without_end_is_refused_at_the_limit() {
    let kind = r#"multipart/related; type="application/dicom"; boundary=b"#;
    let endless: [fn() -> Answer; 2] = [
        || {
            Answer::endless(
                r#"multipart/related; type="application/dicom"; boundary=b"#,
                vec![b'x'; 65_536],
            )
        },
        || Answer::endless("application/dicom+json", vec![b'['; 65_536]),
    ];
    for answer in endless {
        let (_origin, proxy, image) = failing_with(answer, &[("max_source_bytes", "8MB")]).await;
        let before = proxy.peak_memory();
        let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
        assert!((400..600).contains(&reply.status()), "{}", reply.status());
        let growth = proxy.peak_memory() - before;
        assert!(growth < 96 * MEBIBYTE, "grew by {growth} bytes");
    }
    // The length is announced: nothing of it needs to be read.
    let huge = move || Answer::truncated(kind, "--b\r\n", 8 << 30);
    let (_origin, proxy, image) = failing_with(huge, &[("max_source_bytes", "8MB")]).await;
    let reply = proxy.get_with(&format!("{image}/rendered"), &[VIEWER]).await;
    assert!((400..600).contains(&reply.status()), "{}", reply.status());
    assert!(proxy.peak_memory() < 256 * MEBIBYTE);
}

#[tokio::test]
async fn broken_files_cost_neither_the_process_nor_its_memory() {
    let Some(corpus) = Corpus::find_or_say("broken files") else { return };
    let image = TestImage::ramp(8, 8);
    let (origin, mut proxy) = in_front_of(&image).await;
    proxy.get(&format!("{}/rendered", image.url_path())).await;
    let before = proxy.peak_memory();
    for entry in corpus.entries.iter().filter(|entry| entry.kind == "broken") {
        let file = corpus.read(&entry.path);
        // An archive that checks nothing: the bytes as they are, under the path that is asked for.
        let path = entry.url_path().unwrap_or_else(|| image.url_path());
        let syntax = entry.transfer_syntax_uid.as_deref().unwrap_or("1.2.840.10008.1.2.1");
        let part = format!("application/dicom; transfer-syntax={syntax}");
        origin.on(&path, move |_| Answer::multipart("application/dicom", &[(&part, &file)]));
        origin.on(&format!("{path}/metadata"), |_| Answer::status(404));
        origin.on(&format!("{path}/frames/1"), |_| Answer::status(404));
        let start = Instant::now();
        let reply = proxy.get_with(&format!("{path}/rendered"), &[VIEWER]).await;
        assert!(start.elapsed() < Duration::from_secs(10), "{}: {:?}", entry.path, start.elapsed());
        assert!(proxy.is_alive(), "{}: the process is gone:\n{}", entry.path, proxy.log());
        if reply.status() != 200 {
            assert!((400..600).contains(&reply.status()), "{}: {}", entry.path, reply.status());
            assert_eq!(reply.header("content-type"), "application/problem+json", "{}", entry.path);
        }
        let growth = proxy.peak_memory() - before;
        assert!(growth < 192 * MEBIBYTE, "{}: grew by {growth} bytes", entry.path);
    }
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[tokio::test]
async fn many_requests_at_once_all_get_their_picture() {
    let image = TestImage::ramp(256, 256);
    let (_origin, proxy) = in_front_of(&image).await;
    let asked = (0..40).map(|n| {
        let path = format!("{}/thumbnail?viewport={},64", image.url_path(), 64 + n);
        proxy.request(Method::GET, &path, &[]).send()
    });
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

// Health --------------------------------------------------------------------------------------------

#[tokio::test]
async fn health_is_on_a_listener_of_its_own() {
    let (_origin, proxy) = in_front_of(&TestImage::ramp(8, 8)).await;
    let client = lightbox_tests::client();
    let status = async |url: String| client.get(url).send().await.unwrap().status().as_u16();
    assert_eq!(status(format!("{}/healthz", proxy.admin_url())).await, 200);
    assert_ne!(proxy.get("/healthz").await.status(), 200, "not at the door");
}

#[tokio::test]
async fn readiness_follows_the_archive() {
    let client = lightbox_tests::client();
    let status = async |proxy: &Proxy| {
        client.get(format!("{}/readyz", proxy.admin_url())).send().await.unwrap().status().as_u16()
    };
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::json("[]"));
    assert_eq!(status(&Proxy::start(&origin.url()).await).await, 200);
    let down = Proxy::start(&format!("http://127.0.0.1:{}", closed_port())).await;
    assert_eq!(status(&down).await, 503);
}
