//! A real Chromium in front of the demo archive: what pages embed shows, plays, opens and is allowed.
//! Slow: `./run test all`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use folder_origin::{FolderOrigin, samples};
use lightbox_tests::pictures::Picture;
use lightbox_tests::{Answer, Browser, Corpus, Loaded, Proxy, ScriptedOrigin, skip, slow_test};
use serde_json::{Value, json};

/// What the report of the demo says, and what a hostile one says in its place.
const IMPRESSION: &str = "Looks like a bleeding in the left basal ganglia. Not a real person.";
const SCRIPT: &str = "<script>window.ran=1</script><img src=x onerror='window.ran=2'>";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_what_pages_embed() {
    const PART: &str = "the demo archive in a real browser";
    if !slow_test(PART) {
        return;
    }
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(PART, &why),
    };
    let mut stage = Stage::build(browser).await;
    images_of_every_level_show(&mut stage);
    a_multi_frame_shows_its_middle_frame(&mut stage);
    a_page_of_another_origin_may_fetch_with_a_token(&mut stage);
    a_pdf_opens(&mut stage);
    a_report_opens_and_runs_no_script(&mut stage);
    a_video_plays(&mut stage);
}

fn images_of_every_level_show(stage: &mut Stage) {
    let [ct, mr, us, mg, sr, pdf] =
        ["CT, Axial", "MR", "US", "MG", "SR", "DOC"].map(|of| stage.paths(of));
    let wanted = [
        (format!("{}/thumbnail", ct.study), 256, 256),
        (format!("{}/thumbnail", ct.series), 256, 256),
        (format!("{}/thumbnail", ct.instance), 256, 256),
        (format!("{}/frames/1/thumbnail", ct.instance), 256, 256),
        (format!("{}/rendered", ct.study), 512, 512),
        (format!("{}/rendered", ct.series), 512, 512),
        (format!("{}/rendered", ct.instance), 512, 512),
        (format!("{}/frames/1/rendered", ct.instance), 512, 512),
        (format!("{}/rendered?accept=image/png", ct.series), 512, 512),
        (format!("{}/rendered?accept=image/webp", ct.instance), 512, 512),
        (format!("{}/thumbnail?viewport=64,64", ct.instance), 64, 64),
        (format!("{}/rendered", mr.series), 256, 256),
        (format!("{}/rendered", mr.instance), 256, 256),
        (format!("{}/rendered?accept=image/gif", mr.instance), 256, 256),
        (format!("{}/frames/1,5,9/rendered", mr.instance), 256, 256),
        (format!("{}/frames/1,5,9/thumbnail", mr.instance), 256, 256),
        (format!("{}/thumbnail", us.study), 256, 192),
        (format!("{}/rendered", us.instance), 640, 480),
        (format!("{}/thumbnail", mg.study), 197, 256),
        // Cards.
        (format!("{}/thumbnail", sr.instance), 256, 256),
        (format!("{}/thumbnail", pdf.series), 256, 256),
    ];
    let urls: Vec<String> =
        wanted.iter().map(|(path, _, _)| format!("{}{path}", stage.proxy.url())).collect();
    let tags: String = urls.iter().map(|url| format!("<img src='{url}'>")).collect();
    stage.show(&tags);
    let sizes = stage
        .browser
        .evaluate("Array.from(document.images, i => [i.naturalWidth, i.naturalHeight])");
    let expected: Vec<Value> = wanted.iter().map(|(_, w, h)| json!([w, h])).collect();
    let sizes = sizes.as_array().unwrap();
    let wrong: Vec<String> = (0..wanted.len())
        .filter(|&i| sizes[i] != expected[i])
        .map(|i| format!("{}: {} instead of {}", wanted[i].0, sizes[i], expected[i]))
        .collect();
    assert!(wrong.is_empty(), "as <img>:\n{}", wrong.join("\n"));
    stage.picture("images");
}

fn a_multi_frame_shows_its_middle_frame(stage: &mut Stage) {
    let mr = stage.paths("MR").instance;
    let urls = ["rendered", "frames/9/rendered", "frames/8/rendered"]
        .map(|end| format!("<img crossorigin src='{}{mr}/{end}'>", stage.proxy.url()));
    stage.show(&urls.concat());
    let pixels = stage.browser.evaluate(
        "Array.from(document.images, image => {
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext('2d');
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, canvas.width, canvas.height).data.join();
        })",
    );
    assert!(pixels[0] == pixels[1], "the middle frame of 16 is the ninth");
    assert!(pixels[0] != pixels[2], "and no other");
}

fn a_page_of_another_origin_may_fetch_with_a_token(stage: &mut Stage) {
    let ct = stage.paths("CT, Axial");
    let url = format!("{}{}/thumbnail", stage.proxy.url(), ct.instance);
    stage.show("");
    let ask = |url: &str| {
        format!(
            "(async () => {{
                const headers = {{Accept: 'image/jpeg', Authorization: 'Bearer token'}};
                const answer = await fetch('{url}', {{headers}});
                const picture = answer.ok ? await createImageBitmap(await answer.blob()) : {{}};
                return [answer.status, answer.headers.get('content-type'),
                    !!answer.headers.get('etag'), picture.width ?? 0, picture.height ?? 0];
            }})()"
        )
    };
    let seen = stage.browser.evaluate(&ask(&url));
    assert_eq!(seen, json!([200, "image/jpeg", true, 256, 256]));
    let preflights = |loaded: Vec<Loaded>| {
        loaded.into_iter().filter(|l| l.kind == "Preflight" && l.url == url).collect::<Vec<_>>()
    };
    let preflights = preflights(stage.browser.loaded());
    assert!(preflights.iter().any(|l| matches!(l.status, 200 | 204)), "{preflights:?}");
    // An error can be read too.
    let nothing = format!("{}{}/thumbnail", stage.proxy.url(), "/studies/1/series/2/instances/3");
    assert_eq!(stage.browser.evaluate(&ask(&nothing))[0], 404);
}

/// By each of the ways that pages have, drawn by the browser's own viewer.
fn a_pdf_opens(stage: &mut Stage) {
    let url = format!("{}{}/rendered", stage.proxy.url(), stage.paths("DOC").instance);
    let size = "style='width: 600px; height: 700px'";
    for (way, body) in [
        ("object", format!("<object data='{url}' {size}></object>")),
        ("typed object", format!("<object data='{url}' type='application/pdf' {size}></object>")),
        ("iframe", format!("<iframe src='{url}' {size}></iframe>")),
    ] {
        stage.show(&body);
        stage.sees_the_leaflet(way, &url);
    }
    stage.browser.open(&url);
    stage.sees_the_leaflet("navigation", &url);
}

fn a_report_opens_and_runs_no_script(stage: &mut Stage) {
    let url = format!("{}{}/rendered", stage.proxy.url(), stage.paths("SR").instance);
    stage.browser.open(&url);
    let loaded = stage.browser.loaded();
    let page = loaded.iter().find(|l| l.url == url).expect("the report was loaded");
    assert_eq!((page.status, page.media_type.as_str()), (200, "text/html"));
    let text = stage.browser.evaluate("document.body.innerText");
    let text = text.as_str().unwrap_or_default();
    assert!(text.contains("Impression") && text.contains(SCRIPT), "{text}");
    stage.picture("report");
    assert_eq!(stage.browser.evaluate("document.scripts.length"), 0);
    // Were markup to get in after all, nothing of it runs: timers of the page do not either.
    stage.browser.evaluate(
        "(() => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = 3';
            document.body.append(script);
            const image = '<img src=\"x:\" onerror=\"window.ran = 4\">';
            document.body.insertAdjacentHTML('beforeend', image);
        })()",
    );
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(stage.browser.evaluate("window.ran ?? null"), Value::Null, "a script ran");
}

fn a_video_plays(stage: &mut Stage) {
    let Some(video) = stage.video.clone() else { return };
    let url = format!("{}{video}/rendered", stage.proxy.url());
    stage.show(&format!("<video crossorigin='anonymous' muted src='{url}'></video>"));
    let metadata = stage.browser.evaluate(
        "new Promise(done => {
            const video = document.querySelector('video');
            const say = () => done(video.error
                ? `${video.error.code} ${video.error.message}`
                : [video.videoWidth, video.videoHeight, video.duration > 1]);
            if (video.readyState > 0 || video.error) say();
            video.onloadedmetadata = video.onerror = say;
        })",
    );
    assert_eq!(metadata, json!([320, 240, true]));
    let played = stage.browser.evaluate(
        "(async () => {
            const video = document.querySelector('video');
            const time = () => new Promise(done => { video.ontimeupdate = () => done(); });
            await video.play();
            while (video.currentTime === 0) await time();
            video.pause();
            const seeked = new Promise(done => { video.onseeked = done; });
            video.currentTime = video.duration * 0.75;
            await seeked;
            return video.currentTime / video.duration > 0.7 && video.getVideoPlaybackQuality().totalVideoFrames > 0;
        })()",
    );
    assert_eq!(played, true);
    let answers = stage.browser.loaded();
    let answers: Vec<_> = answers.iter().filter(|l| l.url == url).collect();
    let served = |l: &&Loaded| matches!(l.status, 200 | 206) && l.media_type == "video/mp4";
    assert!(!answers.is_empty() && answers.iter().all(served), "{answers:?}");
    stage.picture("video");
}

// The stage -----------------------------------------------------------------------------------------

/// The demo archive, a page of another origin in front of it, and who looks.
struct Stage {
    browser: Browser,
    proxy: Proxy,
    pages: ScriptedOrigin,
    origin: FolderOrigin,
    /// The path of the corpus' H.264 video.
    video: Option<String>,
    /// The demo reads files when it is asked for them.
    _folder: tempfile::TempDir,
}

/// An instance and what it is in.
struct Paths {
    study: String,
    series: String,
    instance: String,
}

impl Stage {
    async fn build(browser: Browser) -> Self {
        let folder = tempfile::tempdir().unwrap();
        samples::write(folder.path()).unwrap();
        make_the_report_hostile(folder.path());
        let video = add_the_video(folder.path());
        let proxy = Proxy::demo(Some(folder.path())).await;
        let origin = FolderOrigin::open(folder.path()).unwrap();
        let pages = ScriptedOrigin::start().await;
        Self { browser, proxy, pages, origin, video, _folder: folder }
    }

    /// The first object whose description begins so.
    fn paths(&self, description: &str) -> Paths {
        let found = self.origin.instances().find(|i| i.description.starts_with(description));
        let path = &found.unwrap_or_else(|| panic!("no sample is a {description}")).path;
        let study = format!("/studies/{}", path.study);
        let series = format!("{study}/series/{}", path.series);
        Paths { instance: format!("/{path}"), study, series }
    }

    /// Opens a page with this body, from another origin than the proxy's.
    fn show(&mut self, body: &str) {
        let page = format!("<!DOCTYPE html><meta charset='utf-8'><title>page</title>{body}");
        self.pages.on("/page", move |_| Answer::new(200, "text/html", page.clone()));
        let url = format!("{}/page", self.pages.url());
        self.browser.open(&url);
    }

    /// The PDF is a page with a heading on light blue, in a blue frame.
    fn sees_the_leaflet(&mut self, way: &str, url: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut shown = 0;
        while shown < 1000 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            let picture = Picture::from_png(&self.browser.screenshot()).unwrap();
            let light_blue = |pixel: &&[u8]| {
                let near = |at: usize, wanted: u8| pixel[at].abs_diff(wanted) <= 3;
                near(0, 230) && near(1, 240) && near(2, 250)
            };
            shown = picture.samples.chunks_exact(picture.channels).filter(light_blue).count();
        }
        let loaded = self.browser.loaded();
        self.picture(&format!("pdf-{way}"));
        let answers: Vec<_> = loaded.iter().filter(|l| l.url == url).collect();
        let right = |l: &&Loaded| l.status == 200 && l.media_type == "application/pdf";
        assert!(answers.iter().any(right), "{way}: {answers:?}");
        assert!(shown >= 1000, "{way}: the page is not drawn");
    }

    /// Keeps what is shown, for people, where `LIGHTBOX_SCREENSHOTS` names a folder.
    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("LIGHTBOX_SCREENSHOTS") else { return };
        let picture = self.browser.screenshot();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }
}

/// Puts markup in the place of a sentence of the sample report.
fn make_the_report_hostile(folder: &Path) {
    let wanted = IMPRESSION.as_bytes();
    let mut changed = 0;
    for path in files(folder) {
        let mut file = std::fs::read(&path).unwrap();
        let Some(at) = file.windows(wanted.len()).position(|window| window == wanted) else {
            continue;
        };
        let markup = format!("{SCRIPT:width$}", width = wanted.len());
        file[at..at + wanted.len()].copy_from_slice(markup.as_bytes());
        std::fs::write(&path, file).unwrap();
        changed += 1;
    }
    assert_eq!(changed, 1, "the sample report says its impression");
}

fn add_the_video(folder: &Path) -> Option<String> {
    let corpus = Corpus::find_or_say("video in a real browser")?;
    let syntax = Some("1.2.840.10008.1.2.4.102");
    let entry = corpus.entries.iter().find(|e| e.transfer_syntax_uid.as_deref() == syntax)?;
    std::fs::write(folder.join("video.dcm"), corpus.read(&entry.path)).unwrap();
    entry.url_path()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
