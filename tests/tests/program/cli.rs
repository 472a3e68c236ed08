//! The commands as people type them: what they do, what they say, and their exit codes
//! (0 done, 1 some work failed, 2 usage or configuration).

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use lightbox_tests::pictures::{Picture, jpeg_size};
use lightbox_tests::{Answer, Finished, Proxy, Reply, ScriptedOrigin, TestImage, client, lightbox};

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn run(directory: &Path, arguments: &[&str]) -> Finished {
    lightbox(directory, arguments)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A folder with one image, `image.dcm`.
fn folder_with(image: &TestImage) -> tempfile::TempDir {
    let folder = folder();
    std::fs::write(folder.path().join("image.dcm"), image.file()).unwrap();
    folder
}

// Usage -----------------------------------------------------------------------------------------------

#[test]
fn help_and_version_are_answers_and_not_mistakes() {
    let folder = folder();
    for argument in ["--help", "--version", "help"] {
        let done = run(folder.path(), &[argument]);
        assert_eq!(done.code, Some(0), "{argument}: {}", done.stderr);
        assert!(done.stdout.contains("lightbox"), "{argument}: {}", done.stdout);
    }
    let help = run(folder.path(), &["--help"]).stdout;
    for command in ["serve", "demo", "render", "thumbnails", "warm", "doctor", "config"] {
        assert!(help.contains(command), "{command} in {help}");
    }
    assert!(!help.contains("render-worker"), "not for people: {help}");
}

#[test]
fn what_cannot_be_meant_is_2() {
    let folder = folder_with(&TestImage::ramp(8, 8));
    let mistakes: [&[&str]; 17] = [
        &[],
        &["nonsense"],
        &["serve", "--nonsense"],
        &["serve"],
        &["serve", "--upstream", "not a URL"],
        &["serve", "--upstream", "ftp://archive"],
        &["serve", "--upstream", "http://127.0.0.1:1", "--listen", "nowhere"],
        &["serve", "--config", "absent.toml"],
        &["config", "--check", "absent.toml"],
        &["render"],
        &["render", "image.dcm"],
        &["render", "image.dcm", "out.bmp"],
        &["render", "image.dcm", "out.png", "--window", "40"],
        &["render", "image.dcm", "out.png", "--viewport", "0,0"],
        &["render", "image.dcm", "out.png", "--frame", "0"],
        &["render", "image.dcm", "out.jpg", "--quality", "101"],
        &["render", "image.dcm", "out.png", "--annotation", "nonsense"],
    ];
    for arguments in mistakes {
        let done = run(folder.path(), arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(!done.stderr.is_empty(), "{arguments:?} says why");
    }
    assert!(!folder.path().join("out.png").exists());
}

// Configuration -----------------------------------------------------------------------------------------

#[test]
fn the_effective_configuration_is_a_file_that_loads_again() {
    let folder = folder();
    let shown = run(folder.path(), &["config"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for key in ["listen", "admin_listen", "upstream_timeout", "thumbnail_size", "overlays", "log"] {
        assert!(shown.stdout.contains(&format!("\n{key} = ")), "{key} in {}", shown.stdout);
    }
    assert!(shown.stdout.contains("\n# "), "it is annotated");
    std::fs::write(folder.path().join("shown.toml"), &shown.stdout).unwrap();
    let checked = run(folder.path(), &["config", "--check", "shown.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let again = run(folder.path(), &["config", "--config", "shown.toml"]);
    assert_eq!(again.stdout, shown.stdout);
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once_by_its_key() {
    let folder = folder();
    let text = "listen = \"nowhere\"\nupstream_timeout = 5\nthumbnail_size = 0\nthumbnail_sise = 3\n\
                max_source_bytes = \"12 parsecs\"\nupstream = \"archive\"\n";
    std::fs::write(folder.path().join("bad.toml"), text).unwrap();
    let arguments: [&[&str]; 2] =
        [&["config", "--check", "bad.toml"], &["serve", "--config", "bad.toml"]];
    for arguments in arguments {
        let done = run(folder.path(), arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}");
        for line in text.lines() {
            let key = line.split(' ').next().unwrap();
            assert!(done.stderr.contains(key), "{key} in {}", done.stderr);
        }
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.toml"), "listen = \n").unwrap();
    let done = run(folder.path(), &["config", "--check", "bad.toml"]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("line 1") || done.stderr.contains(":1"), "{}", done.stderr);
}

#[tokio::test]
async fn the_environment_configures_and_flags_beat_it() {
    let origin = ScriptedOrigin::start().await;
    let image = TestImage::ramp(512, 512);
    image.put_on(&origin);
    let keys =
        [("thumbnail_size", "99"), ("upstream", "http://127.0.0.1:1"), ("listen", "127.0.0.1:1")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    let reply = proxy.get(&format!("{}/thumbnail", image.url_path())).await;
    assert_eq!(jpeg_size(&reply.body), Some((99, 99)), "{}", reply.text());
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = folder();
    let arguments = ["serve", "--upstream", "http://127.0.0.1:1", "--listen", &address];
    let done = run(folder.path(), &arguments);
    assert!(matches!(done.code, Some(1 | 2)), "{:?}", done.code);
    assert!(done.stderr.contains(&address), "{}", done.stderr);
}

// Render ------------------------------------------------------------------------------------------------

#[test]
fn a_file_becomes_a_picture_of_the_type_of_its_ending() {
    let image = TestImage::ramp(64, 256);
    let folder = folder_with(&image);
    for (out, more) in [("out.png", &[][..]), ("noending", &["--accept", "image/png"])] {
        let done = run(folder.path(), &[&["render", "image.dcm", out], more].concat());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let picture = Picture::from_png(&std::fs::read(folder.path().join(out)).unwrap()).unwrap();
        assert_eq!((picture.width, picture.height), (256, 64));
        assert_eq!(picture.samples, image.pixels);
    }
    for out in ["out.jpg", "out.JPEG"] {
        assert_eq!(run(folder.path(), &["render", "image.dcm", out]).code, Some(0));
        let jpeg = std::fs::read(folder.path().join(out)).unwrap();
        assert_eq!(jpeg_size(&jpeg), Some((256, 64)));
    }
}

#[test]
fn options_of_render_are_those_of_the_query() {
    let pixels: Vec<u8> = [0_u8, 200].iter().flat_map(|&grey| vec![grey; 64 * 64]).collect();
    let folder = folder_with(&TestImage::new(64, 64, pixels).with_frames(2));
    let arguments = [
        "render",
        "image.dcm",
        "out.png",
        "--frame",
        "2",
        "--viewport",
        "16,16",
        "--window",
        "100,1,linear",
        "--overlays",
        "no",
    ];
    let done = run(folder.path(), &arguments);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let picture =
        Picture::from_png(&std::fs::read(folder.path().join("out.png")).unwrap()).unwrap();
    assert_eq!((picture.width, picture.height, picture.at(0, 0)), (16, 16, 255));
}

#[test]
fn a_file_of_several_frames_becomes_an_animation_unless_one_is_named() {
    let pixels: Vec<u8> = [0_u8, 200].iter().flat_map(|&grey| vec![grey; 8 * 8]).collect();
    let folder = folder_with(&TestImage::new(8, 8, pixels).with_frames(2));
    let repeats =
        |file: &[u8], mark: &[u8]| file.windows(mark.len()).filter(|w| *w == mark).count();
    for (out, head, frame) in
        [("out.gif", &b"GIF89a"[..], &b"\x21\xF9\x04"[..]), ("out.webp", b"RIFF", b"VP8 ")]
    {
        for (more, frames) in [(&[][..], 2), (&["--frame", "2"], 1)] {
            let done = run(folder.path(), &[&["render", "image.dcm", out], more].concat());
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            let file = std::fs::read(folder.path().join(out)).unwrap();
            assert!(file.starts_with(head));
            assert_eq!(repeats(&file, frame), frames, "{out}");
        }
    }
}

#[test]
fn profiles_are_embedded_where_asked_and_possible() {
    let folder = folder_with(&TestImage::ramp(8, 8));
    let render =
        |out, profile| run(folder.path(), &["render", "image.dcm", out, "--iccprofile", profile]);
    for (out, mark) in [
        ("out.jpg", &b"ICC_PROFILE"[..]),
        ("out.png", b"iCCP"),
        ("out.webp", b"ICCP"),
        ("out.jp2", b"acsp"),
    ] {
        for (profile, embedded) in
            [("no", false), ("yes", true), ("srgb", true), ("adobergb", true), ("rommrgb", true)]
        {
            let done = render(out, profile);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            let file = std::fs::read(folder.path().join(out)).unwrap();
            assert_eq!(file.windows(mark.len()).any(|w| w == mark), embedded, "{out} {profile}");
        }
    }
    assert_eq!(render("out.gif", "srgb").code, Some(1));
    let unknown = render("out.png", "sRGB");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("adobergb"), "{}", unknown.stderr);
}

#[test]
fn a_presentation_state_says_how_its_images_look_and_no_others() {
    let image = TestImage::ramp(4, 256);
    let folder = folder_with(&image);
    std::fs::write(folder.path().join("state.dcm"), image.inverting_state()).unwrap();
    let draw = |state: &str| {
        run(folder.path(), &["render", "image.dcm", "out.png", "--presentation-state", state])
    };
    let done = draw("state.dcm");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let picture =
        Picture::from_png(&std::fs::read(folder.path().join("out.png")).unwrap()).unwrap();
    let inverse: Vec<u8> = image.pixels.iter().map(|level| 255 - level).collect();
    assert_eq!(picture.samples, inverse);

    let mut other = image.clone();
    other.path.instance = "2.25.1001.2.4".parse().unwrap();
    std::fs::write(folder.path().join("other.dcm"), other.inverting_state()).unwrap();
    for (state, why) in [("other.dcm", "does not refer"), ("image.dcm", "no presentation state")] {
        let done = draw(state);
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    let both = ["render", "image.dcm", "out.png", "--presentation-state", "state.dcm"];
    let done = run(folder.path(), &[&both[..], &["--window", "1,1,linear"]].concat());
    assert_eq!(done.code, Some(2), "{}", done.stderr);
}

#[test]
fn annotations_are_drawn_where_they_are_asked_for() {
    let image = TestImage::new(256, 256, vec![90; 256 * 256]);
    let folder = folder_with(&image);
    let drawn = |annotation| {
        let arguments = ["render", "image.dcm", "out.png", "--annotation", annotation];
        let done = run(folder.path(), &arguments);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let png = std::fs::read(folder.path().join("out.png")).unwrap();
        (Picture::from_png(&png).unwrap().samples, done.stderr)
    };
    let (patient, said) = drawn("patient");
    assert_eq!(said, "");
    let top_left = |y: usize| &patient[y * 256..][..100];
    assert!((0..20).any(|y| top_left(y).iter().any(|&grey| grey > 200)));
    assert_eq!(patient[256 * 30..], image.pixels[256 * 30..]);
    let (beside_unknown, said) = drawn("patient,shoe-size");
    assert!(beside_unknown == patient && said.contains("shoe-size"), "{said}");
}

#[test]
fn what_cannot_be_drawn_is_1_and_leaves_nothing_behind() {
    let image = TestImage::ramp(8, 8);
    let folder = folder_with(&image);
    std::fs::write(folder.path().join("text.dcm"), "no DICOM").unwrap();
    let mut huge = TestImage::ramp(8, 8);
    (huge.rows, huge.columns) = (u16::MAX, u16::MAX);
    std::fs::write(folder.path().join("huge.dcm"), huge.file()).unwrap();
    let failing: [&[&str]; 5] = [
        &["render", "absent.dcm", "out.png"],
        &["render", "text.dcm", "out.png"],
        &["render", "huge.dcm", "out.png"],
        &["render", "image.dcm", "out.png", "--frame", "2"],
        &["render", "image.dcm", "absent/out.png"],
    ];
    for arguments in failing {
        let done = run(folder.path(), arguments);
        assert_eq!(done.code, Some(1), "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{}", done.stderr);
        for secret in ["Doe", "2.25.1001"] {
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
        }
        assert!(!folder.path().join("out.png").exists(), "{arguments:?}");
    }
}

#[test]
fn what_is_no_picture_is_written_by_its_ending() {
    let folder = folder();
    folder_origin::samples::write(folder.path()).unwrap();
    let rendered = |file: &str, out: &str| {
        let done = run(folder.path(), &["render", file, out]);
        assert_eq!(done.code, Some(0), "{file} {out}: {}", done.stderr);
        std::fs::read(folder.path().join(out)).unwrap()
    };
    let html = String::from_utf8(rendered("head-ct/report.dcm", "report.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("bleeding"), "{html}");
    let text = String::from_utf8(rendered("head-ct/key-image.dcm", "key.txt")).unwrap();
    assert!(text.starts_with("Of Interest\n") && text.contains("CT Image"), "{text}");
    let xml = String::from_utf8(rendered("head-ct/report.dcm", "report.xml")).unwrap();
    assert!(xml.contains("<NativeDicomModel"), "{xml}");
    assert!(rendered("chest-x-ray/leaflet.dcm", "leaflet.pdf").starts_with(b"%PDF-"));
}

#[test]
fn a_file_without_what_the_ending_asks_for_says_so() {
    let folder = folder_with(&TestImage::ramp(8, 8));
    for (out, lacks) in [
        ("out.html", "image.dcm holds no report"),
        ("out.xml", "image.dcm holds no report"),
        ("out.pdf", "image.dcm holds no PDF"),
        ("out.mp4", "image.dcm holds no video"),
    ] {
        let done = run(folder.path(), &["render", "image.dcm", out]);
        assert_eq!(done.code, Some(1), "{out}: {}", done.stderr);
        assert!(done.stderr.contains(lacks), "{out}: {}", done.stderr);
        assert!(!folder.path().join(out).exists());
    }
    let done = run(folder.path(), &["render", "image.dcm", "out.html", "--frame", "1"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("--frame"), "{}", done.stderr);
}

// Demo --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_demo_prints_urls_and_curl_lines_that_work() {
    let mut demo = Proxy::demo(None).await;
    assert!(eventually(|| demo.log().contains("curl ")).await, "{}", demo.log());
    // Give it the moment to finish printing.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let said = demo.log();
    let urls: Vec<&str> = said
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
        .filter(|word| word.starts_with(&format!("http://{}", demo.address())))
        .collect();
    assert!(urls.len() >= 3, "{said}");
    for url in urls {
        let asked = client().get(url).header("accept", BROWSER).send().await.unwrap();
        let reply = Reply::read(asked).await;
        assert_eq!(reply.status(), 200, "{url}: {}", reply.text());
    }
    let scratch = folder();
    for line in said.lines().filter_map(|line| line.find("curl ").map(|at| &line[at..])) {
        let script =
            format!("curl() {{ command curl --fail --silent --show-error \"$@\"; }}\n{line}");
        let done = std::process::Command::new("bash")
            .args(["-euc", &script])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(demo.is_alive());
}

#[tokio::test]
async fn the_page_needs_nothing_from_outside() {
    let demo = Proxy::demo(None).await;
    let page = demo.get_with("/", &[("Accept", BROWSER)]).await;
    assert_eq!(page.status(), 200);
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{}",
        page.header("content-type")
    );
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let html = page.text();
    assert!(html.contains("/thumbnail"), "it shows pictures");
    for outside in ["src=\"http", "href=\"http", "url(http", "import "] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[tokio::test]
async fn every_image_of_the_sample_studies_has_a_thumbnail() {
    let samples = folder();
    folder_origin::samples::write(samples.path()).unwrap();
    let folder = folder_origin::FolderOrigin::open(samples.path()).unwrap();
    let demo = Proxy::demo(Some(samples.path())).await;
    let modalities: std::collections::HashSet<String> =
        folder.instances().map(|instance| instance.modality.clone()).collect();
    for modality in ["CT", "MR", "US", "MG", "SR"] {
        assert!(modalities.contains(modality), "{modality} in {modalities:?}");
    }
    for instance in folder.instances() {
        let reply = demo.get(&format!("/{}/thumbnail", instance.path)).await;
        let what = format!("{}: {} {}", instance.modality, reply.status(), reply.text());
        if instance.number_of_frames > 0 {
            assert!(jpeg_size(&reply.body).is_some_and(|(w, h)| w.max(h) <= 256), "{what}");
        } else {
            assert!((200..500).contains(&reply.status()), "{what}");
        }
    }
}

#[tokio::test]
async fn the_demo_serves_a_folder_of_ones_own() {
    let image = TestImage::ramp(64, 256);
    let folder = folder_with(&image);
    std::fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    let demo = Proxy::demo(Some(folder.path())).await;
    let reply = demo.get(&format!("{}/rendered?accept=image/png", image.url_path())).await;
    assert_eq!(Picture::from_png(&reply.body).unwrap().samples, image.pixels);
    let search = demo.get("/studies").await;
    assert_eq!(search.status(), 200);
    assert!(search.text().contains("2.25.1001"), "{}", search.text());
}

#[test]
fn a_demo_of_nothing_says_so() {
    let folder = folder();
    let done = run(folder.path(), &["demo", "--folder", "absent"]);
    assert!(matches!(done.code, Some(1 | 2)), "{:?} {}", done.code, done.stderr);
    assert!(!done.stderr.is_empty() && !done.stderr.contains("panicked"), "{}", done.stderr);
}

// Shutdown ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_is_under_way_is_finished_before_leaving() {
    for signal in ["TERM", "INT"] {
        let origin = ScriptedOrigin::start().await;
        let image = TestImage::ramp(64, 64);
        image.put_on(&origin);
        origin.on("/studies", |_| Answer::json("[]").after(Duration::from_millis(1500)));
        let mut proxy = Proxy::start(&origin.url()).await;
        let under_way = tokio::spawn(proxy.request(Method::GET, "/studies", &[]).send());
        assert!(eventually(|| origin.requests() == 1).await);
        let start = Instant::now();
        proxy.signal(signal);
        let reply = Reply::read(under_way.await.unwrap().expect("the answer comes")).await;
        assert_eq!((reply.status(), reply.text().as_str()), (200, "[]"), "{signal}");
        let status = proxy.ended(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0), "{signal}: {status} {}", proxy.log());
        assert!(start.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test]
async fn whoever_leaves_takes_no_new_requests_and_waits_for_no_idle_client() {
    let origin = ScriptedOrigin::start().await;
    origin.on("/studies", |_| Answer::json("[]"));
    let mut proxy = Proxy::start(&origin.url()).await;
    // A client that keeps its connection open, and one that never says anything.
    assert_eq!(proxy.get("/studies").await.status(), 200);
    let _silent = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    proxy.signal("TERM");
    let status = proxy.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    assert!(tokio::net::TcpStream::connect(proxy.address()).await.is_err());
}

#[tokio::test]
async fn the_demo_leaves_when_asked() {
    let mut demo = Proxy::demo(None).await;
    demo.signal("TERM");
    assert_eq!(demo.ended(Duration::from_secs(10)).await.code(), Some(0), "{}", demo.log());
}

async fn eventually(condition: impl Fn() -> bool) -> bool {
    for _ in 0..500 {
        if condition() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}
