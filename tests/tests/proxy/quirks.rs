//! Archives as they really answer: the picture is right all the same.

use std::io::Write;

use lightbox_tests::pictures::Picture;
use lightbox_tests::{
    Answer, Archive, EXPLICIT_LITTLE_ENDIAN, Object, Place, Proxy, Received, ScriptedOrigin,
    TestImage,
};
use native_codecs::{jpeg, jpeg2000};
use serde_json::{Value, json};

const IMAGE: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3";
const FRAME: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3/frames/1";
const METADATA: &str = "/studies/2.25.1001/series/2.25.1001.2/instances/2.25.1001.2.3/metadata";
const LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const RELATED: &str = "multipart/related; type=\"application/octet-stream\"";

/// Values that hold line ends and dashes, as pixels do.
fn image() -> TestImage {
    let pixels =
        b"ab\r\n--other\n\r\n\0\xFF--\r\ncdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLM".to_vec();
    TestImage::new(8, 8, pixels[..64].to_vec())
}

/// The archive of `image`, whose frame is answered so, and which has no objects.
async fn frame_as(
    answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> (ScriptedOrigin, Proxy) {
    let origin = ScriptedOrigin::start().await;
    let metadata = image().metadata().to_string();
    origin.on(METADATA, move |_| Answer::json(metadata.clone()));
    origin.on(FRAME, answer);
    let proxy = Proxy::start(&origin.url()).await;
    (origin, proxy)
}

async fn assert_drawn(proxy: &Proxy, what: &str) {
    let reply = proxy.get(&format!("{FRAME}/rendered?accept=image/png")).await;
    assert_eq!(reply.status(), 200, "{what}: {}", reply.text());
    let picture = Picture::from_png(&reply.body).unwrap();
    assert_eq!(picture.samples, image().pixels, "{what}");
}

fn body(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

// Multipart ----------------------------------------------------------------------------------------

#[tokio::test]
async fn multipart_is_read_as_it_is_found_in_the_wild() {
    let pixels = image().pixels;
    let typed = format!("Content-Type: application/octet-stream; transfer-syntax={LITTLE_ENDIAN}");
    let typed = typed.as_bytes();
    let related = |boundary: &str| format!("{RELATED}; boundary={boundary}");
    let cases: Vec<(&str, String, Vec<u8>)> = vec![
        ("lines that end with LF", related("b"), body(&[b"--b\n", typed, b"\n\n", &pixels, b"\n--b--\n"])),
        ("no headers", related("b"), body(&[b"--b\r\n\r\n", &pixels, b"\r\n--b--\r\n"])),
        ("no boundary parameter", RELATED.into(), body(&[b"--x\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--x--"])),
        ("another boundary than said", related("b"), body(&[b"--c\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--c--"])),
        ("multipart in name only", RELATED.into(), pixels.clone()),
        ("a single part", format!("application/octet-stream; transfer-syntax={LITTLE_ENDIAN}"), pixels.clone()),
        ("a quoted boundary with dots and =", related("\"a.b=c\""), body(&[b"--a.b=c\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--a.b=c--"])),
        ("a boundary in single quotes", related("'b'"), body(&[b"--b\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--b--"])),
        ("preamble and epilogue", related("b"), body(&[b"hello\r\n\r\n--b\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--b--\r\nbye"])),
        ("headers that end with a semicolon", format!("{};", related("b")), body(&[b"--b\r\n", typed, b";\r\n\r\n", &pixels, b"\r\n--b--"])),
        ("no end", related("b"), body(&[b"--b\r\n", typed, b"\r\n\r\n", &pixels])),
        ("a wrong length of the part", related("b"), body(&[b"--b\r\nContent-Length: 7\r\n", typed, b"\r\n\r\n", &pixels, b"\r\n--b--"])),
        ("the syntax in quotes", related("b"), body(&[b"--b\r\nContent-Type: application/octet-stream; transfer-syntax=\"1.2.840.10008.1.2.1\"\r\n\r\n", &pixels, b"\r\n--b--"])),
        ("the syntax of the answer alone", format!("{RELATED}; transfer-syntax={LITTLE_ENDIAN}; boundary=b"), body(&[b"--b\r\nContent-Type: application/octet-stream\r\n\r\n", &pixels, b"\r\n--b--"])),
    ];
    for (what, content_type, bytes) in cases {
        for with_length in [true, false] {
            let (content_type, bytes) = (content_type.clone(), bytes.clone());
            let (_origin, proxy) = frame_as(move |_| {
                if with_length {
                    return Answer::new(200, &content_type, bytes.clone());
                }
                let chunks = bytes.chunks(7).map(bytes::Bytes::copy_from_slice).collect();
                Answer::chunks(chunks, std::time::Duration::ZERO)
                    .header("content-type", &content_type)
            })
            .await;
            assert_drawn(&proxy, &format!("{what}, length: {with_length}")).await;
        }
    }
}

#[tokio::test]
async fn an_object_comes_as_a_single_part_too() {
    let origin = ScriptedOrigin::start().await;
    let file = image().file();
    for kind in ["application/dicom", "application/octet-stream"] {
        let file = file.clone();
        origin.on(IMAGE, move |_| Answer::new(200, kind, file.clone()));
        // No metadata and no frames: 501 and 404.
        origin.on(METADATA, |_| Answer::status(501));
        let proxy = Proxy::start(&origin.url()).await;
        assert_drawn(&proxy, kind).await;
        assert_eq!(proxy.get(&format!("{IMAGE}/thumbnail")).await.status(), 200, "{kind}");
    }
}

// What the bytes are -------------------------------------------------------------------------------

async fn assert_coded(stream: Vec<u8>, part: &str, tolerance: u8) {
    let origin = ScriptedOrigin::start().await;
    let metadata = TestImage::ramp(32, 64).metadata().to_string();
    origin.on(METADATA, move |_| Answer::json(metadata.clone()));
    let said = part.to_owned();
    origin.on(FRAME, move |_| Answer::multipart("application/octet-stream", &[(&said, &stream)]));
    let proxy = Proxy::start(&origin.url()).await;
    let reply = proxy.get(&format!("{FRAME}/rendered?accept=image/png")).await;
    assert_eq!(reply.status(), 200, "{part}: {}", reply.text());
    let (seen, meant) = (Picture::from_png(&reply.body).unwrap(), TestImage::ramp(32, 64).pixels);
    let far = seen.samples.iter().zip(&meant).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(far <= tolerance, "{part}: {far}");
}

#[tokio::test]
async fn the_bytes_tell_their_codec_whatever_they_are_called() {
    let ramp = TestImage::ramp(32, 64).pixels;
    let samples: Vec<i32> = ramp.iter().map(|&sample| sample.into()).collect();
    let j2k =
        jpeg2000::encode(&[&samples], 64, 32, 8, false, jpeg2000::Compression::Lossless).unwrap();
    let jpeg =
        jpeg::encode(&ramp, 64, 32, jpeg::Channels::Grey, 100, jpeg::Subsampling::S444).unwrap();
    for part in [
        "image/jp2",
        "image/jpeg",
        "application/octet-stream",
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.90",
        "application/octet-stream; transfer-syntax=*",
    ] {
        assert_coded(j2k.clone(), part, 0).await;
    }
    // Lossless by its name, baseline by its bytes; and the reverse is in the corpus.
    for part in ["image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70", "image/jp2"] {
        assert_coded(jpeg.clone(), part, 3).await;
    }
    // Decompressed without a word: metadata say JPEG 2000 is stored.
    assert_coded(ramp, &format!("application/octet-stream; transfer-syntax={LITTLE_ENDIAN}"), 0)
        .await;
}

// Forms of Accept ----------------------------------------------------------------------------------

fn octets(frame: &[u8]) -> Answer {
    let part = format!("application/octet-stream; transfer-syntax={LITTLE_ENDIAN}");
    Answer::multipart("application/octet-stream", &[(&part, frame)])
}

#[tokio::test]
async fn the_form_that_an_archive_takes_is_found_and_remembered() {
    type Takes = fn(&str) -> bool;
    let archives: [(&str, u16, Takes); 3] = [
        ("unquoted", 406, |accept| {
            accept == "multipart/related; type=application/octet-stream; transfer-syntax=*"
        }),
        ("single part", 415, |accept| accept == "application/octet-stream; transfer-syntax=*"),
        ("quoted", 400, |accept| {
            accept == "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*"
        }),
    ];
    for (what, refusal, takes) in archives {
        let pixels = image().pixels;
        let (origin, proxy) = frame_as(move |request| {
            let accept = request.header("accept");
            match (takes(accept), accept.starts_with("multipart")) {
                (false, _) => Answer::status(refusal),
                (true, true) => octets(&pixels),
                (true, false) => Answer::new(200, "application/octet-stream", pixels.clone()),
            }
        })
        .await;
        assert_drawn(&proxy, what).await;
        let before = origin.requests();
        assert_drawn(&proxy, what).await;
        let frames = origin.received().into_iter().skip(before).filter(|r| r.path == FRAME).count();
        assert_eq!(frames, 1, "{what}: it is remembered");
    }
}

#[tokio::test]
async fn an_archive_that_only_transcodes_is_asked_for_objects_first_and_for_frames_in_the_end() {
    let origin = ScriptedOrigin::start().await;
    image().put_on(&origin);
    let pixels = image().pixels;
    origin.on(FRAME, move |request| {
        if request.header("accept").contains("transfer-syntax=1.2.840.10008.1.2.1") {
            octets(&pixels)
        } else {
            Answer::status(406)
        }
    });
    let metadata = image().metadata().to_string();
    origin.on(METADATA, move |_| Answer::json(metadata.clone()));
    let proxy = Proxy::start(&origin.url()).await;
    for _ in 0..8 {
        assert_drawn(&proxy, "explicit little endian").await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once() {
    let (origin, proxy) = frame_as(|_| Answer::status(404)).await;
    origin.on(METADATA, |_| Answer::status(404));
    assert_eq!(proxy.get(&format!("{FRAME}/rendered")).await.status(), 404);
    assert_eq!(origin.received().iter().filter(|request| request.path == FRAME).count(), 1);
}

#[tokio::test]
async fn json_is_asked_for_in_the_form_that_strict_archives_want() {
    let pixels = image().pixels;
    let (origin, proxy) = frame_as(move |_| octets(&pixels)).await;
    let metadata = image().metadata().to_string();
    origin.on(METADATA, move |request| match request.header("accept") {
        "application/dicom+json" => Answer::json(metadata.clone()),
        _ => Answer::status(406),
    });
    assert_drawn(&proxy, "exactly application/dicom+json").await;
    let metadata = image().metadata().to_string();
    origin.on(METADATA, move |request| match request.header("accept") {
        "application/json" => Answer::new(200, "application/json", metadata.clone()),
        _ => Answer::status(406),
    });
    let proxy = Proxy::start(&origin.url()).await;
    assert_drawn(&proxy, "exactly application/json").await;
}

#[tokio::test]
async fn an_object_too_large_for_its_archive_is_an_error_and_the_next_is_well() {
    let pixels = image().pixels;
    let (origin, proxy) = frame_as(move |_| octets(&pixels)).await;
    origin.otherwise(|_| Answer::status(406));
    let large = IMAGE.replace("1001.2.3", "1001.2.9");
    for _ in 0..3 {
        let reply = proxy.get(&format!("{large}/thumbnail")).await;
        assert_eq!(reply.status(), 502, "{}", reply.text());
        assert_drawn(&proxy, "the next").await;
    }
}

// Metadata -----------------------------------------------------------------------------------------

async fn drawn_with(metadata: Value, what: &str) {
    let pixels = image().pixels;
    let (origin, proxy) = frame_as(move |_| octets(&pixels)).await;
    let text = metadata.to_string();
    origin.on(METADATA, move |_| Answer::json(text.clone()));
    assert_drawn(&proxy, what).await;
}

#[tokio::test]
async fn metadata_are_read_as_archives_write_them() {
    let plain = image().metadata();
    let with = |changes: Value| {
        let mut all = plain.clone();
        for (tag, attribute) in changes.as_object().unwrap() {
            all[0][tag] = attribute.clone();
        }
        all
    };
    drawn_with(plain[0].clone(), "one object, no array").await;
    drawn_with(
        with(json!({
            "00280010": {"vr": "US", "Value": ["8"]},
            "00280011": {"vr": "US", "Value": [8.0]},
            "00281050": {"vr": "DS", "Value": ["128"]},
            "00280008": {"vr": "IS", "Value": ["1"]},
        })),
        "numbers as text and text as numbers",
    )
    .await;
    drawn_with(
        with(json!({"00080020": {"vr": "DA"}, "00080090": {"vr": "PN", "Value": [null]}, "00321060": null})),
        "nulls and no values",
    )
    .await;
    drawn_with(
        with(json!({"00180088": {"vr": "DS", "Value": {"odd": 1}}, "00081140": {"vr": "SQ", "Value": [7]}})),
        "attributes that make no sense",
    )
    .await;
}

#[tokio::test]
async fn json_comes_compressed_and_pixels_must_not() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let pixels = image().pixels;
    let (origin, proxy) = frame_as(move |_| octets(&pixels)).await;
    let metadata = gzip(image().metadata().to_string().as_bytes());
    origin.on(METADATA, move |request| {
        assert_eq!(request.header("accept-encoding"), "gzip");
        Answer::json(metadata.clone()).header("content-encoding", "gzip")
    });
    assert_drawn(&proxy, "gzip").await;
    let packed = gzip(&image().pixels);
    origin.on(FRAME, move |_| {
        Answer::new(200, "application/octet-stream", packed.clone())
            .header("content-encoding", "gzip")
    });
    assert_eq!(
        proxy.get(&format!("{FRAME}/rendered")).await.status(),
        404,
        "there is no object either"
    );
}

// Tables -------------------------------------------------------------------------------------------

/// Metadata of a palette image, its tables as these members say.
fn palette(data: impl Fn(&str) -> Value) -> Value {
    let mut metadata = image().metadata();
    metadata[0]["00280004"] = json!({"vr": "CS", "Value": ["PALETTE COLOR"]});
    for (tag, data_tag) in
        [("00281101", "00281201"), ("00281102", "00281202"), ("00281103", "00281203")]
    {
        metadata[0][tag] = json!({"vr": "US", "Value": [256, 0, 16]});
        let data = data(data_tag);
        if !data.is_null() {
            metadata[0][data_tag] = data;
        }
    }
    metadata
}

/// Bytes of a table that is the identity.
fn identity() -> Vec<u8> {
    (0..256_u16).flat_map(|i| (i * 257).to_le_bytes()).collect()
}

#[tokio::test]
async fn tables_are_asked_of_the_archive_whatever_host_it_names_and_of_nobody_else() {
    let elsewhere = ScriptedOrigin::start().await;
    let pixels = image().pixels;
    let (origin, proxy) = frame_as(move |_| octets(&pixels)).await;
    origin.on("/studies/1/bulk", |_| {
        Answer::multipart("application/octet-stream", &[("application/octet-stream", &identity())])
    });
    for uri in ["http://archive.internal:8080/studies/1/bulk", "/studies/1/bulk"] {
        let text = palette(|_| json!({"vr": "OW", "BulkDataURI": uri})).to_string();
        origin.on(METADATA, move |_| Answer::json(text.clone()));
        let reply = proxy.get(&format!("{FRAME}/rendered?accept=image/png")).await;
        assert_eq!(reply.status(), 200, "{uri}: {}", reply.text());
        let picture = Picture::from_png(&reply.body).unwrap();
        let grey: Vec<u8> =
            picture.samples.chunks(picture.channels).map(|pixel| pixel[1]).collect();
        assert_eq!(grey, image().pixels, "{uri}");
    }
    // A place that is not the archive's, and tables that are left out: the object has them, or is not there.
    let foreign = format!("{}/secret", elsewhere.url());
    for text in [
        palette(|_| json!({"vr": "OW", "BulkDataURI": foreign.clone()})).to_string(),
        palette(|_| Value::Null).to_string(),
    ] {
        origin.on(METADATA, move |_| Answer::json(text.clone()));
        let before = origin.requests();
        assert_eq!(proxy.get(&format!("{FRAME}/rendered")).await.status(), 404);
        assert!(origin.received().iter().skip(before).any(|request| request.path == IMAGE));
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn tables_do_not_wait_for_the_place_of_a_frame_that_is_given_up() {
    let pixels = image().pixels;
    let (origin, _) = frame_as(|_| Answer::stalled("application/octet-stream", "never")).await;
    let mut metadata = palette(|_| json!({"vr": "OW", "BulkDataURI": "/studies/1/bulk"}));
    metadata[0]["00280008"] = json!({"vr": "IS", "Value": [3]});
    origin.on(METADATA, move |_| Answer::json(metadata.to_string()));
    origin.on(&format!("{IMAGE}/frames/2"), move |_| octets(&pixels));
    origin.on("/studies/1/bulk", |_| {
        Answer::multipart("application/octet-stream", &[("application/octet-stream", &identity())])
    });
    let keys = [("upstream_concurrency", "1"), ("request_timeout", "4s")];
    let proxy = Proxy::start_with(&origin.url(), &keys).await;
    for _ in 0..6 {
        let reply = proxy.get(&format!("{IMAGE}/thumbnail")).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
    }
}

// Searches -----------------------------------------------------------------------------------------

/// An archive of a series of five images, grey by their number, that answers a search with what `page`
/// makes of offset and limit.
async fn series(page: fn(usize, usize) -> std::ops::Range<usize>) -> Proxy {
    let origin = ScriptedOrigin::start().await;
    origin.on("/studies/2.25.1001/series/2.25.1001.2/instances", move |request| {
        let query = request.query.clone().unwrap_or_default();
        let number = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let one = |n: usize| {
            json!({
                "00080018": {"vr": "UI", "Value": [format!("2.25.1001.2.{n}")]},
                // Backwards: the order of an archive says nothing.
                "00200013": {"vr": "IS", "Value": [5 - n]},
            })
        };
        let found: Vec<Value> =
            page(number("offset="), number("limit=")).filter(|&n| n < 5).map(one).collect();
        if found.is_empty() { Answer::status(204) } else { Answer::json(json!(found).to_string()) }
    });
    origin.otherwise(|request| {
        let number: u8 = request
            .path
            .split(['/', '.'])
            .filter_map(|word| word.parse().ok())
            .find(|n| (0..5).contains(n) && request.path.contains(&format!("2.25.1001.2.{n}/")))
            .unwrap_or(9);
        let image = TestImage::new(2, 2, vec![number * 40; 4]);
        if request.path.ends_with("/metadata") {
            Answer::json(image.metadata().to_string())
        } else if request.path.contains("/frames/") {
            octets(&image.pixels)
        } else {
            Answer::status(404)
        }
    });
    let proxy = Proxy::start(&origin.url()).await;
    // The origin lives as long as the test's process.
    std::mem::forget(origin);
    proxy
}

#[tokio::test]
async fn a_series_is_read_to_its_end_however_it_is_cut() {
    for (what, page) in [
        ("all at once", (|offset, _| offset..5) as fn(usize, usize) -> std::ops::Range<usize>),
        ("two at a time", |offset, _| offset..offset + 2),
        ("offset is ignored", |_, _| 0..5),
        ("one more than asked for", |offset, limit| offset..offset + limit + 1),
    ] {
        let proxy = series(page).await;
        let path = "/studies/2.25.1001/series/2.25.1001.2/thumbnail?accept=image/png";
        let reply = proxy.get(path).await;
        assert_eq!(reply.status(), 200, "{what}: {}", reply.text());
        // The middle by Instance Number, index 2 of 5: 3, of the instance that ends with 2.
        assert_eq!(Picture::from_png(&reply.body).unwrap().samples, [80; 4], "{what}");
    }
    let empty = series(|_, _| 0..0).await;
    assert_eq!(empty.get("/studies/2.25.1001/series/2.25.1001.2/thumbnail").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_whose_only_object_refers_to_an_image_that_is_gone_has_a_card() {
    let image = Object::default().text(0x0008_1150, "UI", "1.2.840.10008.5.1.4.1.1.2").text(
        0x0008_1155,
        "UI",
        "2.25.9.9.9",
    );
    let series =
        Object::default().items(0x0008_1140, vec![image]).text(0x0020_000E, "UI", "2.25.9.9");
    let state = Object::new(&Place::new(1, 1, 1), "1.2.840.10008.5.1.4.1.1.11.1", "PR")
        .items(0x0008_1115, vec![series])
        .text(0x2050_0020, "CS", "INVERSE");
    let file = state.file(EXPLICIT_LITTLE_ENDIAN);
    let archive = Archive::of(&[("state.dcm", file)]).await;
    let proxy = Proxy::start(&archive.url()).await;
    let path = &archive.paths()[0];
    let (series, _) = path.split_once("/instances/").unwrap();
    let (study, _) = series.split_once("/series/").unwrap();
    let card = proxy.get(&format!("{path}/thumbnail")).await;
    assert_eq!(card.status(), 200, "{}", card.text());
    for path in [series, study] {
        let reply = proxy.get(&format!("{path}/thumbnail")).await;
        assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "image/jpeg");
    }
}
