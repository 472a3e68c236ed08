//! Whole-slide images through the real door: which image, which level, which tiles.

use bytes::Bytes;
use folder_origin::FolderOrigin;
use lightbox_tests::pictures::Picture;
use lightbox_tests::{Answer, Corpus, Proxy, Reply, ScriptedOrigin, client};

const TILE: usize = 128;

/// The files of one slide: three levels of 512, 256 and 128 pixels in tiles of 128, a thumbnail of
/// 128 pixels, and a label.
struct Pyramid {
    files: Vec<(String, Bytes)>,
    frames: Vec<usize>,
}

const LEVEL_0: usize = 0;
const LEVEL_1: usize = 1;
const LEVEL_2: usize = 2;
const THUMBNAIL: usize = 3;
const LABEL: usize = 4;

impl Pyramid {
    /// Uncompressed, so that every pixel is known.
    fn made() -> Self {
        let level = |number: usize| {
            let side = 512 >> number;
            slide_file(number + 1, "VOLUME", (side, side), (TILE, TILE), &level_pixels(number))
        };
        let thumbnail: Vec<u8> = (0..TILE * TILE).flat_map(|p| [(p / TILE) as u8; 3]).collect();
        let label = [200, 0, 0].repeat(96 * 64);
        let files = vec![
            level(0),
            level(1),
            level(2),
            slide_file(4, "THUMBNAIL", (TILE, TILE), (TILE, TILE), &thumbnail),
            slide_file(5, "LABEL", (96, 64), (96, 64), &label),
        ];
        let path = |n: usize| format!("/studies/2.25.77/series/2.25.77.1/instances/2.25.77.1.{n}");
        let files = files.into_iter().zip(1..).map(|(file, n)| (path(n), file.into())).collect();
        Self { files, frames: vec![16, 4, 1, 1, 1] }
    }

    /// The finest level split into a concatenation of these frames each, and the next one whole.
    fn in_parts(parts: &[usize]) -> Self {
        let pixels = level_pixels(0);
        let mut offset = 0;
        let mut part = |(index, &frames): (usize, &usize)| {
            let tiles = offset * TILE * TILE * 3..(offset + frames) * TILE * TILE * 3;
            let place = PartOf { number: index + 1, of: parts.len(), offset };
            offset += frames;
            let size = ((512, 512), (TILE, TILE));
            slide_file_of(index + 1, "VOLUME", size, &pixels[tiles], Some(place))
        };
        let mut files: Vec<Vec<u8>> = parts.iter().enumerate().map(&mut part).collect();
        let next = parts.len() + 1;
        files.push(slide_file(next, "VOLUME", (256, 256), (TILE, TILE), &level_pixels(1)));
        let path = |n: usize| format!("/studies/2.25.77/series/2.25.77.1/instances/2.25.77.1.{n}");
        let files = files.into_iter().zip(1..).map(|(file, n)| (path(n), file.into())).collect();
        Self { files, frames: parts.iter().copied().chain([4]).collect() }
    }

    /// JPEG tiles in a colour space with a profile.
    fn of_corpus() -> Option<Self> {
        let corpus = Corpus::find_or_say("the pyramid of the corpus")?;
        let names = ["level0", "level1", "level2", "thumbnail", "label"];
        let files = names.map(|name| {
            let path = format!("wsi/syn_wsi__{name}.dcm");
            let entry = corpus.entries.iter().find(|entry| entry.path == path).unwrap();
            (entry.url_path().unwrap(), Bytes::from(corpus.read(&path)))
        });
        Some(Self { files: files.into(), frames: vec![16, 4, 1, 1, 1] })
    }

    fn path(&self, image: usize, resource: &str) -> String {
        format!("{}/{resource}", self.files[image].0)
    }

    /// An archive of these files, which tells what it was asked.
    async fn archive(&self, images: &[usize]) -> ScriptedOrigin {
        let folder = tempfile::tempdir().unwrap();
        for &image in images {
            std::fs::write(folder.path().join(format!("{image}.dcm")), &self.files[image].1)
                .unwrap();
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let folder_origin = FolderOrigin::open(folder.path()).unwrap();
        let server = tokio::spawn(folder_origin.serve(listener, std::future::pending()));
        let origin = ScriptedOrigin::start().await;
        let mut resources = Vec::new();
        for &image in images {
            let path = &self.files[image].0;
            resources.push((
                path.clone(),
                r#"multipart/related; type="application/dicom"; transfer-syntax=*"#,
            ));
            resources.push((format!("{path}/metadata"), "application/dicom+json"));
            for frame in 1..=self.frames[image] {
                let accept =
                    r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#;
                resources.push((format!("{path}/frames/{frame}"), accept));
            }
        }
        let series = self.files[0].0.rsplit_once('/').unwrap().0.to_owned();
        resources.push((
            format!("{series}?includefield=00080008,00209161,00480006,00480007"),
            "application/dicom+json",
        ));
        for (resource, accept) in resources {
            let request = client().get(format!("{base}{resource}")).header("accept", accept);
            let reply = Reply::read(request.send().await.unwrap()).await;
            assert_eq!(reply.status(), 200, "{resource}: {}", reply.text());
            let kind = reply.header("content-type").to_owned();
            let path = resource.split('?').next().unwrap();
            origin.on(path, move |_| Answer::new(200, &kind, reply.body.clone()));
        }
        server.abort();
        origin
    }
}

/// The pixels of a level, tile by tile.
fn level_pixels(number: usize) -> Vec<u8> {
    let tiles = (512 >> number) / TILE;
    let scale = 1 << number;
    let pixel = |x: usize, y: usize| {
        let (x, y) = (x * scale + scale / 2, y * scale + scale / 2);
        [(x / 2) as u8, (y / 2) as u8, (128.0 + 100.0 * (x as f64 / 40.0).sin()) as u8]
    };
    (0..tiles * tiles)
        .flat_map(|tile| (0..TILE * TILE).map(move |p| (tile, p)))
        .flat_map(|(tile, p)| pixel(tile % tiles * TILE + p % TILE, tile / tiles * TILE + p / TILE))
        .collect()
}

/// A whole-slide image of uncompressed RGB tiles.
fn slide_file(
    number: usize,
    flavour: &str,
    matrix: (usize, usize),
    tile: (usize, usize),
    pixels: &[u8],
) -> Vec<u8> {
    slide_file_of(number, flavour, (matrix, tile), pixels, None)
}

/// Which part of a concatenation an instance is.
struct PartOf {
    number: usize,
    of: usize,
    offset: usize,
}

fn slide_file_of(
    number: usize,
    flavour: &str,
    (matrix, tile): ((usize, usize), (usize, usize)),
    pixels: &[u8],
    part: Option<PartOf>,
) -> Vec<u8> {
    const CLASS: &str = "1.2.840.10008.5.1.4.1.1.77.1.6";
    let instance = format!("2.25.77.1.{number}");
    let frames = pixels.len() / (tile.0 * tile.1 * 3);
    let short = |value: usize| (value as u16).to_le_bytes().to_vec();
    let long = |value: usize| (value as u32).to_le_bytes().to_vec();
    let text = |value: &str| value.as_bytes().to_vec();
    let part = part.map(|PartOf { number, of, offset }| {
        [
            ((0x0020, 0x9161), b"UI", text("2.25.77.3")),
            ((0x0020, 0x9162), b"US", short(number)),
            ((0x0020, 0x9163), b"US", short(of)),
            ((0x0020, 0x9228), b"UL", long(offset)),
        ]
    });
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    let before = [
        ((0x0002, 0x0002), b"UI", text(CLASS)),
        ((0x0002, 0x0003), b"UI", text(&instance)),
        ((0x0002, 0x0010), b"UI", text("1.2.840.10008.1.2.1")),
        ((0x0008, 0x0008), b"CS", text(&format!("DERIVED\\PRIMARY\\{flavour}\\NONE"))),
        ((0x0008, 0x0016), b"UI", text(CLASS)),
        ((0x0008, 0x0018), b"UI", text(&instance)),
        ((0x0008, 0x0060), b"CS", text("SM")),
        ((0x0020, 0x000D), b"UI", text("2.25.77")),
        ((0x0020, 0x000E), b"UI", text("2.25.77.1")),
        ((0x0020, 0x0013), b"IS", text(&number.to_string())),
        ((0x0020, 0x0052), b"UI", text("2.25.77.2")),
    ];
    let after = [
        ((0x0020, 0x9311), b"CS", text("TILED_FULL")),
        ((0x0028, 0x0002), b"US", short(3)),
        ((0x0028, 0x0004), b"CS", text("RGB")),
        ((0x0028, 0x0006), b"US", short(0)),
        ((0x0028, 0x0008), b"IS", text(&frames.to_string())),
        ((0x0028, 0x0010), b"US", short(tile.1)),
        ((0x0028, 0x0011), b"US", short(tile.0)),
        ((0x0028, 0x0100), b"US", short(8)),
        ((0x0028, 0x0101), b"US", short(8)),
        ((0x0028, 0x0102), b"US", short(7)),
        ((0x0028, 0x0103), b"US", short(0)),
        ((0x0048, 0x0006), b"UL", long(matrix.0)),
        ((0x0048, 0x0007), b"UL", long(matrix.1)),
        ((0x7FE0, 0x0010), b"OB", pixels.to_vec()),
    ];
    for (tag, vr, value) in before.into_iter().chain(part.into_iter().flatten()).chain(after) {
        element(&mut file, tag, vr, value);
    }
    file
}

fn element(file: &mut Vec<u8>, tag: (u16, u16), vr: &[u8; 2], mut value: Vec<u8>) {
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" || vr == b"OB" { 0 } else { b' ' });
    }
    file.extend(tag.0.to_le_bytes());
    file.extend(tag.1.to_le_bytes());
    file.extend(vr);
    if vr == b"OB" {
        file.extend([0, 0]);
        file.extend((value.len() as u32).to_le_bytes());
    } else {
        file.extend((value.len() as u16).to_le_bytes());
    }
    file.extend(value);
}

async fn png(proxy: &Proxy, path: &str) -> Picture {
    let joint = if path.contains('?') { '&' } else { '?' };
    let reply = proxy.get(&format!("{path}{joint}accept=image/png")).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    // To be looked at.
    if let Some(folder) = std::env::var_os("LIGHTBOX_KEEP_PICTURES") {
        let name: String = path[path.len().saturating_sub(60)..]
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        std::fs::write(std::path::Path::new(&folder).join(name + ".png"), &reply.body).unwrap();
    }
    Picture::from_png(&reply.body).unwrap()
}

/// The whole matrix of a level, put together here from the pictures of its frames.
async fn matrix(proxy: &Proxy, pyramid: &Pyramid, level: usize) -> Picture {
    let across = (512 >> level) / TILE;
    let side = across * TILE;
    let mut whole =
        Picture { width: side, height: side, channels: 3, samples: vec![0; side * side * 3] };
    for frame in 0..across * across {
        let tile =
            png(proxy, &pyramid.path(level, &format!("frames/{}/rendered", frame + 1))).await;
        for row in 0..TILE {
            let to = ((frame / across * TILE + row) * side + frame % across * TILE) * 3;
            whole.samples[to..to + TILE * 3]
                .copy_from_slice(&tile.samples[row * TILE * 3..(row + 1) * TILE * 3]);
        }
    }
    whole
}

fn crop(picture: &Picture, x: usize, y: usize, width: usize, height: usize) -> Picture {
    let row = |row: usize| {
        let start = (row * picture.width + x) * 3;
        &picture.samples[start..start + width * 3]
    };
    let samples = (y..y + height).flat_map(row).copied().collect();
    Picture { width, height, channels: 3, samples }
}

fn psnr(a: &Picture, b: &Picture) -> f64 {
    a.difference(b).unwrap().psnr
}

/// Which frames of an image the archive was asked for since `start`.
fn frames_asked(
    origin: &ScriptedOrigin,
    pyramid: &Pyramid,
    image: usize,
    start: usize,
) -> Vec<usize> {
    let prefix = pyramid.path(image, "frames/");
    let asked = origin.received().into_iter().skip(start);
    let mut frames: Vec<usize> =
        asked.filter_map(|request| request.path.strip_prefix(&prefix)?.parse().ok()).collect();
    frames.sort_unstable();
    frames
}

async fn pictures_of(pyramid: &Pyramid) {
    let origin = pyramid.archive(&[LEVEL_0, LEVEL_1, LEVEL_2, THUMBNAIL, LABEL]).await;
    let proxy = Proxy::start(&origin.url()).await;

    // The thumbnail of a tiled image is the THUMBNAIL image of its series.
    let thumbnail = png(&proxy, &pyramid.path(THUMBNAIL, "rendered")).await;
    assert_eq!(png(&proxy, &pyramid.path(LEVEL_0, "thumbnail")).await, thumbnail);
    assert_eq!(png(&proxy, &pyramid.path(THUMBNAIL, "thumbnail")).await, thumbnail);

    // A label is nobody's thumbnail, whole or by frame.
    let card = png(&proxy, &pyramid.path(LABEL, "thumbnail")).await;
    assert_eq!((card.width, card.height), (256, 256));
    assert_ne!(card, png(&proxy, &pyramid.path(LABEL, "rendered")).await);
    let reply = proxy.get(&pyramid.path(LABEL, "frames/1/thumbnail")).await;
    assert_eq!(reply.status(), 406, "{}", reply.text());
    assert!(reply.text().contains("label of a slide"), "{}", reply.text());

    // The whole matrix, and a frame, as they are.
    let whole = matrix(&proxy, pyramid, LEVEL_0).await;
    assert_eq!(png(&proxy, &pyramid.path(LEVEL_0, "rendered")).await, whole);

    // A region at its own density: its tiles, and no other.
    let start = origin.requests();
    let path = pyramid.path(LEVEL_0, "rendered?viewport=200,100,100,150,200,100");
    assert_eq!(png(&proxy, &path).await, crop(&whole, 100, 150, 200, 100));
    assert_eq!(frames_asked(&origin, pyramid, LEVEL_0, start), [5, 6, 7]);

    // Half as dense: one tile of the next level, and no other.
    let start = origin.requests();
    let path = pyramid.path(LEVEL_0, "rendered?viewport=100,100,280,20,200,200");
    let half = png(&proxy, &path).await;
    assert_eq!(frames_asked(&origin, pyramid, LEVEL_1, start), [2]);
    assert!(frames_asked(&origin, pyramid, LEVEL_0, start).is_empty());
    assert!(psnr(&crop(&whole, 280, 20, 200, 200).box_downscaled(2), &half) >= 30.0);

    // Twice as dense as the image asked for: four tiles of the level below, mirrored.
    let start = origin.requests();
    let path = pyramid.path(LEVEL_1, "rendered?viewport=100,100,32,32,-50,50");
    let twice = png(&proxy, &path).await;
    assert_eq!(frames_asked(&origin, pyramid, LEVEL_0, start), [1, 2, 5, 6]);
    let mut expected = crop(&whole, 64, 64, 100, 100);
    for row in expected.samples.chunks_mut(300) {
        row.as_chunks_mut::<3>().0.reverse();
    }
    assert!(psnr(&expected, &twice) >= 30.0);

    // The whole slide, small: the coarsest level is enough.
    let small = png(&proxy, &pyramid.path(LEVEL_0, "rendered?viewport=64,64")).await;
    assert_eq!((small.width, small.height), (64, 64));
    assert!(psnr(&whole.box_downscaled(8), &small) >= 30.0);

    // Without a THUMBNAIL the coarsest level is the thumbnail.
    let origin = pyramid.archive(&[LEVEL_0, LEVEL_1, LABEL]).await;
    let proxy = Proxy::start(&origin.url()).await;
    let coarsest = matrix(&proxy, pyramid, LEVEL_1).await;
    assert_eq!(png(&proxy, &pyramid.path(LEVEL_0, "thumbnail")).await, coarsest);

    // A slide that is too large without a viewport says so.
    let keys = [("max_output_pixels", "100kP")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    let reply = proxy.get(&pyramid.path(LEVEL_0, "rendered")).await;
    assert_eq!(reply.status(), 413, "{}", reply.text());
    assert!(reply.text().contains("viewport=width,height"), "{}", reply.text());

    // And one whose tiles are too many.
    let keys = [("max_source_pixels", "100kP")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    let path = pyramid.path(LEVEL_0, "rendered?viewport=512,512");
    assert_eq!(proxy.get(&path).await.status(), 413);
    let path = pyramid.path(LEVEL_0, "rendered?viewport=100,100,0,0,100,100");
    assert_eq!(proxy.get(&path).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slide_is_drawn_from_the_tiles_that_are_needed() {
    pictures_of(&Pyramid::made()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slide_of_jpeg_tiles_with_a_profile_is_drawn_alike() {
    if let Some(pyramid) = Pyramid::of_corpus() {
        pictures_of(&pyramid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slide_that_is_split_into_a_concatenation_is_put_together() {
    let whole = Pyramid::made();
    let origin = whole.archive(&[LEVEL_0]).await;
    let expected = png(&Proxy::start(&origin.url()).await, &whole.path(LEVEL_0, "rendered")).await;

    let parts = Pyramid::in_parts(&[5, 6, 5]);
    let next_level = 3;
    let origin = parts.archive(&[0, 1, 2, next_level]).await;
    let proxy = Proxy::start(&origin.url()).await;
    for part in 0..3 {
        assert_eq!(png(&proxy, &parts.path(part, "rendered")).await, expected, "part {part}");
    }

    // A frame stays one of the instance that it was asked of: its third is the eighth tile.
    let tile = png(&proxy, &parts.path(1, "frames/3/rendered")).await;
    assert_eq!(tile, crop(&expected, 384, 128, TILE, TILE));

    // Only the tiles that are needed, under the numbers that they have in their own instance.
    let start = origin.requests();
    let path = parts.path(0, "rendered?viewport=60,60,390,130,60,60");
    assert_eq!(png(&proxy, &path).await, crop(&expected, 390, 130, 60, 60));
    assert_eq!(frames_asked(&origin, &parts, 1, start), [3]);
    assert!(frames_asked(&origin, &parts, 2, start).is_empty());

    // It is a level of its pyramid like any other, in both directions.
    let start = origin.requests();
    let small = png(&proxy, &parts.path(2, "rendered?viewport=256,256")).await;
    assert_eq!(frames_asked(&origin, &parts, next_level, start), [1, 2, 3, 4]);
    assert!(psnr(&expected.box_downscaled(2), &small) >= 30.0);
    let path = parts.path(next_level, "rendered?viewport=100,100,32,32,50,50");
    assert!(psnr(&crop(&expected, 64, 64, 100, 100), &png(&proxy, &path).await) >= 30.0);
    assert_eq!(png(&proxy, &parts.path(0, "thumbnail")).await.width, 256);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_missing_part_holds_is_blank_and_said() {
    let parts = Pyramid::in_parts(&[5, 6, 5]);
    let origin = parts.archive(&[0, 2]).await;
    let proxy = Proxy::start(&origin.url()).await;
    let reply = proxy.get(&format!("{}?accept=image/png", parts.path(2, "rendered"))).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert!(
        reply.header("warning").contains("missing (1), and blank"),
        "{}",
        reply.header("warning")
    );
    let picture = Picture::from_png(&reply.body).unwrap();
    let white = crop(&picture, 384, 128, TILE, TILE).samples.iter().all(|&v| v == 255);
    assert!(white, "the eighth tile was in the second part");
    assert!(crop(&picture, 0, 0, TILE, TILE).samples.iter().any(|&v| v != 255));
}
