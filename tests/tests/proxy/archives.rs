//! Archives as the configuration has them: several at once, what they teach, their own URLs, and the doctor.

use std::time::{Duration, Instant};

use lightbox_tests::pictures::Picture;
use lightbox_tests::{
    Answer, Finished, Orthanc, Proxy, ScriptedOrigin, TestImage, closed_port, lightbox, skip,
};
use serde_json::{Value, json};

const IMAGE: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const INSTANCES: &str = "/studies/2.25.1001/series/2.25.1001.2/instances";

async fn origin_of(image: &TestImage) -> ScriptedOrigin {
    let origin = ScriptedOrigin::start().await;
    image.put_on(&origin);
    origin
}

async fn png(proxy: &Proxy, path: &str) -> Picture {
    let reply = proxy.get(path).await;
    assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
    Picture::from_png(&reply.body).unwrap()
}

/// Paths that were asked for since `start`, sorted.
fn asked(origin: &ScriptedOrigin, start: usize) -> Vec<String> {
    let mut paths: Vec<String> =
        origin.received().into_iter().skip(start).map(|r| r.path).collect();
    paths.sort();
    paths
}

// Several ------------------------------------------------------------------------------------------

#[tokio::test]
async fn each_archive_is_served_below_its_base() {
    let grey = |level: u8| TestImage::new(2, 2, vec![level; 4]);
    let (first, second) = (origin_of(&grey(10)).await, origin_of(&grey(200)).await);
    let proxy = Proxy::configured(&format!(
        "upstream = \"{}\"\n[upstreams.cloud]\nupstream = \"{}\"\n[upstreams.gone]\nupstream = \
         \"http://127.0.0.1:{}/rs\"\nbase_path = \"/deep/er\"\n",
        first.url(),
        second.url(),
        closed_port()
    ))
    .await;
    for (base, level) in [("", 10), ("/cloud", 200)] {
        let path = format!("{base}{IMAGE}/rendered?accept=image/png");
        assert_eq!(png(&proxy, &path).await.samples, [level; 4], "{base}");
        let reply = proxy.get(&format!("{base}{IMAGE}/thumbnail")).await;
        assert_eq!(reply.header("content-location"), format!("{base}{IMAGE}"));
        let frame = proxy.get(&format!("{base}{IMAGE}/frames/1")).await;
        assert!(frame.body.windows(4).any(|w| w == [level; 4]), "{base} passes through");
    }
    assert_eq!(proxy.get(&format!("/deep/er{IMAGE}/thumbnail")).await.status(), 502);
    // Whose path that is, is clear; /cloud of an archive at the root is not ours.
    assert_eq!(proxy.get("/rs/studies").await.status(), 502);
    assert_eq!(proxy.get("/cloudy/studies").await.status(), 404);
    let page = proxy.get_with("/", &[("accept", "text/html")]).await.text();
    for option in ["value=\"\"", "value=\"/cloud\"", "value=\"/deep/er\""] {
        assert!(page.contains(option), "{option}");
    }
    let ready = lightbox_tests::client().get(format!("{}/readyz", proxy.admin_url()));
    first.on("/studies", |_| Answer::json("[]"));
    assert_eq!(ready.send().await.unwrap().status(), 200);
    assert!(proxy.log().contains("/cloud/ (cloud)"), "{}", proxy.log());
}

// What passes through ------------------------------------------------------------------------------

/// The answer to a search for the instances of the series.
fn listing(image: &TestImage) -> String {
    let mut listed = image.metadata();
    listed[0].as_object_mut().unwrap().remove("00083002");
    listed.to_string()
}

async fn learns_from(teach: &str) -> Vec<String> {
    let image = TestImage::new(4, 4, vec![7; 16 * 5]).with_frames(5);
    let origin = origin_of(&image).await;
    let said = listing(&image);
    origin.on(INSTANCES, move |_| Answer::json(said.clone()));
    let proxy = Proxy::start(&origin.url()).await;
    if !teach.is_empty() {
        assert_eq!(proxy.get(teach).await.status(), 200);
        // It is read when the client has it.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let start = origin.requests();
    assert_eq!(proxy.get(&format!("{IMAGE}/thumbnail")).await.status(), 200);
    asked(&origin, start)
}

#[tokio::test]
async fn searches_and_metadata_that_pass_through_tell_which_frame_to_ask_for() {
    let wanted = [format!("{IMAGE}/frames/3"), format!("{IMAGE}/metadata")];
    assert_eq!(learns_from(INSTANCES).await, wanted);
    assert_eq!(learns_from(&format!("{IMAGE}/metadata")).await, wanted);
    // Without that, the first frame is asked for too.
    let unknown = learns_from("").await;
    assert!(unknown.contains(&format!("{IMAGE}/frames/1")), "{unknown:?}");
    assert!(!unknown.contains(&IMAGE.to_owned()), "never the object: {unknown:?}");
}

#[tokio::test]
async fn however_a_picture_was_fetched_its_tag_is_the_same() {
    let image = TestImage::ramp(8, 8);
    let origin = origin_of(&image).await;
    let proxy = Proxy::start(&origin.url()).await;
    let mut tags = Vec::new();
    let mut ways = std::collections::BTreeSet::new();
    for _ in 0..12 {
        let start = origin.requests();
        let reply = proxy.get(&format!("{IMAGE}/rendered")).await;
        tags.push(reply.header("etag").to_owned());
        ways.insert(asked(&origin, start));
    }
    tags.dedup();
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert!(ways.len() > 1, "it was fetched in one way only: {ways:?}");
    let reply = proxy.get_with(&format!("{IMAGE}/rendered"), &[("if-none-match", &tags[0])]).await;
    assert_eq!(reply.status(), 304);
}

// URLs in answers ----------------------------------------------------------------------------------

#[tokio::test]
async fn the_archives_own_urls_become_ones_of_this_server_where_that_is_asked_for() {
    let origin = ScriptedOrigin::start().await;
    let json = r#"[{"00081190":{"vr":"UR","Value":["http://10.1.2.3:8042/dicom-web/studies/1"]},"7FE00010":{"vr":"OW","BulkDataURI":"http:\/\/10.1.2.3:8042\/dicom-web\/b\/2"},"x":"http://10.1.2.3/other"}]"#;
    origin.on("/dicom-web/studies", move |request| {
        assert!(request.header("accept-encoding").is_empty());
        Answer::json(json).header("etag", "\"1\"")
    });
    origin.on("/dicom-web/part", move |_| {
        Answer::new(206, "application/dicom+json", json).header("content-range", "bytes 0-1/2")
    });
    origin.on("/dicom-web/plain", move |_| Answer::new(200, "text/plain", json));
    let upstream = format!("{}/dicom-web", origin.url());
    let proxy =
        Proxy::start_with(&upstream, &[("rewrite_urls", "true"), ("base_path", "/pacs")]).await;
    let reply = proxy.get_with("/pacs/studies", &[("accept-encoding", "gzip")]).await;
    let ours = format!("{}/pacs", proxy.url());
    let expected = json
        .replace("http://10.1.2.3:8042/dicom-web", &ours)
        .replace(r"http:\/\/10.1.2.3:8042\/dicom-web\/b\/2", &format!("{ours}/b/2"));
    assert_eq!(reply.text(), expected);
    assert_eq!(
        (reply.header("etag"), reply.header("content-type")),
        ("W/\"1\"", "application/dicom+json")
    );
    for untouched in ["/pacs/part", "/pacs/plain"] {
        assert_eq!(proxy.get(untouched).await.text(), json, "{untouched}");
    }
    // What a proxy says of itself counts where it is trusted (transport.rs has the rest of that).
    let behind = [("x-forwarded-host", "images.example"), ("x-forwarded-proto", "https")];
    assert_eq!(proxy.get_with("/pacs/studies", &behind).await.text(), expected);
    let keys = [("rewrite_urls", "true"), ("base_path", "/pacs"), ("trusted_proxies", "127.0.0.1")];
    let trusting = Proxy::start_with(&upstream, &keys).await;
    let reply = trusting.get_with("/pacs/studies", &behind).await;
    assert!(reply.text().contains("\"https://images.example/pacs/studies/1\""), "{}", reply.text());
    // Without it, nothing is touched.
    let plain = Proxy::start_with(&upstream, &[("base_path", "/pacs")]).await;
    origin.on("/dicom-web/studies", move |_| Answer::json(json));
    assert_eq!(plain.get("/pacs/studies").await.text(), json);
}

// The doctor ---------------------------------------------------------------------------------------

async fn doctor(arguments: &[&str]) -> Finished {
    let arguments: Vec<String> =
        ["doctor"].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let done = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        lightbox(std::path::Path::new("."), &arguments)
    });
    done.await.unwrap()
}

async fn searchable(image: &TestImage) -> ScriptedOrigin {
    let origin = origin_of(image).await;
    let said = listing(image);
    for path in ["/studies", "/studies/2.25.1001/series", INSTANCES] {
        let said = said.clone();
        origin.on(path, move |request| {
            let none = request
                .query
                .as_deref()
                .is_some_and(|query| query.contains("2.25.1&") || query.ends_with("2.25.1"));
            Answer::json(if none { "[]".to_owned() } else { said.clone() })
        });
    }
    origin
}

#[tokio::test]
async fn the_doctor_finds_a_plain_archive_well_and_says_how_to_configure_it() {
    let origin = searchable(&TestImage::ramp(16, 16)).await;
    let told = doctor(&["--upstream", &origin.url()]).await;
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    for word in ["Thumbnails work.", "upstream = ", "thumbnailRendering: 'thumbnail'", "metadata"] {
        assert!(told.stdout.contains(word), "{word}: {}", told.stdout);
    }
    assert!(!told.stdout.contains("2.25.1001") && !told.stdout.contains("Doe"), "{}", told.stdout);
    let json = doctor(&["--upstream", &origin.url(), "--json"]).await;
    let seen: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&seen["thumbnails"], &seen["dialect"]), (&json!(true), &json!("generic")));
    assert!(seen["calls"].as_array().unwrap().iter().any(|call| call["call"] == "frame"));
    // It only reads.
    assert!(origin.received().iter().all(|request| request.method == http::Method::GET));
}

#[tokio::test]
async fn the_doctor_names_what_is_odd() {
    let image = TestImage::ramp(16, 16);
    let origin = searchable(&image).await;
    let frame = image.frame(1).to_vec();
    origin.on(&format!("{IMAGE}/frames/1"), move |request| {
        if request.header("accept").contains('"') {
            return Answer::status(406);
        }
        Answer::multipart("application/octet-stream", &[("application/octet-stream", &frame)])
    });
    let told = doctor(&["--upstream", &origin.url()]).await.stdout;
    for word in [
        "it refuses multipart/related; type=\"application/octet-stream\"",
        "does not say the transfer syntax",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[tokio::test]
async fn where_thumbnails_cannot_work_the_doctor_says_why_and_fails() {
    let dead = format!("http://127.0.0.1:{}", closed_port());
    let began = Instant::now();
    let told = doctor(&["--upstream", &dead]).await;
    assert_eq!(told.code, Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("cannot be reached"), "{}", told.stdout);
    assert!(began.elapsed() < Duration::from_secs(20));

    let locked = ScriptedOrigin::start().await;
    locked.otherwise(|request| match request.header("authorization") {
        "Bearer right" => Answer::json("[]"),
        _ => Answer::status(401),
    });
    let told = doctor(&["--upstream", &locked.url()]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stdout.contains("--authorization"), "{}", told.stdout);
    let told = doctor(&["--upstream", &locked.url(), "--authorization", "Bearer right"]).await;
    assert_eq!(told.code, Some(0), "{}", told.stdout);
    assert!(!told.stdout.contains("right"), "{}", told.stdout);

    let web = ScriptedOrigin::start().await;
    web.otherwise(|_| Answer::new(200, "text/html", "<html>welcome</html>"));
    let told = doctor(&["--upstream", &web.url()]).await;
    assert_eq!(told.code, Some(1));
    assert!(told.stdout.contains("base URL"), "{}", told.stdout);

    let broken = searchable(&TestImage::ramp(16, 16)).await;
    broken.on(IMAGE, |_| Answer::status(500));
    broken.on(&format!("{IMAGE}/frames/1"), |_| Answer::status(500));
    let told = doctor(&["--upstream", &broken.url()]).await;
    assert_eq!(told.code, Some(1), "{}", told.stdout);
    assert!(told.stdout.contains("no thumbnail of this image"), "{}", told.stdout);
    let usage = doctor(&[]).await;
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_recognises_orthanc() {
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip("the doctor in front of Orthanc", &why),
    };
    assert!(orthanc.store(&TestImage::ramp(64, 64).file()).await);
    let told = doctor(&["--upstream", &orthanc.url(), "--json"]).await;
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    let seen: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&seen["dialect"], &seen["thumbnails"]), (&json!("orthanc"), &json!(true)));
}
