//! Real OHIF in a real Chromium in front of a real Orthanc, in every way in which it asks for thumbnails.
//!
//! Every app-config.js is one of `docs/ohif.md`, with the addresses of this test in place of the examples:
//! what is written there is what runs here. OHIF's own drawing (`thumbnailRendering: 'wadors'`) is what
//! our pictures are held against. Slow: `./run test all`, or alone `./run test ohif`.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD as BASE64, BASE64_URL_SAFE_NO_PAD as URL_SAFE};
use folder_origin::{FolderOrigin, InstanceSummary, samples};
use lightbox_tests::pictures::{Picture, correlation};
use lightbox_tests::{
    Answer, Browser, EXPLICIT_LITTLE_ENDIAN, Loaded, Nginx, Object, Orthanc, Place, Proxy, Reply,
    ScriptedOrigin, client, skip, slow_test,
};
use serde_json::{Value, json};

use Asked::{FrameByOhif, Rendered, Thumbnail};
use How::{Bulk, Fetch, Image};

const PART: &str = "OHIF in a real browser";
const NEWEST: &str = "3.13.2";
const OLDER: [&str; 2] = ["3.11.1", "3.12.10"];
/// Where Lightbox is in the recipes of another origin.
const EXAMPLE: &str = "http://localhost:8080";
const MEDIA_TYPES: &str = "include /etc/nginx/mime.types; gzip on;";
/// How long OHIF may take to show what it is to show.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing is on its way if nothing comes for as long.
const QUIET: Duration = Duration::from_millis(300);
const TOKEN: &str = "let-me-in";
const STUDY: u32 = 7001;
const VIDEO: &str = "Video";
/// What can be told from a thumbnail is told from this many boxes.
const GRID: usize = 48;
const ALIKE: f64 = 0.98;
/// OHIF 3.13.2 draws its own thumbnail of MONOCHROME1 inverted (its viewport is right).
const NEGATIVE: &str = "Chest PA";

#[tokio::test(flavor = "multi_thread")]
async fn ohif_shows_our_pictures_in_every_mode() {
    if !slow_test(PART) {
        return;
    }
    let mut stage = match Stage::build().await {
        Ok(stage) => stage,
        Err(why) => return skip(PART, &why),
    };
    let drawn = stage.drawn_by_ohif();
    stage.every_mode(&drawn);
    stage.a_document_opens();
    stage.a_video_plays();
    stage.older_versions(&drawn);
    stage.same_origin(&drawn).await;
    stage.below_the_path_of_dcm4chee(&drawn).await;
    stage.tokens(&drawn).await;
}

// The modes -----------------------------------------------------------------------------------------

/// One way of asking for thumbnails.
#[derive(Clone, Copy, Debug)]
struct Mode {
    name: &'static str,
    /// What is set in the data source beside what the recipe says; `null` takes a setting away.
    settings: &'static str,
    asks: Asked,
    how: How,
}

/// For what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// `/frames/{n}`, which OHIF draws itself.
    FrameByOhif,
    Thumbnail,
    Rendered,
}

/// With what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// XMLHttpRequest by its DICOMweb client, as if for bulk data.
    Bulk,
    /// fetch().
    Fetch,
    /// `<img src>`.
    Image,
}

const OWN: Mode = Mode {
    name: "wadors",
    settings: "thumbnailRendering: 'wadors', thumbnailRequestStrategy: null",
    asks: FrameByOhif,
    how: Fetch,
};
const RECOMMENDED: Mode =
    Mode { name: "thumbnail, fetch", settings: "", asks: Thumbnail, how: Fetch };
const DIRECT: Mode = Mode {
    name: "thumbnailDirect",
    settings: "thumbnailRendering: 'thumbnailDirect', thumbnailRequestStrategy: null",
    asks: Thumbnail,
    how: Image,
};
const BULK: Mode = Mode {
    name: "thumbnail",
    settings: "thumbnailRequestStrategy: null",
    asks: Thumbnail,
    how: Bulk,
};
const RENDERED: Mode = Mode {
    name: "rendered",
    settings: "thumbnailRendering: 'rendered', thumbnailRequestStrategy: null",
    asks: Rendered,
    how: Bulk,
};
const RENDERED_FETCH: Mode = Mode {
    name: "rendered, fetch",
    settings: "thumbnailRendering: 'rendered'",
    asks: Rendered,
    how: Fetch,
};
const MODES: [Mode; 7] = [
    RECOMMENDED,
    BULK,
    DIRECT,
    RENDERED,
    RENDERED_FETCH,
    Mode {
        name: "thumbnail, singlepart",
        settings: "thumbnailRequestStrategy: null, singlepart: 'bulkdata,pdf,video'",
        asks: Thumbnail,
        how: Bulk,
    },
    Mode {
        name: "rendered, staticWado",
        settings: "thumbnailRendering: 'rendered', thumbnailRequestStrategy: null, staticWado: true",
        asks: Rendered,
        how: Bulk,
    },
];

impl Mode {
    /// Whether this URL is of a thumbnail.
    fn is_thumbnail(self, url: &str) -> bool {
        let path = url.split('?').next().unwrap_or_default();
        path.rsplit('/').next() == Some(self.resource())
    }

    /// How the path of a thumbnail ends.
    fn resource(self) -> &'static str {
        match self.asks {
            FrameByOhif => "frames",
            Thumbnail => "thumbnail",
            Rendered => "rendered",
        }
    }

    /// Whether the study list, which knows series only, asks for pictures at all.
    fn asks_for_series(self) -> bool {
        self.asks != FrameByOhif && self.how != Image
    }

    /// The query as this version sends it.
    fn query(self, version: &str) -> &'static str {
        match (self.asks, self.how, version) {
            (FrameByOhif, ..) => "",
            (_, Fetch, _) => "viewport=256%2C256",
            (_, Bulk, NEWEST) => "accept=image%2Fjpeg",
            (_, Bulk | Image, _) => "accept=image/jpeg",
        }
    }

    /// How the address of a picture begins that came this way.
    fn source(self) -> &'static str {
        match self.how {
            _ if self.asks == FrameByOhif => "data:",
            Bulk | Fetch => "blob:",
            Image => "http:",
        }
    }

    /// What the browser calls such a request.
    fn kind(self) -> &'static str {
        match self.how {
            Bulk => "XHR",
            Fetch => "Fetch",
            Image => "Image",
        }
    }
}

// What is to be seen --------------------------------------------------------------------------------

/// What OHIF shows for a series.
#[derive(Debug)]
struct Tile {
    /// How the address of its picture begins; empty where it has none.
    source: String,
    picture: Option<Picture>,
}

/// By Series Description.
type Tiles = BTreeMap<String, Tile>;

/// A series as it is stored.
#[derive(Clone, Debug)]
struct Series {
    study: String,
    modality: String,
    description: String,
    /// The paths of its instances by number.
    instances: Vec<String>,
    /// Of each instance; 0 where it is no image.
    frames: u32,
}

impl Series {
    fn is_image(&self) -> bool {
        self.frames > 0 && !self.is_video()
    }

    fn is_video(&self) -> bool {
        self.description == VIDEO
    }

    /// Whether the study list asks for a thumbnail: it goes by the modality.
    fn is_listed_with_a_picture(&self) -> bool {
        !["SR", "DOC"].contains(&self.modality.as_str())
    }

    /// The instance that OHIF takes.
    fn middle(&self) -> &str {
        &self.instances[self.instances.len() / 2]
    }

    fn path(&self) -> &str {
        self.instances[0].split("/instances/").next().unwrap()
    }
}

fn series_of(origin: &FolderOrigin) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for InstanceSummary { path, modality, description, number_of_frames } in origin.instances() {
        let instance = format!("/{path}");
        let series = instance.split("/instances/").next().unwrap().to_owned();
        match all.iter_mut().find(|known| known.path() == series) {
            Some(known) => known.instances.push(instance),
            None => all.push(Series {
                study: path.study.to_string(),
                modality: modality.clone(),
                description: description
                    .strip_prefix(&format!("{modality}, "))
                    .unwrap_or(description)
                    .to_owned(),
                instances: vec![instance],
                frames: *number_of_frames,
            }),
        }
    }
    all
}

// The stage -----------------------------------------------------------------------------------------

struct Stage {
    browser: Browser,
    orthanc: Orthanc,
    /// In front of Orthanc, and on another origin than any viewer.
    proxy: Proxy,
    /// By version of OHIF.
    viewers: BTreeMap<&'static str, Nginx>,
    series: Vec<Series>,
}

impl Stage {
    async fn build() -> Result<Self, String> {
        let viewers = [OLDER[0], OLDER[1], NEWEST].map(|version| {
            let server = format!(
                "root {}; location / {{ try_files $uri /index.html; }}
                 location = /app-config.js {{
                     alias ROOT/app-config.js; add_header Cache-Control no-store;
                 }}",
                dist(version)?.display()
            );
            Ok((version, Nginx::start(1, MEDIA_TYPES, &server, &[])?))
        });
        let viewers = viewers.into_iter().collect::<Result<_, String>>()?;
        let mut browser = Browser::start()?;
        browser.resize(1600, 1000);
        let mut orthanc = Orthanc::start().await?;
        let folder = tempfile::tempdir().unwrap();
        samples::write(folder.path()).unwrap();
        own_objects(folder.path());
        orthanc.store_folder(folder.path()).await;
        let series = series_of(&FolderOrigin::open(folder.path()).unwrap());
        let proxy = Proxy::start(&orthanc.url()).await;
        Ok(Self { browser, orthanc, proxy, viewers, series })
    }

    /// Has a version's viewer configured as the recipe says, with this archive, and says where it is.
    fn configure(&self, version: &str, mode: Mode) -> String {
        let config = recipe("Another origin", "js").replace(EXAMPLE, &self.proxy.url());
        self.put_config(version, &config, mode)
    }

    fn put_config(&self, version: &str, config: &str, mode: Mode) -> String {
        let viewer = &self.viewers[version];
        viewer.put("app-config.js", with_settings(config, mode).as_bytes());
        viewer.url()
    }

    fn images(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| series.is_image())
    }

    /// Keeps what is shown, for people, where `LIGHTBOX_SCREENSHOTS` names a folder.
    fn keep(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("LIGHTBOX_SCREENSHOTS") else { return };
        let name = name.replace(", ", "-").replace(' ', "-");
        let picture = self.browser.screenshot();
        std::fs::write(Path::new(&folder).join(format!("ohif-{name}.png")), picture).unwrap();
    }

    // What OHIF shows -------------------------------------------------------------------------------

    /// The thumbnails that OHIF draws itself.
    fn drawn_by_ohif(&mut self) -> Tiles {
        let viewer = self.configure(NEWEST, OWN);
        let tiles = self.open_viewer(&viewer, "");
        self.keep("viewer wadors");
        assert_eq!(self.browser.problems(), [""; 0], "OHIF drawing by itself");
        for series in self.images() {
            let tile = tiles.get(&series.description);
            assert!(tile.is_some_and(|t| t.source == "data:"), "{}: {tile:?}", series.description);
        }
        tiles
    }

    /// Opens the studies with images, and waits until all of these have a thumbnail.
    fn open_viewer(&mut self, viewer: &str, query: &str) -> Tiles {
        let studies: BTreeSet<&str> = self.images().map(|series| series.study.as_str()).collect();
        let studies = studies.into_iter().collect::<Vec<_>>().join(",");
        let labels: Vec<String> = self.images().map(|s| s.description.clone()).collect();
        self.browser.open(&format!("{viewer}/viewer?StudyInstanceUIDs={studies}{query}"));
        self.settle(|shown, _| labels.iter().all(|label| shown.contains(label)));
        self.tiles()
    }

    /// In the viewer every image has a thumbnail that came the way of this mode, of the middle instance, and like
    /// OHIF's own.
    fn viewer_shows(&mut self, name: &str, viewer: &str, version: &str, mode: Mode, drawn: &Tiles) {
        self.viewer_shows_with(name, viewer, "", version, mode, drawn);
    }

    fn viewer_shows_with(
        &mut self,
        name: &str,
        viewer: &str,
        query: &str,
        version: &str,
        mode: Mode,
        drawn: &Tiles,
    ) {
        let begun = Instant::now();
        let name = format!("{name}: {}, viewer", mode.name);
        let tiles = self.open_viewer(viewer, query);
        self.keep(&name.replace(": ", " "));
        let wanted: BTreeSet<String> = self.images().map(|s| s.middle().to_owned()).collect();
        self.requests_are(&name, version, mode, &wanted);
        let labels: Vec<&str> = self.images().map(|series| series.description.as_str()).collect();
        let likeness = are_alike(&name, &tiles, &labels, mode, drawn);
        println!(
            "{name}: {} thumbnails, likeness {likeness}, {:.1?}",
            wanted.len(),
            begun.elapsed()
        );
    }

    /// In the study list every series of the study that is selected has one, except where OHIF has none there.
    fn study_list_shows(&mut self, name: &str, viewer: &str, mode: Mode, drawn: &Tiles) {
        let begun = Instant::now();
        let name = format!("{name}: {}, study list", mode.name);
        self.browser.open(viewer);
        let studies: BTreeSet<String> = self.series.iter().map(|s| s.study.clone()).collect();
        self.until("the study list", |browser| browser.evaluate(ROWS) == json!(studies.len()));
        let (mut shown, mut wanted) = (0, BTreeSet::new());
        for row in 0..studies.len() {
            let study = self.select(row);
            let series: Vec<Series> =
                self.series.iter().filter(|s| s.study == study).cloned().collect();
            let asked: Vec<&Series> = series
                .iter()
                .filter(|series| mode.asks_for_series() && series.is_listed_with_a_picture())
                .collect();
            wanted.extend(asked.iter().map(|series| series.path().to_owned()));
            let with_picture: Vec<&str> = asked
                .iter()
                .filter(|_| mode.how == Fetch)
                .map(|series| series.description.as_str())
                .collect();
            let paths: Vec<String> =
                asked.iter().map(|s| format!("{}/{}?", s.path(), mode.resource())).collect();
            self.settle(|shown, loaded| {
                let answered = |path: &String| {
                    loaded.iter().any(|l| l.kind != "Preflight" && l.url.contains(path))
                };
                with_picture.iter().all(|label| shown.iter().any(|known| known == label))
                    && paths.iter().all(answered)
            });
            let tiles = self.tiles();
            are_alike(&name, &tiles, &with_picture, mode, drawn);
            // By list only, where the strategy is not fetch: OHIF's `forceListView`.
            let pictures = tiles.values().filter(|tile| tile.picture.is_some()).count();
            assert_eq!(pictures, with_picture.len(), "{name}: {tiles:?}");
            shown += pictures;
            if row == 0 {
                self.keep(&name.replace(": ", " "));
            }
        }
        self.requests_are(&name, NEWEST, mode, &wanted);
        println!("{name}: {} asked for, {shown} shown, {:.1?}", wanted.len(), begun.elapsed());
    }

    /// Selects a study in the list; says which it was.
    fn select(&mut self, row: usize) -> String {
        let opened = |loaded: Vec<Loaded>| -> Vec<String> {
            let searches = loaded.into_iter().filter(|l| {
                l.kind != "Preflight" && l.url.split('?').next().unwrap().ends_with("/series")
            });
            searches
                .map(|l| l.url.split("/studies/").nth(1).unwrap().split('/').next().unwrap().into())
                .collect()
        };
        let before = opened(self.browser.loaded()).len();
        self.browser.evaluate(&SELECT.replace("ROW", &row.to_string()));
        self.until("a study that is selected", |browser| opened(browser.loaded()).len() > before);
        opened(self.browser.loaded()).pop().unwrap()
    }

    /// Each of these was asked for, and nothing else; each was answered with a picture at once; no frame was
    /// fetched but those of the viewport's series; and the browser has nothing to complain of.
    fn requests_are(&mut self, name: &str, version: &str, mode: Mode, wanted: &BTreeSet<String>) {
        assert_eq!(self.browser.problems(), [""; 0], "{name}");
        let loaded = self.browser.loaded();
        let mut asked = BTreeSet::new();
        for answer in loaded.iter().filter(|l| mode.is_thumbnail(&l.url) && l.kind != "Preflight") {
            let (path, query) = answer.url.split_once('?').unwrap_or((&answer.url, ""));
            assert_eq!(query, mode.query(version), "{name}: {}", answer.url);
            assert_eq!(answer.kind, mode.kind(), "{name}: {}", answer.url);
            assert_eq!(answer.media_type, "image/jpeg", "{name}: {answer:?}");
            // 304: shown already by another mode, and still right.
            assert!(matches!(answer.status, 200 | 304), "{name}: {answer:?}");
            let from = path.find("/studies/").unwrap();
            asked.insert(path[from..].rsplit_once('/').unwrap().0.to_owned());
        }
        assert_eq!(&asked, wanted, "{name}: of what thumbnails are asked for");
        let frames = loaded.iter().filter(|l| l.url.contains("/frames/") && l.kind != "Preflight");
        let drawn: BTreeSet<&str> =
            frames.filter_map(|l| l.url.split("/instances/").next()).collect();
        assert!(drawn.len() <= 1, "{name}: OHIF draws more than its viewport: {drawn:?}");
    }

    /// Waits until it is so, of the labels of the tiles with a picture and of all answers, and nothing more comes.
    /// What is missing after half a minute, or where OHIF does not start, is for the caller to name.
    fn settle(&mut self, is_so: impl Fn(&[String], &[Loaded]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = 0;
        while Instant::now() < deadline && self.browser.problems().is_empty() {
            let shown = self.browser.evaluate(&SHOWN.replace("LABEL", LABEL));
            let shown: Vec<String> = serde_json::from_value(shown).unwrap();
            let loaded = self.browser.loaded();
            if is_so(&shown, &loaded) && loaded.len() == before {
                return;
            }
            before = loaded.len();
            std::thread::sleep(QUIET);
        }
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Browser) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&mut self.browser) {
            if Instant::now() > deadline {
                self.keep("failed");
                let answers: Vec<Loaded> = self.browser.loaded();
                panic!("OHIF does not show {what}: {:?}\n{answers:?}", self.browser.problems());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tiles(&mut self) -> Tiles {
        let tiles = self.browser.evaluate(&TILES.replace("LABEL", LABEL));
        let tile = |tile: &Value| {
            let text = |at: usize| tile[at].as_str().unwrap_or_default().to_owned();
            let picture = text(2).split_once(',').map(|(_, png)| {
                Picture::from_png(&BASE64.decode(png).unwrap()).expect("the browser writes PNG")
            });
            (text(0), Tile { source: text(1), picture })
        };
        tiles.as_array().unwrap().iter().map(tile).collect()
    }

    // Stories ---------------------------------------------------------------------------------------

    fn every_mode(&mut self, drawn: &Tiles) {
        let viewer = self.configure(NEWEST, OWN);
        self.study_list_shows(NEWEST, &viewer, OWN, drawn);
        for mode in MODES {
            let viewer = self.configure(NEWEST, mode);
            self.viewer_shows(NEWEST, &viewer, NEWEST, mode, drawn);
            self.study_list_shows(NEWEST, &viewer, mode, drawn);
        }
    }

    /// They have neither `thumbnailRequestStrategy` nor the preview panel.
    fn older_versions(&mut self, drawn: &Tiles) {
        for version in OLDER {
            for mode in [BULK, DIRECT] {
                let viewer = self.configure(version, mode);
                // 3.12.10 may not start from a cache: "__filename is not defined", says its bundle.
                self.browser.clear_cache();
                self.viewer_shows(version, &viewer, version, mode, drawn);
            }
        }
    }

    fn a_document_opens(&mut self) {
        let viewer = self.configure(NEWEST, RECOMMENDED);
        let document = self.series.iter().find(|series| series.modality == "DOC").unwrap().clone();
        let url = self.open_series(&viewer, &document);
        self.until("a PDF", |browser| {
            browser.evaluate("document.querySelector('object')?.data ?? null") == json!(url)
                && browser.loaded().iter().any(|l| l.url == url)
        });
        let loaded = self.browser.loaded();
        let answer = loaded.iter().find(|l| l.url == url).unwrap();
        assert_eq!((answer.status, answer.media_type.as_str()), (200, "application/pdf"));
        // The page of the sample.
        self.until("a page", |browser| painted(browser, [230, 240, 250]) > 1000);
        assert_eq!(self.browser.problems(), [""; 0], "PDF");
        self.keep("document");
    }

    fn a_video_plays(&mut self) {
        let Some(video) = self.series.iter().find(|series| series.is_video()).cloned() else {
            return skip("a video in OHIF", "ffmpeg with libx264 is not installed");
        };
        let viewer = self.configure(NEWEST, RECOMMENDED);
        let url = self.open_series(&viewer, &video);
        self.until("a video", |browser| browser.loaded().iter().any(|l| l.url == url));
        let loaded = self.browser.loaded();
        let answers: Vec<_> = loaded.iter().filter(|l| l.url == url).collect();
        let served = |l: &&Loaded| {
            matches!(l.status, 200 | 206) && l.media_type == "video/mp4" && l.kind == "Media"
        };
        assert!(answers.iter().all(served), "{answers:?}");
        let playable =
            "document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.42E01E\"')";
        if self.browser.evaluate(playable) == json!("") {
            eprintln!("SKIPPED: playing a video in OHIF: this Chromium has no H.264");
            return;
        }
        self.until("the beginning of a video", |browser| browser.evaluate(VIDEO_IS_THERE) == true);
        self.browser.evaluate(PLAY);
        // The yellow bar of ffmpeg's test picture.
        self.until("a video that plays", |browser| painted(browser, [255, 255, 0]) > 1000);
        assert_eq!(self.browser.problems(), [""; 0], "video");
        self.keep("video");
    }

    /// Opens one series in the viewer; where its whole is rendered.
    fn open_series(&mut self, viewer: &str, series: &Series) -> String {
        let uid = series.path().rsplit('/').next().unwrap();
        let query = format!("StudyInstanceUIDs={}&SeriesInstanceUIDs={uid}", series.study);
        self.browser.open(&format!("{viewer}/viewer?{query}"));
        format!("{}{}/rendered", self.proxy.url(), series.middle())
    }

    /// The viewer and the pictures behind one nginx, as the recipe has it.
    async fn same_origin(&mut self, drawn: &Tiles) {
        let upstream = self.orthanc.url();
        let proxy = Proxy::start_with(
            &upstream,
            &[("base_path", "/dicom-web"), ("trusted_proxies", "127.0.0.1")],
        )
        .await;
        let server = recipe("Same origin", "nginx")
            .replace("http://127.0.0.1:8080", &proxy.url())
            .replace("/var/www/ohif", dist(NEWEST).unwrap().to_str().unwrap());
        let server = inside(&server, &["listen", "server_name", "ssl_"]);
        let own = "location = /app-config.js {";
        assert!(server.contains(own), "{server}");
        let server = server.replace(own, &format!("{own} alias ROOT/app-config.js;"));
        let nginx = Nginx::start(1, MEDIA_TYPES, &server, &[]).expect("the recipe's nginx starts");
        let config = recipe("Same origin", "js");
        for mode in [RECOMMENDED, DIRECT] {
            nginx.put("app-config.js", with_settings(&config, mode).as_bytes());
            self.viewer_shows("same origin", &nginx.url(), NEWEST, mode, drawn);
            let preflights = self.browser.loaded();
            assert!(
                preflights.iter().all(|l| l.kind != "Preflight"),
                "on one origin there are none"
            );
        }
        let document = self.series.iter().find(|series| series.modality == "DOC").unwrap();
        let metadata = format!("{}/dicom-web{}/metadata", nginx.url(), document.path());
        let metadata = Reply::read(client().get(&metadata).send().await.unwrap()).await;
        let uri = metadata.text().replace(' ', "");
        let wanted = format!("\"BulkDataURI\":\"{}/dicom-web{}", nginx.url(), document.path());
        assert!(uri.contains(&wanted), "bulk data are on the viewer's origin: {uri}");
    }

    /// Orthanc at dcm4chee's paths, so that the paths are what is tried.
    async fn below_the_path_of_dcm4chee(&mut self, drawn: &Tiles) {
        const PATH: &str = "/dcm4chee-arc/aets/DCM4CHEE/rs";
        let server = format!("location {PATH}/ {{ proxy_pass {}/; }}", self.orthanc.url());
        let archive = Nginx::start(1, "", &server, &[]).unwrap();
        let upstream = format!("{}{PATH}", archive.url());
        let proxy =
            Proxy::start_with(&upstream, &[("base_path", PATH), ("rewrite_urls", "true")]).await;
        let config = recipe("At the path of dcm4chee", "js").replace(EXAMPLE, &proxy.url());
        let viewer = self.put_config(NEWEST, &config, RECOMMENDED);
        self.viewer_shows("dcm4chee's path", &viewer, NEWEST, RECOMMENDED, drawn);
    }

    /// The archive wants a token with every request.
    async fn tokens(&mut self, drawn: &Tiles) {
        let server = format!(
            "location / {{ if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}
             proxy_pass {}; proxy_set_header Host $http_host; }}",
            self.orthanc.url().trim_end_matches("/dicom-web")
        );
        let guard = Nginx::start(1, "", &server, &[]).unwrap();
        let proxy = Proxy::start(&format!("{}/dicom-web", guard.url())).await;
        let config = recipe("Another origin", "js").replace(EXAMPLE, &proxy.url());
        for mode in [RECOMMENDED, BULK, RENDERED_FETCH] {
            let viewer = self.put_config(NEWEST, &config, mode);
            let query = format!("&token={TOKEN}");
            self.viewer_shows_with("token", &viewer, &query, NEWEST, mode, drawn);
        }
        self.an_img_has_no_token(&config);
        self.a_login_is_enough(&proxy, drawn).await;
    }

    /// Known and not to be helped: `<img crossorigin=anonymous>` sends neither a token nor a cookie.
    fn an_img_has_no_token(&mut self, config: &str) {
        let viewer = self.put_config(NEWEST, config, DIRECT);
        let images = self.images().count();
        let study = self.images().next().unwrap().study.clone();
        assert!(images > 1);
        self.browser.open(&format!("{viewer}/viewer?StudyInstanceUIDs={study}&token={TOKEN}"));
        self.until("that a thumbnail was refused", |browser| {
            browser.loaded().iter().any(|l| DIRECT.is_thumbnail(&l.url))
        });
        let loaded = self.browser.loaded();
        let answers: Vec<_> = loaded.iter().filter(|l| DIRECT.is_thumbnail(&l.url)).collect();
        assert!(answers.iter().all(|l| l.status == 401), "{answers:?}");
    }

    /// With the recipe for OpenID Connect: authorization code flow with PKCE.
    async fn a_login_is_enough(&mut self, proxy: &Proxy, drawn: &Tiles) {
        let provider = identity_provider().await;
        let config = recipe("With a login", "js")
            .replace(EXAMPLE, &proxy.url())
            .replace("https://login.example/realms/clinic", &provider.url());
        let viewer = self.put_config(NEWEST, &config, RECOMMENDED);
        self.study_list_shows("login", &viewer, RECOMMENDED, drawn);
        self.viewer_shows("login", &viewer, NEWEST, RECOMMENDED, drawn);
        let codes = provider.received().into_iter().filter(|r| r.path == "/token").count();
        assert!(codes > 0, "a token was fetched");
    }
}

// Scripts in the page -------------------------------------------------------------------------------

const ROWS: &str = "document.querySelectorAll('tbody tr[aria-selected]').length";
const SELECT: &str = "document.querySelectorAll('tbody tr[aria-selected]')[ROW]
    .querySelector('td').click()";
/// OHIF's viewport draws from an element that is not in the page.
const VIDEO_IS_THERE: &str = "(() => {
    const viewports = window.cornerstone?.getRenderingEngines().flatMap(e => e.getViewports());
    const video = viewports?.[0]?.videoElement;
    return video?.readyState >= 2 && video.videoWidth === 320 && video.videoHeight === 240;
})()";
const PLAY: &str = "window.cornerstone.getRenderingEngines()[0].getViewports()[0].play()";
/// Series Description of a tile; 3.11 does not mark it.
const LABEL: &str = "'[data-cy=series-description-label], button[data-state] > div'";
/// Series Descriptions of the tiles whose picture is there.
const SHOWN: &str = "[...document.querySelectorAll('[data-cy^=study-browser-thumbnail]')]
    .filter(tile => tile.querySelector('img')?.naturalWidth > 0)
    .map(tile => tile.querySelector(LABEL)?.textContent ?? '')";
/// Label, how the address begins, and the picture as PNG.
const TILES: &str =
    "[...document.querySelectorAll('[data-cy^=study-browser-thumbnail]')].map(tile => {
    const label = tile.querySelector(LABEL)?.textContent ?? '';
    const image = tile.querySelector('img');
    if (!image?.naturalWidth) return [label, image?.src.slice(0, 5) ?? '', ''];
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext('2d').drawImage(image, 0, 0);
    return [label, image.src.slice(0, 5), canvas.toDataURL('image/png')];
})";

/// How many pixels of the page have this colour, or nearly.
fn painted(browser: &mut Browser, wanted: [u8; 3]) -> usize {
    let picture = Picture::from_png(&browser.screenshot()).unwrap();
    let near = |pixel: &&[u8]| pixel.iter().zip(wanted).all(|(&p, wanted)| p.abs_diff(wanted) <= 8);
    picture.samples.chunks_exact(picture.channels).filter(near).count()
}

// Likeness ------------------------------------------------------------------------------------------

/// Each of these tiles shows what OHIF drew of the same image; the least of their correlations.
fn are_alike(name: &str, tiles: &Tiles, labels: &[&str], mode: Mode, drawn: &Tiles) -> String {
    let mut least = f64::INFINITY;
    for &label in labels {
        let tile = tiles.get(label).unwrap_or_else(|| panic!("{name}: there is no {label}"));
        let picture = tile.picture.as_ref().unwrap_or_else(|| panic!("{name}: {label} is empty"));
        assert_eq!(tile.source, mode.source(), "{name}: {label}");
        // What is no image OHIF cannot draw: that it is shown has to do.
        let Some(own) = drawn.get(label).and_then(|tile| tile.picture.as_ref()) else { continue };
        let own = own.middle(picture.width, picture.height);
        let found = correlation(&picture.grey_grid(GRID, GRID), &own.grey_grid(GRID, GRID));
        let alike = if label == NEGATIVE { -found } else { found };
        assert!(alike >= ALIKE, "{name}: {label} is unlike OHIF's own: {found:.4}");
        least = least.min(alike);
    }
    format!("{least:.4}")
}

// Recipes -------------------------------------------------------------------------------------------

/// The first block of this language below a heading of docs/ohif.md.
fn recipe(heading: &str, language: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ohif.md");
    let text = std::fs::read_to_string(file).expect("docs/ohif.md is there");
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/ohif.md has a section '{heading}'"));
    let block = section.split(&format!("```{language}\n")).nth(1);
    let block = block.unwrap_or_else(|| panic!("'{heading}' has a block of {language}"));
    block.split("```").next().unwrap().to_owned()
}

/// Changes settings of the first data source.
fn with_settings(config: &str, mode: Mode) -> String {
    let settings = mode.settings;
    format!(
        "{config}\nObject.assign(window.config.dataSources[0].configuration, {{ {settings} }});\n"
    )
}

/// What stands in `server { … }`, without these directives.
fn inside(server: &str, without: &[&str]) -> String {
    let from = server.find("server {").expect("a server block") + "server {".len();
    let to = server.rfind('}').expect("a server block ends");
    let lines = server[from..to].lines();
    let kept = lines.filter(|line| !without.iter().any(|word| line.trim().starts_with(word)));
    kept.collect::<Vec<_>>().join("\n")
}

/// Where `./run` has put this version: beside the build.
fn dist(version: &str) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|e| e.to_string())?;
    // target/PROFILE/deps/TEST
    let target = here.ancestors().nth(3).ok_or("this test does not lie in a target directory")?;
    let dist = target.join(format!("clients/ohif/node_modules/ohif-{version}/dist"));
    if dist.join("index.html").exists() {
        Ok(dist)
    } else {
        Err(format!("{} is not there; ./run test ohif makes it", dist.display()))
    }
}

/// What OHIF's login needs of a provider of OpenID Connect that lets everybody in.
async fn identity_provider() -> ScriptedOrigin {
    let provider = ScriptedOrigin::start().await;
    let url = provider.url();
    let for_pages = |body: Value| {
        Answer::new(200, "application/json", body.to_string())
            .header("access-control-allow-origin", "*")
    };
    let described = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "end_session_endpoint": format!("{url}/logout"),
    });
    provider.on("/.well-known/openid-configuration", move |_| for_pages(described.clone()));
    provider.on("/authorize", |request| {
        let query = request.query.clone().unwrap_or_default();
        let value = |name: &str| {
            let found = query.split('&').find_map(|pair| pair.strip_prefix(name));
            found.unwrap_or_default().to_owned()
        };
        assert_eq!(value("code_challenge_method="), "S256");
        let back = value("redirect_uri=").replace("%3A", ":").replace("%2F", "/");
        let back = format!("{back}?code=1&state={}", value("state="));
        Answer::status(302).header("location", &back)
    });
    provider.on("/token", move |_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = now.as_secs();
        let claims =
            json!({"iss": url, "sub": "jane", "aud": "ohif", "iat": now, "exp": now + 3600});
        let word = |value: &Value| URL_SAFE.encode(value.to_string());
        let id_token = format!("{}.{}.c2lnbmVk", word(&json!({"alg": "RS256"})), word(&claims));
        for_pages(json!({
            "access_token": TOKEN,
            "id_token": id_token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "openid",
        }))
    });
    provider
}

// Objects of our own --------------------------------------------------------------------------------

/// What the samples have not: a series of seven whose numbers run against its UIDs, a palette, uncompressed
/// colour, an MR without a window, a video.
fn own_objects(folder: &Path) {
    let write = |name: String, object: &Object, syntax: &str| {
        std::fs::write(folder.join(name), object.file(syntax)).unwrap();
    };
    for number in 1..=7_u16 {
        let place = Place::new(STUDY, 1, number.into()).numbered(1, (8 - number).into());
        let grey = words(128, 128, number, |shade| (shade * 900.0) as i16 - 200);
        let slice = image(&place, "1.2.840.10008.5.1.4.1.1.2", "CT", "Seven slices")
            .matrix(128, 128, "MONOCHROME2")
            .signed_words(&grey)
            .text(0x0028_1052, "DS", "-100")
            .text(0x0028_1053, "DS", "1")
            .window("150", "700");
        write(format!("ct-{number}.dcm"), &slice, EXPLICIT_LITTLE_ENDIAN);
    }
    let mr = image(&Place::new(STUDY, 2, 1), "1.2.840.10008.5.1.4.1.1.4", "MR", "No window")
        .matrix(96, 144, "MONOCHROME2")
        .signed_words(&words(96, 144, 3, |shade| (shade * 1800.0) as i16 + 40));
    write("mr.dcm".into(), &mr, EXPLICIT_LITTLE_ENDIAN);
    let secondary = "1.2.840.10008.5.1.4.1.1.7";
    let rgb: Vec<u8> = shades(160, 100, 4)
        .into_iter()
        .flat_map(|shade| [shade, shade * 0.7, 1.0 - shade].map(|part| (part * 255.0) as u8))
        .collect();
    let colour = image(&Place::new(STUDY, 3, 1), secondary, "OT", "Colour")
        .matrix(160, 100, "RGB")
        .pixels(&rgb);
    write("rgb.dcm".into(), &colour, EXPLICIT_LITTLE_ENDIAN);
    let indices: Vec<u8> = shades(120, 120, 5).into_iter().map(|s| (s * 255.0) as u8).collect();
    let channel = |of: fn(u32) -> u32| -> Vec<u8> {
        (0..256).flat_map(|index| ((of(index) * 257) as u16).to_le_bytes()).collect()
    };
    let mut palette = image(&Place::new(STUDY, 4, 1), secondary, "OT", "Palette")
        .matrix(120, 120, "PALETTE COLOR")
        .bytes(0x0028_1201, "OW", &channel(|index| index))
        .bytes(0x0028_1202, "OW", &channel(|index| index * index / 255))
        .bytes(0x0028_1203, "OW", &channel(|index| 255 - index))
        .pixels(&indices);
    for tag in [0x0028_1101, 0x0028_1102, 0x0028_1103] {
        palette = palette.us(tag, &[256, 0, 16]);
    }
    write("palette.dcm".into(), &palette, EXPLICIT_LITTLE_ENDIAN);
    if let Some(stream) = h264() {
        let place = Place::new(STUDY + 1, 1, 1);
        let video = image(&place, "1.2.840.10008.5.1.4.1.1.77.1.4.1", "XC", VIDEO)
            // Another patient than that of the images, whose studies open together.
            .text(0x0010_0020, "LO", "4712")
            .matrix(320, 240, "YBR_PARTIAL_420")
            .text(0x0018_0040, "IS", "10")
            .text(0x0028_0008, "IS", "20")
            .fragments(vec![stream]);
        write("video.dcm".into(), &video, "1.2.840.10008.1.2.4.102");
    }
}

fn image(place: &Place, class: &str, modality: &str, description: &str) -> Object {
    Object::new(place, class, modality).text(0x0008_103E, "LO", description)
}

/// From 0 to 1, row by row: waves that no mirroring or turning leaves as they are, and differ by `seed`.
fn shades(width: u16, height: u16, seed: u16) -> Vec<f64> {
    let shade = |x: u16, y: u16| {
        let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let wave = (x * (3.0 + f64::from(seed)) + y * y * 7.0).sin() * 0.25;
        let spot = if (x - 0.3).hypot(y - 0.2 - f64::from(seed) * 0.08) < 0.15 { 0.4 } else { 0.0 };
        (0.3 + wave + spot + 0.1 * x).clamp(0.0, 1.0)
    };
    (0..height).flat_map(|y| (0..width).map(move |x| shade(x, y))).collect()
}

fn words(width: u16, height: u16, seed: u16, stored: fn(f64) -> i16) -> Vec<i16> {
    shades(width, height, seed).into_iter().map(stored).collect()
}

/// Two seconds of H.264 in MP4, 320 × 240, where ffmpeg can make them.
fn h264() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("video.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=320x240:rate=10:duration=2",
        ])
        .args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"])
        .arg(&file)
        .stdin(Stdio::null())
        .status();
    made.is_ok_and(|status| status.success()).then(|| std::fs::read(&file).unwrap())
}
