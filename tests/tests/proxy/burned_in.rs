//! R1.10 and R1.11 through the real door: no thumbnail shows texts that are burned into the pixels, however
//! it is asked for, wherever it comes from.

#[path = "../../../crates/core-render/tests/support/letters.rs"]
#[allow(dead_code, unreachable_pub)]
mod letters;

use letters::{Line, Sheet};
use lightbox_tests::pictures::Picture;
use lightbox_tests::{
    Archive, EXPLICIT_LITTLE_ENDIAN, Keeper, Object, Place, Proxy, eventually, lightbox,
};

const ULTRASOUND: &str = "1.2.840.10008.5.1.4.1.1.6.1";
const SECONDARY_CAPTURE: &str = "1.2.840.10008.5.1.4.1.1.7";
const COLOUR_FRAMES: &str = "1.2.840.10008.5.1.4.1.1.7.4";
const SOFTCOPY_STATE: &str = "1.2.840.10008.5.1.4.1.1.11.1";
const KEY_OBJECTS: &str = "1.2.840.10008.5.1.4.1.1.88.59";

/// Burned In Annotation is YES.
const DECLARED: Place = Place::new(7001, 1, 1);
/// The same, of another series.
const DECLARED_TOO: Place = Place::new(7001, 2, 1);
/// A region, nothing declared.
const AROUND: Place = Place::new(7002, 1, 1);
/// A region, and YES.
const DECLARED_AROUND: Place = Place::new(7003, 1, 1);
/// A region, and NO.
const CLEAR: Place = Place::new(7004, 1, 1);
/// Neither a region nor a word about texts.
const SILENT: Place = Place::new(7005, 1, 1);
/// A secondary capture of three frames in colour, YES.
const FRAMES: Place = Place::new(7006, 1, 1);
/// Refer to [`DECLARED`].
const STATE: Place = Place::new(7001, 3, 1);
const KEY: Place = Place::new(7001, 4, 1);

const WIDTH: usize = 512;
const HEIGHT: usize = 384;
/// First and last column and row of the region.
const REGION: [usize; 4] = [64, 96, 447, 351];
/// Above the region, a fourteenth of the picture high.
const NAME: Line<'static> = Line { text: "JOLIEDANTEX", left: 32, top: 32, dot: 4 };
/// Within it.
const MEASURE: Line<'static> = Line { text: "DIST", left: 160, top: 200, dot: 4 };

fn sheet() -> Sheet {
    let mut sheet = Sheet::new(WIDTH, HEIGHT);
    for (x, y) in (80..430).flat_map(|x| (110..340).map(move |y| (x, y))) {
        sheet.pixels[y * WIDTH + x] = (60 + (x * y / 97) % 90) as u8;
    }
    sheet.write(NAME);
    sheet.write(MEASURE);
    sheet
}

fn with_region(object: Object) -> Object {
    let corners = REGION.map(|corner| (corner as u32).to_le_bytes());
    let tags = [0x0018_6018, 0x0018_601A, 0x0018_601C, 0x0018_601E];
    let item = tags
        .into_iter()
        .zip(corners)
        .fold(Object::default(), |item, (tag, corner)| item.bytes(tag, "UL", &corner));
    object.items(0x0018_6011, vec![item])
}

fn image(place: &Place, said: Option<&str>) -> Object {
    let object = Object::new(place, ULTRASOUND, "US")
        .matrix(WIDTH as u16, HEIGHT as u16, "MONOCHROME2")
        .window("128", "256")
        .pixels(&sheet().pixels);
    match said {
        Some(said) => object.text(0x0028_0301, "CS", said),
        None => object,
    }
}

fn frames() -> Object {
    let pixels: Vec<u8> = sheet().pixels.iter().flat_map(|&level| [level; 3]).collect();
    Object::new(&FRAMES, COLOUR_FRAMES, "OT")
        .matrix(WIDTH as u16, HEIGHT as u16, "RGB")
        .text(0x0028_0008, "IS", "3")
        .text(0x0028_0301, "CS", "YES")
        .pixels(&pixels.repeat(3))
}

fn reference(place: &Place) -> Object {
    Object::default().text(0x0008_1150, "UI", ULTRASOUND).text(
        0x0008_1155,
        "UI",
        &place.instance_uid(),
    )
}

fn series_of(place: &Place, tag: u32) -> Object {
    Object::default().items(tag, vec![reference(place)]).text(
        0x0020_000E,
        "UI",
        &place.series_uid(),
    )
}

/// Shows [`DECLARED`] turned by 180 degrees.
fn state() -> Object {
    let corner = |x: u32, y: u32| [x.to_le_bytes(), y.to_le_bytes()].concat();
    let area = Object::default()
        .bytes(0x0070_0052, "SL", &corner(WIDTH as u32, HEIGHT as u32))
        .bytes(0x0070_0053, "SL", &corner(1, 1))
        .text(0x0070_0100, "CS", "SCALE TO FIT")
        .text(0x0070_0102, "IS", "1\\1");
    Object::new(&STATE, SOFTCOPY_STATE, "PR")
        .items(0x0008_1115, vec![series_of(&DECLARED, 0x0008_1140)])
        .text(0x0070_0041, "CS", "N")
        .us(0x0070_0042, &[180])
        .items(0x0070_005A, vec![area])
        .text(0x0070_0080, "CS", "STATE")
        .text(0x2050_0020, "CS", "IDENTITY")
}

fn key_objects() -> Object {
    let code = Object::default()
        .text(0x0008_0100, "SH", "113000")
        .text(0x0008_0102, "SH", "DCM")
        .text(0x0008_0104, "LO", "Of Interest");
    let evidence = Object::default()
        .items(0x0008_1115, vec![series_of(&DECLARED, 0x0008_1199)])
        .text(0x0020_000D, "UI", &DECLARED.study_uid());
    let flagged = Object::default()
        .items(0x0008_1199, vec![reference(&DECLARED)])
        .text(0x0040_A010, "CS", "CONTAINS")
        .text(0x0040_A040, "CS", "IMAGE");
    Object::new(&KEY, KEY_OBJECTS, "KO")
        .text(0x0040_A040, "CS", "CONTAINER")
        .items(0x0040_A043, vec![code])
        .text(0x0040_A050, "CS", "SEPARATE")
        .items(0x0040_A375, vec![evidence])
        .items(0x0040_A730, vec![flagged])
}

fn objects() -> Vec<Object> {
    vec![
        image(&DECLARED, Some("YES")),
        image(&DECLARED_TOO, Some("YES")).text(0x0008_0016, "UI", SECONDARY_CAPTURE),
        with_region(image(&AROUND, None)),
        with_region(image(&DECLARED_AROUND, Some("YES"))),
        with_region(image(&CLEAR, Some("NO"))),
        image(&SILENT, None),
        frames(),
        state(),
        key_objects(),
    ]
}

async fn archive() -> Archive {
    let files: Vec<(String, Vec<u8>)> = objects()
        .iter()
        .enumerate()
        .map(|(at, object)| (format!("{at}.dcm"), object.file(EXPLICIT_LITTLE_ENDIAN)))
        .collect();
    let named: Vec<_> = files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
    Archive::of(&named).await
}

/// The picture as PNG, with its Cache-Status and its tag.
struct Seen {
    picture: Picture,
    status: String,
    tag: String,
}

async fn see(proxy: &Proxy, path: &str) -> Seen {
    let reply = proxy.get_with(path, &[("Accept", "image/png")]).await;
    assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
    if let Some(folder) = std::env::var_os("LIGHTBOX_KEEP_PICTURES") {
        let name = path.replace(['/', '?', '='], "_");
        let path = std::path::Path::new(&folder).join(format!("door{name}.png"));
        std::fs::write(path, &reply.body).unwrap();
    }
    Seen {
        picture: Picture::from_png(&reply.body).unwrap(),
        status: reply.header("cache-status").to_owned(),
        tag: reply.header("etag").to_owned(),
    }
}

async fn thumbnail(proxy: &Proxy, place: &Place) -> Picture {
    see(proxy, &format!("{}/thumbnail", place.path())).await.picture
}

async fn rendered(proxy: &Proxy, place: &Place) -> Picture {
    see(proxy, &format!("{}/rendered", place.path())).await.picture
}

/// How many letters of a line are read off a picture that may be smaller than its image.
fn read(picture: &Picture, line: Line<'_>) -> usize {
    let by = WIDTH / picture.width;
    let pixels = picture.samples.iter().step_by(picture.channels).copied().collect();
    let sheet = Sheet { width: picture.width, height: picture.height, pixels };
    let Line { text, left, top, dot } = line;
    sheet.read(Line { text, left: left / by, top: top / by, dot: dot / by })
}

fn shows(picture: &Picture, line: Line<'_>) -> bool {
    read(picture, line) == line.text.len()
}

/// No more than is read into anything.
fn hides(picture: &Picture, line: Line<'_>) -> bool {
    read(picture, line) * 3 <= line.text.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_declared_are_on_rendered_pictures_only() {
    let archive = archive().await;
    let proxy = Proxy::start(&archive.url()).await;
    assert!(shows(&rendered(&proxy, &DECLARED).await, NAME));
    let hidden = thumbnail(&proxy, &DECLARED).await;
    assert_eq!((hidden.width, hidden.height), (256, 192));
    assert!(hides(&hidden, NAME) && hides(&hidden, MEASURE));
    assert!(shows(&thumbnail(&proxy, &SILENT).await, NAME));
    // The study's representative is what its key objects flag.
    for path in [
        DECLARED.series_path(),
        DECLARED.study_path(),
        KEY.path(),
        KEY.series_path(),
        format!("{}/frames/1", DECLARED.path()),
    ] {
        let seen = see(&proxy, &format!("{path}/thumbnail")).await;
        assert_eq!(seen.picture, hidden, "{path}");
    }
    for size in ["viewport=1024,768", "viewport=400,300", "window=100,100,linear", "quality=100"] {
        let seen = see(&proxy, &format!("{}/thumbnail?{size}", DECLARED.path())).await.picture;
        let name = match seen.width {
            256 => NAME,
            width => Line {
                left: NAME.left * width / WIDTH,
                top: NAME.top * width / WIDTH,
                dot: NAME.dot * width / WIDTH,
                ..NAME
            },
        };
        let sheet = Sheet { width: seen.width, height: seen.height, pixels: seen.samples.clone() };
        let letters = match seen.width {
            256 => read(&seen, NAME),
            _ => sheet.read(name),
        };
        assert!(letters * 3 <= NAME.text.len(), "{size}: {letters}");
    }
    // Of several frames, each; in colour; and as one picture of a list.
    for path in ["thumbnail", "frames/2/thumbnail", "frames/1,3/thumbnail"] {
        let seen = see(&proxy, &format!("{}/{path}", FRAMES.path())).await.picture;
        assert!(hides(&seen, NAME), "{path}");
    }
    assert!(shows(&rendered(&proxy, &FRAMES).await, NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn presentation_states_show_no_more_than_their_images() {
    let archive = archive().await;
    let proxy = Proxy::start(&archive.url()).await;
    let upright = |turned: &Picture| {
        let mut samples = turned.samples.clone();
        samples.reverse();
        Picture { samples, ..turned.clone() }
    };
    assert!(shows(&upright(&rendered(&proxy, &STATE).await), NAME));
    let hidden = upright(&thumbnail(&proxy, &STATE).await);
    assert!(hides(&hidden, NAME) && hides(&hidden, MEASURE));
}

#[tokio::test(flavor = "multi_thread")]
async fn around_regions_texts_are_hidden_and_within_nothing_is() {
    let archive = archive().await;
    let proxy = Proxy::start(&archive.url()).await;
    let plain = thumbnail(&proxy, &CLEAR).await;
    assert!(shows(&plain, NAME) && shows(&plain, MEASURE));
    // What a Lanczos filter of half the size looks across.
    let margin = 3;
    let [left, top, right, bottom] = REGION.map(|edge| edge / 2);
    for place in [AROUND, DECLARED_AROUND] {
        let seen = thumbnail(&proxy, &place).await;
        assert!(hides(&seen, NAME) && shows(&seen, MEASURE), "{place:?}");
        for (x, y) in (left + margin..right - margin)
            .flat_map(|x| (top + margin..bottom - margin).map(move |y| (x, y)))
        {
            assert_eq!(seen.at(x, y), plain.at(x, y), "{place:?}: {x}, {y}");
        }
        // Above the region, sixteen cells.
        let row: Vec<u8> = (0..seen.width).map(|x| seen.at(x, 24)).collect();
        let steps = row.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(steps <= 15 * 6, "{steps}");
        assert!(shows(&rendered(&proxy, &place).await, NAME));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn render_shows_what_is_there_and_icon_a_card() {
    let archive = archive().await;
    let as_it_is = Proxy::start_with(&archive.url(), &[("burned_in", "render")]).await;
    let plain = thumbnail(&as_it_is, &SILENT).await;
    for place in [DECLARED, AROUND, DECLARED_AROUND, CLEAR] {
        assert_eq!(thumbnail(&as_it_is, &place).await, plain, "{place:?}");
    }
    let icons = Proxy::start_with(&archive.url(), &[("burned_in", "icon")]).await;
    let card = thumbnail(&icons, &DECLARED).await;
    assert_eq!((card.width, card.height), (256, 256));
    // Modality and series number are on it, and nothing else of the object.
    assert_eq!(thumbnail(&icons, &DECLARED_AROUND).await, card);
    assert_ne!(thumbnail(&icons, &DECLARED_TOO).await, card);
    for path in [
        DECLARED.series_path(),
        DECLARED.study_path(),
        KEY.path(),
        STATE.path(),
        format!("{}/frames/1", DECLARED.path()),
    ] {
        assert_eq!(see(&icons, &format!("{path}/thumbnail")).await.picture, card, "{path}");
    }
    let frames = thumbnail(&icons, &FRAMES).await;
    assert_eq!((frames.width, frames.height), (256, 256));
    // What only may have texts is no reason for a card.
    let around = thumbnail(&icons, &AROUND).await;
    assert!(around.width == 256 && around.height == 192 && hides(&around, NAME));
    assert_eq!(thumbnail(&icons, &CLEAR).await, plain);
    assert!(shows(&rendered(&icons, &DECLARED).await, NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_drawn_from_what_is_kept_obeys_too() {
    let archive = archive().await;
    let keeper = Keeper::new(&[("cache_memory", "64MB"), ("cache_disk", "64MB")]);
    let place = DECLARED_TOO;
    let paths = ["rendered", "thumbnail?viewport=128,96", "thumbnail"]
        .map(|resource| format!("{}/{resource}", place.path()));
    // Rendered first: it leaves the source, with what is said of its texts.
    let proxy = keeper.start(&archive.url()).await;
    let whole = see(&proxy, &paths[0]).await;
    assert!(shows(&whole.picture, NAME));
    let calls = archive.pixel_calls();
    let mut hidden = Vec::new();
    for path in &paths[1..] {
        let seen = see(&proxy, path).await;
        assert!(seen.status.contains("detail=source-"), "{path}: {}", seen.status);
        assert!(hides(&seen.picture, NAME), "{path}");
        hidden.push(seen);
    }
    assert_eq!(archive.pixel_calls(), calls);
    // It is written behind the answers.
    eventually("all is on disk", || async {
        let before = keeper.files().len();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        before > 5 && keeper.files().len() == before
    })
    .await;
    drop(proxy);
    // Another configuration over the same folder: nothing of the other's is shown.
    for (how, is_card) in [("render", false), ("icon", true), ("pixelate", false)] {
        let keys = [("cache_dir", keeper.dir().to_str().unwrap().to_owned())];
        let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let keys = [&keys[..], &[("burned_in", how), ("warm_up", "false")]].concat();
        let proxy = Proxy::start_with(&archive.url(), &keys).await;
        let seen = see(&proxy, &paths[2]).await;
        assert!(seen.status.contains("hit"), "{how}: {}", seen.status);
        assert_eq!(shows(&seen.picture, NAME), how == "render", "{how}");
        assert_eq!(seen.picture.height == 256, is_card, "{how}");
        assert_eq!(seen.tag == hidden[1].tag, how == "pixelate", "{how}");
    }
    assert_eq!(archive.pixel_calls(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn annotation_is_ignored() {
    let archive = archive().await;
    let proxy = Proxy::start(&archive.url()).await;
    for place in [DECLARED, SILENT] {
        let path = format!("{}/thumbnail", place.path());
        let plain = see(&proxy, &path).await;
        let asked = see(&proxy, &format!("{path}?annotation=patient,technique")).await;
        assert_eq!((asked.picture, asked.tag), (plain.picture, plain.tag));
    }
}

#[test]
fn folders_of_thumbnails_obey_too() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, object: Object| {
        std::fs::create_dir_all(dir.path().join("in")).unwrap();
        let path = dir.path().join("in").join(name);
        std::fs::write(path, object.file(EXPLICIT_LITTLE_ENDIAN)).unwrap();
    };
    write("declared", image(&DECLARED, Some("YES")));
    write("around", with_region(image(&AROUND, None)));
    write("clear", with_region(image(&CLEAR, Some("NO"))));
    let drawn = |out: &str, flags: &[&str]| {
        let done = lightbox(dir.path(), &[&["thumbnails", "in", "--out", out], flags].concat());
        assert!(done.code == Some(0), "{}", done.stderr);
        ["declared", "around", "clear"].map(|name| {
            let bytes = std::fs::read(dir.path().join(out).join(format!("{name}.jpg"))).unwrap();
            lightbox_tests::decoded::Decoded::read(&bytes).unwrap().first().clone()
        })
    };
    let [declared, around, clear] = drawn("default", &[]);
    assert!(hides(&declared, NAME) && hides(&declared, MEASURE));
    assert!(hides(&around, NAME) && shows(&around, MEASURE));
    assert!(shows(&clear, NAME));
    let [declared, around, clear] = drawn("render", &["--burned-in", "render"]);
    assert!([declared, around, clear].iter().all(|picture| shows(picture, NAME)));
    let [declared, around, clear] = drawn("icon", &["--burned-in", "icon"]);
    assert_eq!((declared.width, declared.height), (256, 256));
    assert!(hides(&around, NAME) && shows(&clear, NAME));
    let refused =
        lightbox(dir.path(), &["thumbnails", "in", "--out", "other", "--burned-in", "blur"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("pixelate, render or icon"), "{}", refused.stderr);
}
