//! What a patient leaves behind in all that this server writes: nothing.
//!
//! Objects have a sentinel in every attribute that is text, and UIDs that occur nowhere else. After a
//! run in which everything happens, what the process has written is searched for them.

#![cfg(target_os = "linux")]
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::Method;
use lightbox_tests::door::{SIGNING_KEY, signed};
use lightbox_tests::{
    Archive, EXPLICIT_LITTLE_ENDIAN, Fault, Keeper, Object, Place, Reply, client,
};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const BASIC_TEXT_SR: &str = "1.2.840.10008.5.1.4.1.1.88.11";
const GRAYSCALE_STATE: &str = "1.2.840.10008.5.1.4.1.1.11.1";

/// Every text of a patient begins so.
const SENTINEL: &str = "Zqxj";
const BIRTH: &str = "19010203";

const STUDY: u32 = 909_090_111;
const SERIES: u32 = 909_090_222;

fn place(series: u32, instance: u32) -> Place {
    // Series Number and Instance Number are no secrets, and not to be taken for UIDs.
    Place::new(STUDY, SERIES + series, 909_090_330 + instance).numbered(series, instance)
}

fn texts(object: Object) -> Object {
    let mut object = object;
    for (tag, vr, value) in [
        (0x0008_0050, "SH", "ZqxjAccession"),
        (0x0008_0080, "LO", "Zqxj Hospital"),
        (0x0008_0081, "ST", "Zqxj Street 1"),
        (0x0008_0090, "PN", "Zqxjref^Physician"),
        (0x0008_1010, "SH", "ZqxjStation"),
        (0x0008_1030, "LO", "Zqxj study description"),
        (0x0008_103E, "LO", "Zqxj series description"),
        (0x0008_1040, "LO", "Zqxj department"),
        (0x0008_1048, "PN", "Zqxjrec^Physician"),
        (0x0008_1050, "PN", "Zqxjperf^Physician"),
        (0x0008_1070, "PN", "Zqxjoperator^Name"),
        (0x0008_1090, "LO", "Zqxj model"),
        (0x0008_2111, "ST", "Zqxj derivation"),
        (0x0010_0010, "PN", "Zqxjfamily^Zqxjgiven"),
        (0x0010_0020, "LO", "ZqxjPatientId"),
        (0x0010_0021, "LO", "ZqxjIssuer"),
        (0x0010_0030, "DA", BIRTH),
        (0x0010_1000, "LO", "ZqxjOtherId"),
        (0x0010_1001, "PN", "Zqxjother^Name"),
        (0x0010_1040, "LO", "Zqxj address"),
        (0x0010_2160, "SH", "ZqxjEthnic"),
        (0x0010_4000, "LT", "Zqxj patient comments"),
        (0x0018_1000, "LO", "ZqxjSerial"),
        (0x0018_1030, "LO", "Zqxj protocol"),
        (0x0020_0010, "SH", "ZqxjStudyId"),
        (0x0020_4000, "LT", "Zqxj image comments"),
        (0x0028_4000, "LT", "Zqxj presentation comments"),
        (0x0032_1032, "PN", "Zqxjreq^Physician"),
        (0x0032_1060, "LO", "Zqxj procedure"),
        (0x0038_0010, "LO", "ZqxjAdmission"),
        (0x0040_0254, "LO", "Zqxj step"),
        (0x0011_0010, "LO", "ZQXJ PRIVATE"),
        (0x0011_1001, "LT", "Zqxj private text"),
    ] {
        object = object.text(tag, vr, value);
    }
    let reference = Object::default()
        .text(0x0008_1150, "UI", CT)
        .text(0x0008_1155, "UI", "2.25.909090999")
        .text(0x0040_A170, "LO", "Zqxj purpose");
    object.text(0x0020_0052, "UI", "2.25.909090777").items(0x0008_1140, vec![reference])
}

fn image(place: &Place, fault: Option<Fault>) -> Vec<u8> {
    let mut pixels: Vec<u8> = (0..64 * 48_u32).map(|at| (at % 251) as u8).collect();
    if let Some(fault) = fault {
        pixels[..8].copy_from_slice(fault.mark());
    }
    texts(Object::new(place, CT, "CT"))
        .matrix(64, 48, "MONOCHROME2")
        .window("128", "256")
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

fn report(place: &Place) -> Vec<u8> {
    let concept = |meaning: &str| {
        vec![
            Object::default()
                .text(0x0008_0100, "SH", "18748-4")
                .text(0x0008_0102, "SH", "LN")
                .text(0x0008_0104, "LO", meaning),
        ]
    };
    let finding = Object::default()
        .text(0x0040_A010, "CS", "CONTAINS")
        .text(0x0040_A040, "CS", "TEXT")
        .items(0x0040_A043, concept("Zqxj finding"))
        .text(0x0040_A160, "UT", "Zqxj has a sentinel in the chest.");
    texts(Object::new(place, BASIC_TEXT_SR, "SR"))
        .text(0x0040_A040, "CS", "CONTAINER")
        .text(0x0040_A050, "CS", "SEPARATE")
        .items(0x0040_A043, concept("Zqxj report"))
        .text(0x0040_A491, "CS", "COMPLETE")
        .text(0x0040_A493, "CS", "UNVERIFIED")
        .items(0x0040_A730, vec![finding])
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// A presentation state that names an image that is not there.
fn state(place: &Place) -> Vec<u8> {
    let image =
        Object::default().text(0x0008_1150, "UI", CT).text(0x0008_1155, "UI", "2.25.909090998");
    let series =
        Object::default().text(0x0020_000E, "UI", "2.25.909090997").items(0x0008_1140, vec![image]);
    texts(Object::new(place, GRAYSCALE_STATE, "PR"))
        .items(0x0008_1115, vec![series])
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// Everything that was written, with where.
struct Traces {
    /// Both output streams.
    log: Vec<(String, Vec<u8>)>,
    audit: Vec<(String, Vec<u8>)>,
    metrics: Vec<(String, Vec<u8>)>,
    /// Names of files and folders of the cache.
    names: Vec<(String, Vec<u8>)>,
    /// What is in them.
    files: Vec<(String, Vec<u8>)>,
    /// Answers that we wrote ourselves to what failed.
    errors: Vec<(String, Vec<u8>)>,
}

async fn a_day_of(log: &str, log_format: &str) -> Traces {
    let mut broken = image(&place(1, 3), None);
    broken.truncate(broken.len() - 2800);
    let mut named = image(&place(1, 4), None);
    let at = named.windows(11).position(|window| window == b"MONOCHROME2").unwrap();
    named[at..at + 8].copy_from_slice(b"Zqxjgrey");
    let archive = Archive::of(&[
        ("1.dcm", image(&place(1, 1), None)),
        ("2.dcm", image(&place(1, 2), None)),
        ("3.dcm", broken),
        ("4.dcm", named),
        ("5.dcm", image(&place(2, 1), Some(Fault::Abort))),
        ("6.dcm", report(&place(3, 1))),
        ("7.dcm", state(&place(4, 1))),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let keys = [
        ("upstream_credentials", "none"),
        ("log", log),
        ("log_format", log_format),
        ("audit", audit.to_str().unwrap()),
        ("audit_studies", "hash"),
        ("audit_salt", "a salt for the audit of at least 32 characters"),
        ("warm_up", "true"),
        ("cache_memory", "64MB"),
        ("cache_disk", "1GB"),
        ("cache_ttl", "1s"),
        ("index_ttl", "1s"),
        ("allow_writes", "true"),
        ("rewrite_urls", "true"),
        ("render_worker", env!("CARGO_BIN_EXE_faulty-worker")),
        ("request_timeout", "10s"),
        ("signing_keys", SIGNING_KEY),
    ];
    let keeper = Keeper::new(&keys);
    let mut proxy = keeper.start(&archive.url()).await;
    let mut errors = Vec::new();
    let mut note = |what: String, reply: &Reply| {
        if reply.header("content-type").starts_with("application/problem+json") {
            let all = format!("{:?}\n{}", reply.headers, reply.text());
            errors.push((what, all.into_bytes()));
        }
    };
    let one = place(1, 1);
    let mut files = std::collections::BTreeMap::new();
    let mut paths = Vec::new();
    for at in
        [place(1, 1), place(1, 2), place(1, 3), place(1, 4), place(2, 1), place(3, 1), place(4, 1)]
    {
        for rest in
            ["thumbnail", "rendered", "frames/1/rendered", "frames/99/thumbnail", "metadata"]
        {
            paths.push(format!("{}/{rest}", at.path()));
        }
    }
    for scope in
        [one.study_path(), one.series_path(), place(2, 1).series_path(), place(3, 1).series_path()]
    {
        for rest in ["thumbnail", "rendered", "rendered?accept=image/png", "metadata", "instances"]
        {
            paths.push(format!("{scope}/{rest}"));
        }
    }
    paths.extend([
        format!("{}/rendered?annotation=patient,technique", one.path()),
        format!("{}/rendered?window=Zqxj,1,linear", one.path()),
        format!("{}/rendered?viewport=Zqxjfamily", one.path()),
        format!("{}/rendered?Zqxjfamily=Zqxjgiven", one.path()),
        format!("{}/thumbnail?viewport=20,20&PatientName=Zqxjfamily", one.path()),
        "/studies?PatientName=Zqxjfamily*&PatientBirthDate=19010203".to_owned(),
        "/studies?AccessionNumber=ZqxjAccession&includefield=all".to_owned(),
        "/studies/Zqxjfamily/rendered".to_owned(),
        "/Zqxjfamily/ZqxjPatientId".to_owned(),
        "/studies/2.25.909090444/thumbnail".to_owned(),
        format!("{}/series/2.25.909090555/rendered", one.study_path()),
        format!("{}/../ZqxjPatientId", one.path()),
        format!("{}/%2e%2e/{}/rendered", one.study_path(), one.study_uid()),
        one.path(),
        signed(&format!("{}/thumbnail?viewport=30,30", one.path())),
        format!("{}/thumbnail?lightbox-signature=Zqxj", one.path()),
    ]);
    for round in 0..2 {
        for path in &paths {
            for accept in ["*/*", "multipart/related; type=\"image/jpeg\""] {
                let headers =
                    [("accept", accept), ("x-patient", "Zqxjfamily"), ("user-agent", "Zqxj/1")];
                let reply = proxy.get_with(path, &headers).await;
                note(path.clone(), &reply);
            }
        }
        look(&keeper, &mut files);
        if round == 0 {
            tokio::time::sleep(Duration::from_millis(2100)).await;
        }
    }
    // Something is stored and deleted; whatever comes of it.
    for (method, path) in [
        (Method::POST, "/studies".to_owned()),
        (Method::POST, one.study_path()),
        (Method::DELETE, place(4, 1).path()),
        (Method::POST, format!("{}/lightbox-session", one.study_path())),
        (Method::OPTIONS, format!("{}/thumbnail", one.path())),
    ] {
        let basic = [("authorization", "Basic WnF4amZhbWlseTpacXhqZ2l2ZW4=")];
        let request = proxy.request(method, &path, &basic).body(image(&one, None));
        note(path, &Reply::read(request.send().await.unwrap()).await);
    }
    for order in [
        (Method::POST, format!("/warm?study={}", one.study_uid())),
        (Method::POST, "/warm?study=Zqxjfamily".to_owned()),
        (Method::DELETE, "/cache/studies/Zqxjfamily".to_owned()),
        (Method::DELETE, "/cache/studies/2.25.909090444".to_owned()),
    ] {
        let sent = client().request(order.0, format!("{}{}", proxy.admin_url(), order.1)).send();
        note(order.1, &Reply::read(sent.await.unwrap()).await);
    }
    let warmed = async || {
        let sent = client().get(format!("{}/metrics", proxy.admin_url())).send().await;
        Reply::read(sent.unwrap()).await
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    look(&keeper, &mut files);
    // The archive fails in its own words, breaks off and is gone.
    archive.between().fail(
        "/studies",
        500,
        &[("x-why", "Zqxjfamily"), ("warning", "299 a \"Zqxjgiven\"")],
    );
    for path in paths.iter().take(12) {
        note(path.clone(), &proxy.get(path).await);
    }
    archive.stop();
    for path in &paths {
        note(path.clone(), &proxy.get(path).await);
    }
    let metrics = vec![("/metrics".to_owned(), warmed().await.body.to_vec())];
    proxy.signal("TERM");
    let _ = proxy.ended(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let written = proxy.log();
    let log = written.lines().map(|line| ("log".to_owned(), line.as_bytes().to_vec())).collect();
    let audit = std::fs::read_to_string(&audit).unwrap();
    assert!(audit.lines().count() > 20, "{audit}");
    let audit = audit.lines().map(|line| ("audit".to_owned(), line.as_bytes().to_vec())).collect();
    look(&keeper, &mut files);
    let happened = ["lightbox_worker_restarts_total", "lightbox_warm_up_pictures_total"];
    for counter in happened {
        let page = String::from_utf8_lossy(&metrics[0].1);
        let is_there = page.lines().any(|line| line.starts_with(counter) && !line.ends_with(" 0"));
        assert!(is_there, "{counter} of\n{page}");
    }
    let names = files.keys().map(|name| ("a name".to_owned(), name.clone().into_bytes())).collect();
    let files = files.into_iter().collect();
    Traces { log, audit, metrics, names, files, errors }
}

/// What there is in the cache now, beside what there was before.
fn look(keeper: &Keeper, files: &mut std::collections::BTreeMap<String, Vec<u8>>) {
    for file in keeper.files() {
        // What leaves meanwhile was not to be kept.
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let below = file.strip_prefix(keeper.dir()).unwrap().display().to_string();
        files.insert(below, bytes);
    }
}

/// The forms that a text may be written in, each with its name.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("plain", text.as_bytes().to_vec()),
        ("UTF-16LE", utf16(u16::to_le_bytes)),
        ("UTF-16BE", utf16(u16::to_be_bytes)),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
    ];
    for shift in 0..3 {
        let bytes = [&vec![0; shift][..], text.as_bytes()].concat();
        // What the bytes before and after have a part in is cut off.
        let (first, end) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.push(("base64", STANDARD_NO_PAD.encode(&bytes)[first..end].into()));
        forms.push(("base64", URL_SAFE_NO_PAD.encode(&bytes)[first..end].into()));
    }
    forms
}

/// Where these texts are, in whatever form.
fn found(texts: &[&str], places: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, bytes) in places {
        let lower = bytes.to_ascii_lowercase();
        for text in texts {
            for (form, needle) in forms(text) {
                let is_text = matches!(form, "plain");
                let (hay, needle) =
                    if is_text { (&lower, needle.to_ascii_lowercase()) } else { (bytes, needle) };
                let Some(at) = hay.windows(needle.len()).position(|window| window == needle) else {
                    continue;
                };
                let around =
                    &bytes[at.saturating_sub(60)..(at + needle.len() + 60).min(bytes.len())];
                let around: String = around
                    .iter()
                    .flat_map(|&byte| std::ascii::escape_default(byte))
                    .map(char::from)
                    .collect();
                found.push(format!("{place}: {text} ({form}): {around}"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Long enough not to turn up by chance in any of their forms.
const OF_A_PATIENT: [&str; 5] =
    ["Zqxjfamily", "ZqxjPatientId", "ZqxjAccession", "Zqxj Hospital", BIRTH];

const OF_UIDS: [&str; 6] =
    ["2.25.909090111", "909090223", "909090331", "2.25.909090999", "2.25.909090777", "9090903"];

fn assert_none(what: &str, found: &[String]) {
    let few: Vec<&str> = found.iter().take(12).map(String::as_str).collect();
    assert!(found.is_empty(), "{what}: {} findings:\n{}", found.len(), few.join("\n"));
}

#[test]
fn the_search_finds_what_it_is_to_find() {
    for text in ["Zqxjfamily", "2.25.909090111"] {
        for (form, bytes) in forms(text) {
            let hidden = [b"..", &bytes[..], b".."].concat();
            assert!(!found(&[text], &[(String::new(), hidden)]).is_empty(), "{form}");
        }
        for before in ["", "a", "ab"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}{text}xyz"));
            assert!(
                !found(&[text], &[(String::new(), encoded.into_bytes())]).is_empty(),
                "{before:?}"
            );
        }
    }
    assert!(found(&["Zqxjfamily"], &[(String::new(), b"Zqxj".to_vec())]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_patient_is_written_anywhere_even_when_debugging() {
    let traces = a_day_of("debug", "text").await;
    let Traces { log, audit, metrics, names, files, errors } = &traces;
    assert!(log.iter().any(|(_, line)| line.windows(5).any(|w| w == b"DEBUG")), "it debugs");
    assert!(!files.is_empty() && !errors.is_empty());
    let all = [SENTINEL].iter().chain(&OF_A_PATIENT).copied().collect::<Vec<_>>();
    let whole = [&log[..], audit, metrics, names, errors].concat();
    assert_none("texts of a patient", &found(&all, &whole));
    // Four letters turn up in compressed pixels by chance, longer ones do not.
    assert_none("texts of a patient, in cache files", &found(&OF_A_PATIENT, files));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_uid_is_in_the_log_nor_in_names_metrics_audit_and_errors() {
    let Traces { log, audit, metrics, names, files: _, errors } = a_day_of("info", "json").await;
    for (what, written) in [
        ("the log", log),
        ("the audit", audit),
        ("the metrics", metrics),
        ("names of files", names),
        ("errors", errors),
    ] {
        assert_none(&format!("UIDs in {what}"), &found(&OF_UIDS, &written));
        let texts = [SENTINEL].iter().chain(&OF_A_PATIENT).copied().collect::<Vec<_>>();
        assert_none(&format!("texts of a patient in {what}"), &found(&texts, &written));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_uid_is_in_the_log_when_debugging() {
    let log = a_day_of("debug", "json").await.log;
    assert_none("UIDs in the log", &found(&OF_UIDS, &log));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_uid_is_in_what_cache_files_hold() {
    let files = a_day_of("info", "text").await.files;
    assert!(files.len() > 10, "{} files", files.len());
    assert_none("UIDs in cache files", &found(&OF_UIDS, &files));
}
