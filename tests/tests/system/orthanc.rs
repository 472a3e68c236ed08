//! In front of a real Orthanc: every file of the corpus has its picture or a clear error, and
//! everything else is what Orthanc itself answers. Slow: `./run test all`.

use std::path::Path;
use std::time::{Duration, Instant};

use lightbox_tests::limits::{Limit, Table};
use lightbox_tests::pictures::{Picture, jpeg_size};
use lightbox_tests::{
    Answer, Corpus, Entry, Orthanc, Outcome, Proxy, Reply, ScriptedOrigin, client, parts, skip,
    slow_test,
};

/// Of the files with a reference, so many must be within the limits of the corpus' README.
const WITHIN_LIMITS: f64 = 0.95;
/// Longer than any picture may take, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Drawn only where ffmpeg is installed.
const WITHOUT_DECODER: &str = "video";

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_corpus_has_its_picture_or_a_clear_error() {
    const PART: &str = "corpus in front of a real Orthanc";
    if !slow_test(PART) {
        return;
    }
    let Some(corpus) = Corpus::find_or_say(PART) else { return };
    let mut bench = match Bench::start().await {
        Ok(bench) => bench,
        Err(why) => return skip(PART, &why),
    };
    let mut table = Table::default();
    let mut complaints = Vec::new();
    for entry in &corpus.entries {
        let place = bench.hold(&corpus, entry).await;
        let seen = bench.look_at(&corpus, entry, &place).await;
        table.add(entry, seen.picture, seen.judged);
        complaints
            .extend(seen.complaints.into_iter().map(|what| format!("{}: {what}", entry.path)));
    }
    table.print();
    let log = bench.log();
    assert!(!log.contains("panicked"), "the proxy panicked:\n{log}");
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    let share = table.share_within_limits();
    assert!(share >= WITHIN_LIMITS, "{:.1} % of the files are within limits", share * 100.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_is_what_orthanc_answers() {
    const PART: &str = "pass-through in front of a real Orthanc";
    if !slow_test(PART) {
        return;
    }
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let samples = tempfile::tempdir().unwrap();
    folder_origin::samples::write(samples.path()).unwrap();
    orthanc.store_folder(samples.path()).await;
    // Under Orthanc's own base path the URLs it builds lead back to the proxy.
    let proxy = Proxy::start_with(&orthanc.url(), &[("base_path", "/dicom-web")]).await;
    for path in resources_of(samples.path()) {
        let accepts = if path.contains("/frames/") {
            &["*/*", r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#][..]
        } else {
            &[
                "*/*",
                "application/dicom+json",
                r#"multipart/related; type="application/dicom"; transfer-syntax=*"#,
            ]
        };
        for accept in accepts {
            let Some((direct, proxied)) = both(&mut orthanc, &proxy, &path, accept).await else {
                // Orthanc must transcode these, and GDCM may take it down each time.
                assert!(path.contains("/frames/") && *accept == "*/*", "{path} as {accept}");
                continue;
            };
            assert_same(&direct, &proxied, &format!("{path} as {accept}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_studies_have_pictures_in_front_of_orthanc() {
    const PART: &str = "sample studies in front of a real Orthanc";
    if !slow_test(PART) {
        return;
    }
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let samples = tempfile::tempdir().unwrap();
    folder_origin::samples::write(samples.path()).unwrap();
    orthanc.store_folder(samples.path()).await;
    let proxy = Proxy::start(&orthanc.url()).await;
    let folder = folder_origin::FolderOrigin::open(samples.path()).unwrap();
    assert!(folder.number_of_instances() >= 7);
    for instance in folder.instances() {
        for resource in ["thumbnail", "rendered", "frames/1/rendered", "frames/1/thumbnail"] {
            // Of several frames `*/*` would be a part for each.
            let path = format!("/{}/{resource}", instance.path);
            let reply = proxy.get_with(&path, &[("Accept", "image/jpeg")]).await;
            let what =
                format!("{} {resource}: {} {}", instance.modality, reply.status(), reply.text());
            if instance.number_of_frames > 0 {
                assert!(reply.status() == 200 && jpeg_size(&reply.body).is_some(), "{what}");
            } else {
                assert!(reply.status() == 200 || (400..500).contains(&reply.status()), "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_stored_drawn_and_gone_through_the_proxy() {
    const PART: &str = "STOW-RS through the proxy";
    if !slow_test(PART) {
        return;
    }
    let orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let proxy = Proxy::start(&orthanc.url()).await;
    let image = lightbox_tests::TestImage::ramp(64, 256);
    let thumbnail = format!("{}/thumbnail?accept=image/png", image.url_path());
    assert_eq!(proxy.get(&thumbnail).await.status(), 404);
    let kind = r#"multipart/related; type="application/dicom"; boundary=b"#;
    let mut body = b"--b\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
    body.extend(image.file());
    body.extend(b"\r\n--b--\r\n");
    let sent = proxy.request(http::Method::POST, "/studies", &[("Content-Type", kind)]).body(body);
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let drawn = proxy.get(&thumbnail).await;
    assert_eq!(Picture::from_png(&drawn.body).unwrap().samples, image.pixels);
}

/// The archive's own answer and ours, from an Orthanc that lived through both; `None` if it never did.
async fn both(
    orthanc: &mut Orthanc,
    proxy: &Proxy,
    path: &str,
    accept: &str,
) -> Option<(Reply, Reply)> {
    for _ in 0..4 {
        let direct = client()
            .get(format!("{}{path}", orthanc.url()))
            // Orthanc builds URLs from the name it was asked under.
            .header("host", proxy.address())
            .header("accept", accept)
            .send()
            .await;
        let Ok(direct) = direct else {
            // It takes a moment to be gone.
            tokio::time::sleep(Duration::from_millis(500)).await;
            orthanc.revive().await;
            continue;
        };
        let direct = Reply::read(direct).await;
        let proxied = proxy.get_with(&format!("/dicom-web{path}"), &[("Accept", accept)]).await;
        if proxied.status() == 502 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if !orthanc.revive().await {
            return Some((direct, proxied));
        }
    }
    None
}

// The corpus ------------------------------------------------------------------------------------------

/// Orthanc and the proxy, and a second pair for the files that Orthanc must not or will not take.
struct Bench {
    orthanc: Orthanc,
    in_front_of_orthanc: Proxy,
    shelf: ScriptedOrigin,
    in_front_of_shelf: Proxy,
}

/// Where a file is to be had.
struct Place {
    path: String,
    in_orthanc: bool,
}

/// What came of one file.
#[derive(Default)]
struct Seen {
    picture: bool,
    /// If it is compared: whether it lies within its limits, and how far from its reference.
    judged: Option<(bool, String)>,
    complaints: Vec<String>,
}

impl Bench {
    async fn start() -> Result<Self, String> {
        let orthanc = Orthanc::start().await?;
        // The references are without overlays.
        let keys = [("overlays", "no")];
        let in_front_of_orthanc = Proxy::start_with(&orthanc.url(), &keys).await;
        let shelf = ScriptedOrigin::start().await;
        let in_front_of_shelf = Proxy::start_with(&shelf.url(), &keys).await;
        Ok(Self { orthanc, in_front_of_orthanc, shelf, in_front_of_shelf })
    }

    /// Stores a file, or lays it on the shelf as it is.
    async fn hold(&mut self, corpus: &Corpus, entry: &Entry) -> Place {
        let file = corpus.read(&entry.path);
        let safe = entry.expected.upstream_unsafe.is_none();
        if let Some(path) = entry.url_path()
            && safe
            && self.orthanc.store(&file).await
        {
            return Place { path, in_orthanc: true };
        }
        let made_up = "/studies/2.25.7/series/2.25.7.1/instances/2.25.7.1.1".to_owned();
        let path = entry.url_path().unwrap_or(made_up);
        let syntax = entry.transfer_syntax_uid.as_deref().unwrap_or("1.2.840.10008.1.2.1");
        let part = format!("application/dicom; transfer-syntax={syntax}");
        self.shelf.on(&path, move |_| Answer::multipart("application/dicom", &[(&part, &file)]));
        Place { path, in_orthanc: false }
    }

    async fn look_at(&mut self, corpus: &Corpus, entry: &Entry, place: &Place) -> Seen {
        let frame = entry.reference.as_ref().map_or(1, |reference| reference.frame);
        let mut seen = Seen::default();
        for resource in ["thumbnail", "rendered"] {
            let reply = self.get(place, &format!("{}/{resource}", place.path)).await;
            seen.complaints.extend(complaint(entry, resource, &reply));
        }
        let exact = format!("{}/frames/{frame}/rendered?accept=image/png", place.path);
        let reply = self.get(place, &exact).await;
        seen.complaints.extend(complaint(entry, "frame", &reply));
        seen.picture = reply.status() == 200;
        seen.judged = Limit::of(entry).map(|limit| match reply.status() {
            200 => limit.judge(corpus, entry, &reply.body),
            other => (false, format!("no picture: {other}")),
        });
        seen
    }

    /// Asks once more where Orthanc died over it: that says nothing about the proxy.
    async fn get(&mut self, place: &Place, path: &str) -> Reply {
        if !place.in_orthanc {
            return timed(&self.in_front_of_shelf, path).await;
        }
        let reply = timed(&self.in_front_of_orthanc, path).await;
        if self.orthanc.revive().await {
            timed(&self.in_front_of_orthanc, path).await
        } else {
            reply
        }
    }

    fn log(&self) -> String {
        self.in_front_of_orthanc.log() + &self.in_front_of_shelf.log()
    }
}

async fn timed(proxy: &Proxy, path: &str) -> Reply {
    let start = Instant::now();
    let reply = proxy.get_with(path, &[("Accept", "image/jpeg, */*;q=0.1")]).await;
    assert!(start.elapsed() < PATIENCE, "{path} took {:?}", start.elapsed());
    reply
}

/// What is wrong with an answer, whatever its pixels.
fn complaint(entry: &Entry, resource: &str, reply: &Reply) -> Option<String> {
    let status = reply.status();
    if status == 200 {
        // A report as text, a document as it is stored.
        let text = !reply.header("content-type").starts_with("image/");
        if text && matches!(entry.expected.outcome, Outcome::NotAnImage) {
            return None;
        }
        let wanted = !matches!(entry.expected.outcome, Outcome::Error);
        let whole = jpeg_size(&reply.body).is_some() || Picture::from_png(&reply.body).is_ok();
        return match (wanted, whole) {
            (false, _) => Some(format!("{resource}: a picture, where none can be right")),
            (true, false) => Some(format!("{resource}: 200 without a picture")),
            (true, true) => None,
        };
    }
    let text = reply.text();
    if !(400..600).contains(&status) || reply.header("content-type") != "application/problem+json" {
        return Some(format!("{resource}: {status} {}: {text}", reply.header("content-type")));
    }
    if entry.instance_uid.as_deref().is_some_and(|uid| text.contains(uid)) {
        return Some(format!("{resource}: a UID in an error: {text}"));
    }
    // The label of a slide names the patient: it has no thumbnail (R4.34).
    if status == 406 && resource == "thumbnail" && entry.path.contains("wsi__label") {
        return None;
    }
    match entry.expected.outcome {
        Outcome::Render if entry.kind != WITHOUT_DECODER => {
            Some(format!("{resource}: no picture: {status} {text}"))
        }
        Outcome::NotAnImage if status == 500 => {
            Some(format!("{resource}: 500 for no image: {text}"))
        }
        _ => None,
    }
}

// Pass-through ----------------------------------------------------------------------------------------

/// Searches, metadata, objects and frames of the first instance of every series.
fn resources_of(folder: &Path) -> Vec<String> {
    let origin = folder_origin::FolderOrigin::open(folder).unwrap();
    let mut paths: Vec<String> = [
        "/studies",
        "/studies?limit=2&offset=1&includefield=00081030",
        "/studies?PatientName=*&fuzzymatching=false",
        "/studies?PatientID=nobody",
        "/series?Modality=CT",
        "/instances?limit=3",
        "/studies/1.2.3/series",
        "/studies/1.2.3/metadata",
        "/nothing/here",
    ]
    .map(str::to_owned)
    .into();
    let mut series = std::collections::HashSet::new();
    for instance in origin.instances() {
        let path = &instance.path;
        if !series.insert(path.series.clone()) {
            continue;
        }
        let study = format!("/studies/{}", path.study);
        paths.extend([
            format!("{study}/series"),
            format!("{study}/series/{}/instances", path.series),
            format!("{study}/series/{}/metadata", path.series),
            format!("/{path}"),
            format!("/{path}/metadata"),
        ]);
        if instance.number_of_frames > 0 {
            paths.push(format!("/{path}/frames/1"));
        }
    }
    paths
}

fn assert_same(direct: &Reply, proxied: &Reply, what: &str) {
    assert_eq!(direct.status(), proxied.status(), "{what}");
    // The boundary of a multipart body is drawn anew for every answer.
    let kind = |reply: &Reply| {
        let content_type = reply.header("content-type");
        content_type.split("boundary=").next().unwrap_or_default().to_owned()
    };
    assert_eq!(kind(direct), kind(proxied), "{what}");
    let (direct, proxied) = (parts(direct), parts(proxied));
    assert_eq!(direct.len(), proxied.len(), "{what}");
    for ((headers, body), (own_headers, own_body)) in direct.iter().zip(&proxied) {
        assert_eq!(headers, own_headers, "{what}");
        let differ = body.iter().zip(own_body).position(|(a, b)| a != b);
        let from = differ.unwrap_or(0).saturating_sub(60);
        let near = |body: &[u8]| {
            String::from_utf8_lossy(&body[from..body.len().min(from + 160)]).into_owned()
        };
        assert!(body == own_body, "{what}: {} became {}", near(body), near(own_body));
    }
}
