//! Section 3: media types and negotiation, R3.1 to R3.6.

use http::Method;
use lightbox_tests::pictures::Picture;
use lightbox_tests::{Corpus, Place, Proxy};

use crate::archive::{
    Archive, Asked, CHROMIUM_IMG, CHROMIUM_NAVIGATION, PNGS, ask, ask_without_accept, equal, levels,
};
use crate::objects::{
    ECG, FINDING, FRAMES, NOISE, ORDER, PDF, RAMP, REPORT, REPORTED, SLOPE, document,
};
use crate::walk::{Requirement, Verdict, check, not_applicable, ruled, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R3.1 a", "image/jpeg is 8-bit baseline", check!(jpeg_is_baseline)),
    tried("R3.1 b", "a single frame as jpeg, gif, png, jp2, webp", check!(types_of_one_frame)),
    tried("R3.1 c", "a report as html, plain text, xml", check!(types_of_a_report)),
    tried("R3.1 d", "a video as video/mp4, with Range", check!(video_is_passed_on)),
    not_applicable("R3.1 e", "image/jph, image/jxl, text/rtf", "optional, not offered"),
    tried("R3.2 a", "thumbnails of texts are images", check!(thumbnails_of_texts)),
    tried("R3.2 b", "a PDF is its stored bytes, or 406", check!(pdf_is_stored_bytes)),
    ruled("R3.3 a", "no Accept header is 406", "design §3: absent is */*; 406 only when strict"),
    tried("R3.3 b", "no Accept header is */*", check!(no_accept)),
    tried("R3.3 c", "strict: 406, even with accept=", check!(strict_no_accept)),
    tried("R3.4 a", "the best of accept=, else of Accept", check!(accept_query_then_header)),
    tried("R3.4 b", "a wildcard gives the category's default", check!(wildcards_give_defaults)),
    tried("R3.4 c", "*/* of a collection is multipart", check!(anything_of_a_collection)),
    tried("R3.4 d", "406 where nothing fits", check!(nothing_fits)),
    tried("R3.5 a", "weights decide, 1 where absent", check!(weights)),
    tried("R3.5 b", "the most specific range decides; 0 excludes", check!(specific_ranges)),
    tried("R3.5 c", "invalid values and parameters are ignored", check!(invalid_ranges)),
    tried("R3.5 d", "DICOM and rendered types named together: 400", check!(mixed_header)),
    tried("R3.5 e", "browsers and viewers get what they can show", check!(browsers)),
    tried("R3.5 f", "type=\"image/*\" and unquoted types are read", check!(loose_multipart)),
    tried("R3.6 a", "type, length and location of one picture", check!(headers_of_a_picture)),
    tried("R3.6 b", "no transfer-syntax on rendered types", check!(no_transfer_syntax)),
    tried("R3.6 c", "texts say their charset", check!(texts_say_their_charset)),
    tried("R3.6 d", "texts are escaped and without script", check!(texts_are_safe)),
];

pub(crate) fn rendered(place: &Place) -> String {
    format!("{}/rendered", place.path())
}

/// Header of `image/jpeg`: SOF0 and 8 bits (T.81 Table B.1).
fn is_baseline(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..).unwrap_or_default();
    while let [0xFF, marker, high, low, precision, ..] = *rest {
        match marker {
            0xC0 => return precision == 8,
            0xC1..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return false,
            _ => {}
        }
        rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
    }
    false
}

async fn jpeg_is_baseline(archive: &Archive) -> Verdict {
    for place in [RAMP, SLOPE, FRAMES, Place::new(5006, 1, 1)] {
        for query in ["", "?quality=1", "?quality=100", "?viewport=33,33", "?iccprofile=srgb"] {
            let path = format!("{}{query}", rendered(&place));
            let asked = archive.get_accept(&path, "image/jpeg").await;
            let baseline = is_baseline(&asked.typed("image/jpeg")?.reply.body);
            asked.must(baseline, "baseline, 8 bits a sample")?;
        }
    }
    Ok(())
}

async fn types_of_one_frame(archive: &Archive) -> Verdict {
    let samples = (0..=255).collect::<Vec<u8>>().repeat(64);
    let source = Picture { width: 256, height: 64, channels: 1, samples };
    for media_type in ["image/jpeg", "image/gif", "image/png", "image/jp2", "image/webp"] {
        for resource in ["rendered", "thumbnail", "frames/1/rendered"] {
            let path = format!("{}/{resource}", RAMP.path());
            let asked = archive.get_accept(&path, media_type).await;
            let picture = asked.typed(media_type)?.first_picture()?;
            let psnr = source.difference(&picture).map_err(|why| asked.wrong(why))?.psnr;
            asked.must(psnr > 40.0, format_args!("the ramp within 40 dB, not {psnr:.1}"))?;
        }
    }
    Ok(())
}

async fn types_of_a_report(archive: &Archive) -> Verdict {
    for media_type in ["text/html", "text/plain", "text/xml"] {
        let asked = archive.get_accept(&rendered(&REPORT), media_type).await;
        let text = asked.typed(media_type)?.reply.text();
        for part in ["Grüße, 肺", "Diagnostic imaging report", "Finding"] {
            asked.must(text.contains(part), format_args!("a text with {part:?}"))?;
        }
        let by_query = format!("{}?accept={media_type}", rendered(&REPORT));
        archive.get(&by_query).await.typed(media_type)?;
    }
    Ok(())
}

async fn video_is_passed_on(_archive: &Archive) -> Verdict {
    let Some(corpus) = Corpus::find_or_say("videos of the walk") else { return Ok(()) };
    let path = "video/syn_h264_hp41.dcm";
    let entry = corpus.entries.iter().find(|entry| entry.path == path).ok_or("no such entry")?;
    let file = corpus.read(path);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("video.dcm"), &file).unwrap();
    let proxy = Proxy::demo(Some(folder.path())).await;
    let resource = format!("{}/rendered", entry.url_path().ok_or("a video without UIDs")?);
    let whole = ask(&proxy, Method::GET, &resource, &[("Accept", "*/*")]).await;
    whole.typed("video/mp4")?;
    let stream = &whole.reply.body;
    // Stored as a bare stream, which no player takes: an MP4 file begins with its type.
    whole.must(stream.get(4..8) == Some(b"ftyp"), "an MP4 file")?;
    let range = [("Accept", "*/*"), ("Range", "bytes=0-")];
    let asked = ask(&proxy, Method::GET, &resource, &range).await;
    asked.status(206)?.must(asked.reply.body == *stream, "all of it, as a range")?;
    let range = [("Accept", "*/*"), ("Range", "bytes=100-199")];
    is_range(&ask(&proxy, Method::GET, &resource, &range).await, stream, 100, 199)
}

/// 206 with these bytes, first to last, of the whole.
pub(crate) fn is_range(asked: &Asked, whole: &[u8], first: usize, last: usize) -> Verdict {
    let said = format!("bytes {first}-{last}/{}", whole.len());
    asked.status(206)?.must(asked.header("content-range") == said, &said)?;
    asked.must(asked.reply.body == whole[first..=last], "these bytes").map(drop)
}

async fn thumbnails_of_texts(archive: &Archive) -> Verdict {
    for place in [REPORT, PDF] {
        let path = format!("{}/thumbnail", place.path());
        archive.get(&path).await.typed("image/jpeg")?.decoded()?;
        archive.get_accept(&path, "image/png").await.typed("image/png")?.decoded()?;
        archive.get_accept(&path, "text/html").await.status(406)?;
    }
    Ok(())
}

async fn pdf_is_stored_bytes(archive: &Archive) -> Verdict {
    for accept in ["application/pdf", "*/*", CHROMIUM_NAVIGATION, "application/*"] {
        let asked = archive.get_accept(&rendered(&PDF), accept).await;
        let same = asked.typed("application/pdf")?.reply.body == document();
        asked.must(same, "the stored document")?;
    }
    for accept in ["text/html", "text/plain", "image/jpeg"] {
        archive.get_accept(&rendered(&PDF), accept).await.status(406)?;
    }
    Ok(())
}

async fn no_accept(archive: &Archive) -> Verdict {
    let proxy = archive.proxy();
    ask_without_accept(proxy, &rendered(&RAMP)).await.typed("image/jpeg")?;
    ask_without_accept(proxy, &rendered(&REPORT)).await.typed("text/html")?;
    ask_without_accept(proxy, &rendered(&PDF)).await.typed("application/pdf")?;
    let query = format!("{}?accept=image/png", rendered(&RAMP));
    ask_without_accept(proxy, &query).await.typed("image/png")?;
    let study = format!("{}/rendered", ORDER.study_path());
    ask_without_accept(proxy, &study).await.typed("multipart/related").map(drop)
}

async fn strict_no_accept(archive: &Archive) -> Verdict {
    let proxy = archive.strict().await;
    for resource in [rendered(&RAMP), format!("{}/thumbnail", RAMP.path())] {
        ask_without_accept(proxy, &resource).await.status(406)?;
        ask_without_accept(proxy, &format!("{resource}?accept=image/jpeg")).await.status(406)?;
    }
    ask(proxy, Method::GET, &rendered(&RAMP), &[("Accept", "*/*")])
        .await
        .typed("image/jpeg")
        .map(drop)
}

async fn accept_query_then_header(archive: &Archive) -> Verdict {
    for (query, header, media_type) in [
        ("image/png,image/gif;q=0.5", "image/jpeg", "image/png"),
        ("image/avif", "image/png", "image/png"),
        ("image/avif", "*/*", "image/jpeg"),
        ("video/mp4", "image/gif, image/png;q=0.1", "image/gif"),
    ] {
        let path = format!("{}?accept={query}", rendered(&RAMP));
        archive.get_accept(&path, header).await.typed(media_type)?;
    }
    Ok(())
}

async fn wildcards_give_defaults(archive: &Archive) -> Verdict {
    for (place, accept, media_type) in [
        (RAMP, "*/*", "image/jpeg"),
        (RAMP, "image/*", "image/jpeg"),
        (RAMP, "image/avif, */*;q=0.1", "image/jpeg"),
        (REPORT, "*/*", "text/html"),
        (REPORT, "text/*", "text/html"),
        (REPORT, CHROMIUM_NAVIGATION, "text/html"),
        (PDF, "*/*", "application/pdf"),
    ] {
        archive.get_accept(&rendered(&place), accept).await.typed(media_type)?;
    }
    Ok(())
}

async fn anything_of_a_collection(archive: &Archive) -> Verdict {
    for level in [
        ORDER.study_path(),
        ORDER.series_path(),
        FRAMES.path(),
        format!("{}/frames/1,2", FRAMES.path()),
    ] {
        let asked = archive.get_accept(&format!("{level}/rendered"), "*/*").await;
        asked.typed("multipart/related")?.has_header("content-type", "type=\"image/jpeg\"")?;
        asked.pictures()?;
    }
    // Every category has its default.
    let asked = archive.get_accept(&format!("{}/rendered", REPORTED.study_path()), "*/*").await;
    let kinds = asked.parts()?;
    let kinds: Vec<&str> =
        kinds.iter().filter_map(|part| part.header("content-type").split(';').next()).collect();
    equal("types of the parts", kinds, vec!["image/jpeg", "text/html", "application/pdf"])
}

async fn nothing_fits(archive: &Archive) -> Verdict {
    for (place, accept) in [
        (RAMP, "text/html"),
        (RAMP, "video/mp4"),
        (RAMP, "application/pdf"),
        (RAMP, "image/avif"),
        (RAMP, "application/dicom"),
        (RAMP, "image/jpeg;q=0, image/png;q=0"),
        (RAMP, "*/*;q=0"),
        (REPORT, "image/jpeg"),
        (REPORT, "image/*"),
        (REPORT, "application/pdf"),
        (REPORT, r#"multipart/related; type="image/jpeg""#),
        (ECG, "*/*"),
        (FRAMES, "text/html"),
    ] {
        archive.get_accept(&rendered(&place), accept).await.status(406)?;
    }
    for level in levels(&RAMP) {
        archive.get_accept(&format!("{level}/rendered"), "text/html").await.status(406)?;
        archive.get_accept(&format!("{level}/thumbnail"), "text/html").await.status(406)?;
    }
    let query = format!("{}?accept=image/avif", rendered(&RAMP));
    archive.get_accept(&query, "text/html").await.status(406).map(drop)
}

async fn are_typed(archive: &Archive, rows: &[(&str, &str)]) -> Verdict {
    for (accept, media_type) in rows {
        archive.get_accept(&rendered(&RAMP), accept).await.typed(media_type)?;
    }
    Ok(())
}

async fn weights(archive: &Archive) -> Verdict {
    let rows = [
        ("image/png;q=0.9, image/jpeg;q=0.2", "image/png"),
        ("image/png;q=0.2, image/jpeg;q=0.9", "image/jpeg"),
        ("image/png;q=0.999, image/gif", "image/gif"),
        ("text/html, image/png;q=0.001", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/png ; q=0.5 , image/jpeg;Q=0.1", "image/png"),
    ];
    are_typed(archive, &rows).await
}

async fn specific_ranges(archive: &Archive) -> Verdict {
    let rows = [
        ("image/*;q=0.1, image/png", "image/png"),
        ("*/*, image/jpeg;q=0.1, image/gif;q=0.2, image/webp;q=0.1, image/jp2;q=0.1", "image/png"),
        ("image/*, image/jpeg;q=0.5, image/gif;q=0.5, image/webp;q=0, image/jp2;q=0", "image/png"),
    ];
    are_typed(archive, &rows).await?;
    let asked = archive.get_accept(&rendered(&RAMP), "image/jpeg;q=0, image/*").await;
    let kind = asked.status(200)?.header("content-type");
    asked.must(kind.starts_with("image/") && kind != "image/jpeg", "any image but a JPEG").map(drop)
}

async fn invalid_ranges(archive: &Archive) -> Verdict {
    let rows = [
        ("nonsense, image/png", "image/png"),
        ("image/png;level=7", "image/png"),
        ("image/png;q=abc", "image/png"),
        (", ,image/png,,", "image/png"),
        ("image/, /png, image/gif", "image/gif"),
        (r#"image/png;x="a,b;c""#, "image/png"),
    ];
    are_typed(archive, &rows).await
}

async fn mixed_header(archive: &Archive) -> Verdict {
    for accept in ["application/dicom, image/jpeg", "image/png, application/dicom+json;q=0.1"] {
        archive.get_accept(&rendered(&RAMP), accept).await.status(400)?;
    }
    // Not by a wildcard.
    archive
        .get_accept(&rendered(&RAMP), "application/dicom, */*")
        .await
        .typed("image/jpeg")
        .map(drop)
}

async fn browsers(archive: &Archive) -> Verdict {
    let octets = r#"multipart/related; type="application/octet-stream""#;
    for resource in ["rendered", "thumbnail"] {
        for (query, accept) in [
            ("", CHROMIUM_IMG),
            ("", CHROMIUM_NAVIGATION),
            ("?accept=image/jpeg", CHROMIUM_IMG),
            ("?accept=image%2Fjpeg", octets),
            ("", octets),
            ("?viewport=256%2C256", "image/jpeg"),
        ] {
            let path = format!("{}/{resource}{query}", NOISE.path());
            archive.get_accept(&path, accept).await.typed("image/jpeg")?;
        }
        // The study list of OHIF.
        for query in ["?accept=image%2Fjpeg", "?viewport=256%2C256"] {
            let path = format!("{}/{resource}{query}", ORDER.series_path());
            let accept = if query.contains("accept") { octets } else { "image/jpeg" };
            archive.get_accept(&path, accept).await.typed("image/jpeg")?;
        }
    }
    // An <img> shows one picture, whatever it is of.
    for level in [ORDER.study_path(), FRAMES.path()] {
        let asked = archive.get_accept(&format!("{level}/rendered"), CHROMIUM_IMG).await;
        let kind = asked.status(200)?.header("content-type");
        asked.must(kind.starts_with("image/"), "one picture")?.decoded()?;
    }
    Ok(())
}

async fn loose_multipart(archive: &Archive) -> Verdict {
    for (accept, media_type) in [
        (r#"multipart/related; type="image/*""#, "image/jpeg"),
        ("multipart/related; type=image/png", "image/png"),
        ("Multipart/Related;Type=\"image/png\"", "image/png"),
        ("multipart/related; type=image/*; q=0.5", "image/jpeg"),
        ("multipart/related", "image/jpeg"),
        (
            r#"multipart/related; type="image/avif", multipart/related; type="image/png";q=0.1"#,
            "image/png",
        ),
        (
            r#"multipart/related; type="image/png";q=0.2, multipart/related; type="image/gif";q=0.8"#,
            "image/gif",
        ),
    ] {
        for level in [RAMP.study_path(), RAMP.path()] {
            let asked = archive.get_accept(&format!("{level}/rendered"), accept).await;
            let parts = asked.typed("multipart/related")?.parts()?;
            let kinds: Vec<&str> = parts.iter().map(|part| part.header("content-type")).collect();
            asked.must(
                kinds == [media_type],
                format_args!("one part, {media_type}, not {kinds:?}"),
            )?;
        }
    }
    Ok(())
}

async fn headers_of_a_picture(archive: &Archive) -> Verdict {
    let text = (rendered(&REPORT), REPORT.path());
    let frame =
        (format!("{}/frames/2/rendered", FRAMES.path()), format!("{}/frames/2", FRAMES.path()));
    let single =
        [(rendered(&RAMP), RAMP.path()), (format!("{}/thumbnail", RAMP.path()), RAMP.path())];
    for (path, source) in single.into_iter().chain([frame, text]) {
        let asked = archive.get(&path).await;
        let length = asked.reply.body.len().to_string();
        asked.status(200)?.must(!asked.header("content-type").is_empty(), "Content-Type")?;
        asked.must(asked.header("content-length") == length, "its Content-Length")?;
        asked.has_header("content-location", &source)?;
        equal("X-Content-Type-Options", asked.header("x-content-type-options"), "nosniff")?;
    }
    // The picture that stands for a series says which it is.
    let path = format!("{}/rendered", FRAMES.series_path());
    let asked = archive.get_accept(&path, "image/png").await;
    asked
        .status(200)?
        .must(!asked.header("content-location").is_empty(), "Content-Location")
        .map(drop)
}

async fn no_transfer_syntax(archive: &Archive) -> Verdict {
    let paths = [rendered(&RAMP), format!("{}/rendered", ORDER.study_path())];
    for (path, accept) in paths.iter().flat_map(|path| [(path, "*/*"), (path, PNGS)]) {
        let asked = archive.get_accept(path, accept).await;
        let mut kinds = vec![asked.status(200)?.header("content-type").to_owned()];
        if kinds[0].starts_with("multipart") {
            kinds.extend(asked.parts()?.iter().map(|part| part.header("content-type").to_owned()));
        }
        let none = kinds.iter().all(|kind| !kind.contains("transfer-syntax"));
        asked.must(none, "no transfer-syntax parameter")?;
    }
    Ok(())
}

async fn texts_say_their_charset(archive: &Archive) -> Verdict {
    for media_type in ["text/html", "text/plain", "text/xml"] {
        let asked = archive.get_accept(&rendered(&REPORT), media_type).await;
        asked.typed(media_type)?.has_header("content-type", "charset=utf-8")?;
        let multipart = format!("multipart/related; type=\"{media_type}\"");
        let asked = archive.get_accept(&rendered(&REPORT), &multipart).await;
        for part in asked.parts()? {
            let kind = part.header("content-type").to_ascii_lowercase();
            let right = kind.starts_with(media_type) && kind.contains("charset=utf-8");
            asked
                .must(right, format_args!("a part of {media_type} with its charset, not {kind}"))?;
        }
    }
    Ok(())
}

async fn texts_are_safe(archive: &Archive) -> Verdict {
    for media_type in ["text/html", "text/xml"] {
        let asked = archive.get_accept(&rendered(&REPORT), media_type).await;
        let text = asked.typed(media_type)?.reply.text();
        asked.must(!text.to_ascii_lowercase().contains("<script"), "no script")?;
        asked.must(text.contains("&lt;script"), "its text, escaped")?;
    }
    let asked = archive.get_accept(&rendered(&REPORT), "text/plain").await;
    asked.typed("text/plain")?.must(asked.reply.text().contains(FINDING), "the text as it is")?;
    Ok(())
}
