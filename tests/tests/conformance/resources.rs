//! Section 1: resources and paths.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use lightbox_tests::{Answer, PartReader, Place, Proxy, ScriptedOrigin};

use crate::archive::{Archive, Asked, JPEGS, PNGS, ask, equal, levels, near};
use crate::objects::{
    BURNED_IN, BURNED_IN_AROUND, COLOURS, ECG, FLAT_COLOUR, FLAT_GREY, FRAMES, IN_ORDER, LONE_ECG,
    NOT_BURNED_IN, ONE_FRAME, ORDER, PDF, RAMP, REPORT, REPORT_OF_ANOTHER, REPORTED, SLICES, WAVED,
};
use crate::walk::{Requirement, Verdict, check, not_applicable, ruled, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R1.1", "rendered at study, series, instance and frame", check!(rendered_everywhere)),
    tried("R1.2", "thumbnails at the same four levels", check!(thumbnails_everywhere)),
    tried("R1.3 a", "a frame list comes sorted, each frame once", check!(frame_lists_are_sets)),
    tried("R1.3 b", "its commas may be encoded", check!(encoded_commas_in_frame_lists)),
    tried("R1.3 c", "0, negative and other non-numbers are 400", check!(bad_frame_numbers)),
    tried("R1.3 d", "a frame beyond the last is 404", check!(frames_beyond_the_last)),
    tried("R1.3 e", "frames of what is no image are 404", check!(frames_of_no_image)),
    tried("R1.4", "a single-frame object has a frame 1", check!(frame_one_of_a_single_frame)),
    tried("R1.5 a", "a collection renders every instance and frame", check!(every_instance)),
    tried("R1.5 b", "in every photometric interpretation", check!(every_photometric)),
    tried("R1.5 c", "every frame of the sample studies", check!(every_sample)),
    tried("R1.5 d", "every sample has a thumbnail", check!(every_sample_thumbnail)),
    ruled(
        "R1.6 a",
        "collections asked for as a single-part image are 406",
        "design §3: one picture, the representative, 200 and X-Representative; 406 only when strict",
    ),
    tried("R1.6 b", "single-part types get the representative", check!(one_picture_of_many)),
    tried("R1.6 c", "strict: 406, even of a study of one image", check!(strict_collections)),
    tried("R1.6 d", "collections = false: never more than one", check!(no_collections)),
    tried("R1.7 a", "multipart/related; type; a legal boundary", check!(collection_content_type)),
    tried("R1.7 b", "each part has its type and its length", check!(part_headers)),
    tried("R1.7 c", "each part names what it was rendered from", check!(part_locations)),
    tried("R1.7 d", "types are negotiated per part and may mix", check!(mixed_parts)),
    tried("R1.7 e", "order: series, instance, frame numbers", check!(parts_in_order)),
    tried(
        "R1.7 f",
        "the order does not hang on the archive's",
        check!(order_of_a_reversed_archive),
    ),
    tried("R1.7 g", "the first part leaves before the last is fetched", check!(parts_stream)),
    tried("R1.8 a", "multi-frame as multipart: a part per frame", check!(frames_as_parts)),
    tried(
        "R1.8 b",
        "as one still picture: the representative frame",
        check!(frames_as_one_picture),
    ),
    tried("R1.8 c", "as image/gif: animated, with the frame times", check!(animated_gif)),
    tried("R1.8 d", "as image/webp: animated too", check!(animated_webp)),
    tried("R1.9 a", "a frame list as multipart", check!(frame_list_as_parts)),
    tried("R1.9 b", "a frame list as one animated GIF", check!(frame_list_as_gif)),
    tried("R1.9 c", "a frame list as one still picture", check!(frame_list_as_one_picture)),
    tried("R1.10 a", "a thumbnail is one image, of a frame list too", check!(one_thumbnail)),
    tried("R1.10 b", "image/jpeg unless asked otherwise", check!(thumbnails_are_jpeg)),
    tried("R1.10 c", "no patient identity on it", check!(thumbnails_hide_the_patient)),
    not_applicable(
        "R1.10 d",
        "a thumbnail may redirect to a rendered resource",
        "a permission that is not used: thumbnails are answered themselves",
    ),
    not_applicable(
        "R1.10 e",
        "method, sizes and charsets of thumbnails are documented",
        "asks for documentation, not for an answer: docs/http.md",
    ),
    tried("R1.10 f", "thumbnail_label marks a corner, without the patient", check!(labels)),
    tried("R1.11 a", "burned-in texts are not legible on thumbnails", check!(burned_in_texts)),
    tried("R1.11 b", "on rendered they stay", check!(burned_in_texts_on_rendered)),
    tried("R1.11 c", "SR and PDF have a card without identity", check!(cards_hide_the_patient)),
    tried("R1.11 d", "nor around ultrasound regions, which stay", check!(burned_in_around)),
    tried("R1.11 e", "or there is an icon, or they are drawn", check!(burned_in_configured)),
    tried("R1.12 a", "a waveform alone is 406", check!(waveforms_alone)),
    ruled(
        "R1.12 b",
        "in a collection it is left out with 206",
        "design §3: 200 with Warning: 299; 206 is for images that should render",
    ),
    tried("R1.12 c", "left out of collections: 200 and Warning", check!(waveforms_in_collections)),
    tried("R1.12 d", "reports left out of pictures: 200, Warning", check!(reports_in_collections)),
    tried("R1.13", "volumetric, metadata, bulk and pixel data pass through", check!(others_pass)),
    tried("R1.14 a", "malformed UIDs are 400 and reach no archive", check!(malformed_uids)),
    tried("R1.14 b", "leading zeros are tolerated", check!(leading_zeros)),
    tried("R1.14 c", "unknown UIDs are 404", check!(unknown_uids)),
];

async fn rendered_everywhere(archive: &Archive) -> Verdict {
    for level in levels(&RAMP) {
        let path = format!("{level}/rendered");
        let jpeg = archive.get_accept(&path, "image/jpeg").await;
        let size = jpeg.typed("image/jpeg")?.decoded()?.size();
        jpeg.must(size == (256, 64), format_args!("256 × 64, not {size:?}"))?;
        let parts = archive.get_accept(&path, PNGS).await;
        let pictures = parts.pictures()?;
        parts.must(pictures.len() == 1, "one part")?;
        let row: Vec<u8> = (0..=255).collect();
        near(&path, &pictures[0].first().samples, &row.repeat(64), 0)?;
    }
    Ok(())
}

async fn thumbnails_everywhere(archive: &Archive) -> Verdict {
    for level in levels(&RAMP) {
        let asked = archive.get(&format!("{level}/thumbnail?viewport=32,32")).await;
        let size = asked.typed("image/jpeg")?.decoded()?.size();
        asked.must(size == (32, 8), format_args!("32 × 8, not {size:?}"))?;
    }
    Ok(())
}

/// The frames of [`FRAMES`], whose greys are ten times their numbers.
async fn frame_greys(archive: &Archive, list: &str) -> Result<Vec<u8>, String> {
    let path = format!("{}/frames/{list}/rendered", FRAMES.path());
    archive.get_accept(&path, PNGS).await.greys()
}

async fn frame_lists_are_sets(archive: &Archive) -> Verdict {
    for list in ["3,1,3", "1,3", "3,3,1,1"] {
        equal(list, frame_greys(archive, list).await?, vec![10, 30])?;
    }
    Ok(())
}

async fn encoded_commas_in_frame_lists(archive: &Archive) -> Verdict {
    for list in ["2%2C4", "4%2c2"] {
        equal(list, frame_greys(archive, list).await?, vec![20, 40])?;
    }
    Ok(())
}

async fn bad_frame_numbers(archive: &Archive) -> Verdict {
    for list in ["0", "-1", "1.0", "x", "1,0", "1,,2", "1,", ",1", "1-3", "%201", "4294967296"] {
        for resource in ["rendered", "thumbnail"] {
            let path = format!("{}/frames/{list}/{resource}", FRAMES.path());
            archive.get(&path).await.status(400)?;
        }
    }
    Ok(())
}

async fn frames_beyond_the_last(archive: &Archive) -> Verdict {
    for list in ["6", "1,6", "4000000000"] {
        for accept in ["image/jpeg", JPEGS] {
            let path = format!("{}/frames/{list}/rendered", FRAMES.path());
            archive.get_accept(&path, accept).await.status(404)?;
        }
        archive.get(&format!("{}/frames/{list}/thumbnail", FRAMES.path())).await.status(404)?;
    }
    archive.get(&format!("{}/frames/2/rendered", RAMP.path())).await.status(404).map(drop)
}

async fn frames_of_no_image(archive: &Archive) -> Verdict {
    for place in [REPORT, PDF, ECG] {
        archive.get(&format!("{}/frames/1/rendered", place.path())).await.status(404)?;
    }
    Ok(())
}

async fn frame_one_of_a_single_frame(archive: &Archive) -> Verdict {
    let whole = archive.png(&format!("{}/rendered", RAMP.path())).await?;
    let frame = archive.png(&format!("{}/frames/1/rendered", RAMP.path())).await?;
    near("frame 1", &frame.samples, &whole.samples, 0)
}

async fn every_instance(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&format!("{}/rendered", ORDER.study_path()), PNGS).await;
    let mut greys = asked.status(200)?.greys()?;
    greys.sort_unstable();
    equal("the greys of all parts", greys, IN_ORDER.to_vec())
}

async fn every_photometric(archive: &Archive) -> Verdict {
    for number in 1..=6 {
        let place = Place::new(5006, 1, number);
        let picture = archive.png(&format!("{}/rendered", place.path())).await?;
        let expected = match picture.channels {
            1 => vec![FLAT_GREY; 64],
            _ if number > 4 => vec![FLAT_GREY; 192],
            _ => FLAT_COLOUR.repeat(64),
        };
        near(&place.path(), &picture.samples, &expected, 1)?;
    }
    let asked = archive.get_accept(&format!("{}/rendered", COLOURS.series_path()), PNGS).await;
    equal("parts of all interpretations", asked.pictures()?.len(), 6)
}

async fn every_sample(archive: &Archive) -> Verdict {
    let mut frames: BTreeMap<String, u32> = BTreeMap::new();
    for sample in archive.samples() {
        *frames.entry(sample.path.study.to_string()).or_default() += sample.number_of_frames;
    }
    equal("enough studies to look at", frames.len() >= 5, true)?;
    for (study, frames) in frames {
        let path = format!("/studies/{study}/rendered?viewport=64,64");
        let asked = archive.get_accept(&path, JPEGS).await;
        let pictures = asked.status(200)?.pictures()?;
        // A presentation state among them shows some a second time.
        let enough = pictures.len() >= frames as usize;
        asked.must(enough, format_args!("{frames} parts, not {}", pictures.len()))?;
        let touch = pictures.iter().all(|p| p.size().0.max(p.size().1) == 64);
        asked.must(touch, "every picture touches the viewport")?;
    }
    Ok(())
}

async fn every_sample_thumbnail(archive: &Archive) -> Verdict {
    for sample in archive.samples() {
        let asked = archive.get(&format!("/{}/thumbnail", sample.path)).await;
        let (width, height) = asked.typed("image/jpeg")?.decoded()?.size();
        let fits = width.max(height) <= 256;
        asked.must(fits, format_args!("at most 256 a side, not {width} × {height}"))?;
    }
    Ok(())
}

async fn one_picture_of_many(archive: &Archive) -> Verdict {
    let browser = "image/avif,image/webp,image/*,*/*;q=0.8";
    let frame_list = format!("{}/frames/2,4", FRAMES.path());
    for level in [ORDER.study_path(), SLICES.series_path(), FRAMES.path(), frame_list] {
        for (query, accept) in [
            ("", "image/jpeg"),
            ("", "image/*"),
            ("", browser),
            ("?accept=image/jpeg", "*/*"),
            ("?accept=image%2Fjpeg", r#"multipart/related; type="application/octet-stream""#),
        ] {
            let asked = archive.get_accept(&format!("{level}/rendered{query}"), accept).await;
            let kind = asked.status(200)?.header("content-type");
            asked.must(kind.starts_with("image/"), "one picture")?.decoded()?;
            let said = asked.header("x-representative");
            asked.must(!said.is_empty(), "X-Representative")?;
        }
    }
    Ok(())
}

async fn strict_collections(archive: &Archive) -> Verdict {
    let proxy = archive.strict().await;
    for level in [ORDER.study_path(), ORDER.series_path(), RAMP.study_path()] {
        for accept in ["image/jpeg", "image/*"] {
            let path = format!("{level}/rendered");
            ask(proxy, Method::GET, &path, &[("Accept", accept)]).await.status(406)?;
        }
    }
    let path = format!("{}/rendered", RAMP.path());
    ask(proxy, Method::GET, &path, &[("Accept", "image/jpeg")]).await.typed("image/jpeg").map(drop)
}

async fn no_collections(archive: &Archive) -> Verdict {
    let proxy = archive.configured(&[("collections", "false")]).await;
    for level in [ORDER.study_path(), SLICES.series_path()] {
        let path = format!("{level}/rendered");
        let asked = ask(&proxy, Method::GET, &path, &[("Accept", "*/*")]).await;
        asked.typed("image/jpeg")?.decoded()?;
        asked.must(!asked.header("x-representative").is_empty(), "X-Representative")?;
        let asked = ask(&proxy, Method::GET, &path, &[("Accept", JPEGS)]).await;
        let single = asked.reply.status() == 406 || asked.parts()?.len() == 1;
        asked.must(single, "406, or one part")?;
    }
    Ok(())
}

async fn the_ordered_study(archive: &Archive, accept: &str) -> Asked {
    archive.get_accept(&format!("{}/rendered", ORDER.study_path()), accept).await
}

async fn collection_content_type(archive: &Archive) -> Verdict {
    for (accept, media_type) in [(JPEGS, "image/jpeg"), (PNGS, "image/png")] {
        let asked = the_ordered_study(archive, accept).await;
        asked.typed("multipart/related")?;
        asked.has_header("content-type", &format!("type=\"{media_type}\""))?;
        asked.has_header("content-type", "boundary=")?;
        asked.parts()?;
    }
    Ok(())
}

async fn part_headers(archive: &Archive) -> Verdict {
    let asked = the_ordered_study(archive, JPEGS).await;
    for part in asked.parts()? {
        equal("type of a part", part.header("content-type"), "image/jpeg")?;
        equal("length of a part", part.header("content-length"), &part.body.len().to_string())?;
    }
    asked.pictures().map(drop)
}

async fn part_locations(archive: &Archive) -> Verdict {
    let asked = the_ordered_study(archive, PNGS).await;
    let frames = Place::new(5009, 2, 2).path();
    let single = |series, instance| {
        let path = Place::new(5009, series, instance).path();
        [path.clone(), format!("{path}/frames/1")]
    };
    let frame = |number| [format!("{frames}/frames/{number}"), format!("{frames}/frames/{number}")];
    let expected = [single(3, 1), single(2, 3), frame(1), frame(2), single(2, 1), single(1, 1)];
    let parts = asked.parts()?;
    equal("parts", parts.len(), expected.len())?;
    for (part, expected) in parts.iter().zip(&expected) {
        let found = part.header("content-location");
        // Absolute or not, below the proxy's own address.
        let path = found.strip_prefix(&archive.proxy().url()).unwrap_or(found);
        asked.must(
            expected.iter().any(|expected| expected == path),
            format_args!("Content-Location {}, not {found:?}", expected[0]),
        )?;
    }
    Ok(())
}

async fn mixed_parts(archive: &Archive) -> Verdict {
    let accept = format!(
        r#"{JPEGS}, multipart/related; type="text/html", multipart/related; type="application/pdf""#
    );
    let asked = archive.get_accept(&format!("{}/rendered", REPORTED.study_path()), &accept).await;
    let kinds: Vec<String> = asked
        .parts()?
        .iter()
        .map(|part| part.header("content-type").split(';').next().unwrap_or_default().to_owned())
        .collect();
    equal(
        "types of the parts",
        kinds,
        ["image/jpeg", "text/html", "application/pdf"].map(String::from).to_vec(),
    )
}

async fn parts_in_order(archive: &Archive) -> Verdict {
    let study = the_ordered_study(archive, PNGS).await.greys()?;
    equal("the study", study, IN_ORDER.to_vec())?;
    let path = format!("{}/rendered", Place::new(5009, 2, 1).series_path());
    let series = archive.get_accept(&path, PNGS).await.greys()?;
    equal("a series", series, vec![30, 40, 50, 60])
}

async fn order_of_a_reversed_archive(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    between.reverse_lists();
    let path = format!("{}/rendered", ORDER.study_path());
    let study = ask(&proxy, Method::GET, &path, &[("Accept", PNGS)]).await.greys()?;
    equal("the study, of an archive that lists it backwards", study, IN_ORDER.to_vec())
}

async fn parts_stream(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    // The last instance of the order.
    let gate = between.hold(&format!("/instances/{}", Place::new(5009, 1, 1).instance_uid()));
    let path = format!("{}/rendered", ORDER.study_path());
    let request = proxy.request(Method::GET, &path, &[("Accept", PNGS)]);
    let streaming = async {
        let response = request.send().await.map_err(|error| error.to_string())?;
        let mut parts = PartReader::new(response)?;
        let first = parts.next().await?.ok_or("no part at all")?;
        Ok::<_, String>((first, parts))
    };
    let first = tokio::time::timeout(Duration::from_secs(10), streaming).await;
    gate.open();
    let (_, mut parts) = first.map_err(|_| {
        format!(
            "GET {path}: expected a first part while the last instance is held; none came in 10 s"
        )
    })??;
    let mut count = 1;
    while parts.next().await?.is_some() {
        count += 1;
    }
    equal("all parts", count, IN_ORDER.len())
}

async fn frames_as_parts(archive: &Archive) -> Verdict {
    let path = format!("{}/rendered", FRAMES.path());
    let asked = archive.get_accept(&path, PNGS).await;
    equal("one part per frame", asked.greys()?, vec![10, 20, 30, 40, 50])?;
    let jpegs = archive.get_accept(&path, JPEGS).await;
    equal("as JPEG", jpegs.pictures()?.len(), 5)?;
    // A multi-frame class of one frame is a single frame (§8.7.2).
    archive.get(&format!("{}/rendered", ONE_FRAME.path())).await.typed("image/jpeg").map(drop)
}

async fn frames_as_one_picture(archive: &Archive) -> Verdict {
    for accept in ["image/png", "image/jpeg"] {
        let asked = archive.get_accept(&format!("{}/rendered", FRAMES.path()), accept).await;
        asked.typed(accept)?.shows(30)?;
    }
    Ok(())
}

/// An animation of [`FRAMES`] with these greys, each shown for 100 ms.
fn animates(asked: &Asked, greys: &[u8]) -> Verdict {
    let animation = asked.decoded()?;
    let found: Vec<u8> = animation.frames.iter().map(|frame| frame.at(8, 8)).collect();
    near("frames of the animation", &found, greys, 2).map_err(|why| asked.wrong(why))?;
    let all = animation.delays.iter().all(|&delay| delay == 100);
    asked.must(all, format_args!("100 ms a frame, not {:?}", animation.delays)).map(drop)
}

async fn animated_gif(archive: &Archive) -> Verdict {
    let path = format!("{}/rendered", FRAMES.path());
    for (path, accept) in [(path.clone(), "image/gif"), (format!("{path}?accept=image/gif"), "*/*")]
    {
        let asked = archive.get_accept(&path, accept).await;
        asked.typed("image/gif")?;
        animates(&asked, &[10, 20, 30, 40, 50])?;
    }
    Ok(())
}

async fn animated_webp(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&format!("{}/rendered", FRAMES.path()), "image/webp").await;
    asked.typed("image/webp")?;
    animates(&asked, &[10, 20, 30, 40, 50])
}

async fn frame_list_as_parts(archive: &Archive) -> Verdict {
    equal("frames 2, 4 and 5", frame_greys(archive, "2,4,5").await?, vec![20, 40, 50])
}

async fn frame_list_as_gif(archive: &Archive) -> Verdict {
    let path = format!("{}/frames/5,2/rendered", FRAMES.path());
    let asked = archive.get_accept(&path, "image/gif").await;
    asked.typed("image/gif")?;
    animates(&asked, &[20, 50])
}

async fn frame_list_as_one_picture(archive: &Archive) -> Verdict {
    let path = format!("{}/frames/2,4,5/rendered", FRAMES.path());
    let asked = archive.get_accept(&path, "image/png").await;
    let grey = asked.typed("image/png")?.first_picture()?.at(0, 0);
    asked
        .must([20, 40, 50].contains(&grey), format_args!("a frame of the list, not {grey}"))
        .map(drop)
}

async fn one_thumbnail(archive: &Archive) -> Verdict {
    for level in [
        ORDER.study_path(),
        ORDER.series_path(),
        FRAMES.path(),
        format!("{}/frames/2,4", FRAMES.path()),
        format!("{}/frames/2%2C4", FRAMES.path()),
    ] {
        let asked = archive.get(&format!("{level}/thumbnail")).await;
        let frames = asked.typed("image/jpeg")?.decoded()?.frames.len();
        asked.must(frames == 1, "exactly one image")?;
    }
    // One of the frames that were asked for.
    let path = format!("{}/frames/4,5/thumbnail", FRAMES.path());
    let grey = archive.png(&path).await?.at(0, 0);
    if [40, 50].contains(&grey) { Ok(()) } else { Err(format!("{path}: frame of grey {grey}")) }
}

async fn thumbnails_are_jpeg(archive: &Archive) -> Verdict {
    for place in [RAMP, FRAMES, REPORT, ECG] {
        let path = format!("{}/thumbnail", place.path());
        for accept in ["*/*", "image/*", "text/html, */*;q=0.1"] {
            archive.get_accept(&path, accept).await.typed("image/jpeg")?.decoded()?;
        }
        archive.get_accept(&path, "image/png").await.typed("image/png")?.decoded()?;
    }
    Ok(())
}

async fn thumbnails_hide_the_patient(archive: &Archive) -> Verdict {
    let path = format!("{}/thumbnail", RAMP.path());
    let plain = archive.get(&path).await;
    let asked = archive.get(&format!("{path}?annotation=patient,technique")).await;
    asked.status(200)?.must(asked.reply.body == plain.reply.body, "the same picture").map(drop)
}

async fn labels(archive: &Archive) -> Verdict {
    let proxy = archive.configured(&[("thumbnail_label", "true")]).await;
    let path = format!("{}/thumbnail", crate::objects::BLACK.path());
    let asked = ask(&proxy, Method::GET, &path, &[("Accept", "image/png")]).await;
    let labelled = asked.typed("image/png")?.first_picture()?;
    let bright = |sample: &&u8| **sample > 128;
    let count = labelled.samples.iter().filter(bright).count() / labelled.channels;
    asked.must(count > 10, "a label on the black picture")?;
    asked.must(count * 10 < labelled.width * labelled.height, "a label in a corner only")?;
    let another = format!("{}/thumbnail", crate::objects::BLACK_OF_ANOTHER.path());
    let another = ask(&proxy, Method::GET, &another, &[("Accept", "image/png")]).await;
    near(
        "the same label whoever the patient is",
        &another.first_picture()?.samples,
        &labelled.samples,
        0,
    )
}

/// How far samples are from their mean.
fn spread(samples: &[u8]) -> f64 {
    let mean = samples.iter().map(|&s| f64::from(s)).sum::<f64>() / samples.len() as f64;
    let squares: f64 = samples.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum();
    (squares / samples.len() as f64).sqrt()
}

async fn burned_in_texts(archive: &Archive) -> Verdict {
    let with = format!("{}/thumbnail", BURNED_IN.path());
    let seen = spread(&archive.png(&with).await?.samples);
    let without = format!("{}/thumbnail", NOT_BURNED_IN.path());
    let clear = spread(&archive.png(&without).await?.samples);
    if clear < 100.0 {
        return Err(format!("{without}: the checkerboard has a spread of {clear:.0}, not of 127"));
    }
    if seen > 40.0 {
        return Err(format!(
            "{with}: fields of 4 pixels still show (spread {seen:.0} of {clear:.0})"
        ));
    }
    Ok(())
}

async fn burned_in_around(archive: &Archive) -> Verdict {
    let seen = archive.png(&format!("{}/thumbnail", BURNED_IN_AROUND.path())).await?;
    let clear = archive.png(&format!("{}/thumbnail", NOT_BURNED_IN.path())).await?;
    let (above, within) = seen.samples.split_at(64 * 256);
    if spread(above) > 40.0 {
        return Err(format!("above the region, fields still show (spread {:.0})", spread(above)));
    }
    near("within the region", within, &clear.samples[64 * 256..], 0)
}

async fn burned_in_configured(archive: &Archive) -> Verdict {
    let with = format!("{}/thumbnail", BURNED_IN.path());
    let png = async |how: &str| {
        let proxy = archive.configured(&[("burned_in", how)]).await;
        ask(&proxy, Method::GET, &with, &[("Accept", "image/png")]).await.first_picture()
    };
    let clear = archive.png(&format!("{}/thumbnail", NOT_BURNED_IN.path())).await?;
    near("burned_in = render", &png("render").await?.samples, &clear.samples, 0)?;
    let icon = png("icon").await?;
    let ground = icon.samples.chunks(3).filter(|&pixel| pixel == &icon.samples[..3]).count();
    if icon.channels != 3 || ground * 2 < icon.width * icon.height {
        return Err("burned_in = icon: a card has a dark ground and some lines".into());
    }
    Ok(())
}

async fn burned_in_texts_on_rendered(archive: &Archive) -> Verdict {
    let with = archive.png(&format!("{}/rendered", BURNED_IN.path())).await?;
    let without = archive.png(&format!("{}/rendered", NOT_BURNED_IN.path())).await?;
    near("rendered", &with.samples, &without.samples, 0)
}

async fn cards_hide_the_patient(archive: &Archive) -> Verdict {
    let card = async |place: &Place| archive.png(&format!("{}/thumbnail", place.path())).await;
    let (one, another) = (card(&REPORT).await?, card(&REPORT_OF_ANOTHER).await?);
    near("the card of a report, whoever the patient is", &another.samples, &one.samples, 0)?;
    if spread(&card(&PDF).await?.samples) < 1.0 {
        return Err("the card of a PDF is blank".into());
    }
    Ok(())
}

async fn waveforms_alone(archive: &Archive) -> Verdict {
    for level in [ECG.path(), LONE_ECG.path(), LONE_ECG.series_path(), LONE_ECG.study_path()] {
        for accept in ["image/jpeg", JPEGS, "*/*"] {
            archive.get_accept(&format!("{level}/rendered"), accept).await.status(406)?;
        }
    }
    Ok(())
}

async fn waveforms_in_collections(archive: &Archive) -> Verdict {
    for level in [WAVED.study_path(), WAVED.series_path()] {
        let asked = archive.get_accept(&format!("{level}/rendered"), PNGS).await;
        equal("parts", asked.status(200)?.greys()?, vec![FLAT_GREY])?;
        asked.warned()?;
    }
    Ok(())
}

async fn reports_in_collections(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&format!("{}/rendered", REPORTED.study_path()), PNGS).await;
    equal("parts", asked.status(200)?.greys()?, vec![FLAT_GREY])?;
    asked.warned().map(drop)
}

async fn others_pass(_archive: &Archive) -> Verdict {
    let origin = ScriptedOrigin::start().await;
    origin.otherwise(|_| Answer::new(200, "application/x-of-the-archive", "as it is"));
    let proxy = Proxy::start(&origin.url()).await;
    let (study, series, instance) = ("/studies/1.2", "/series/1.3", "/instances/1.4");
    let instance = format!("{study}{series}{instance}");
    let series = format!("{study}{series}");
    let mut paths = vec![format!("{study}/series/rendered3d"), format!("{instance}/bulk/7FE00010")];
    for level in [study, &series, &instance] {
        for resource in
            ["renderedmpr", "rendered3d", "rendered3D", "metadata", "bulkdata", "pixeldata"]
        {
            paths.push(format!("{level}/{resource}"));
        }
    }
    for path in paths {
        let path = format!("{path}?viewport=0,0&x=%2C");
        let asked = ask(&proxy, Method::GET, &path, &[]).await;
        asked.typed("application/x-of-the-archive")?;
        asked.must(asked.reply.text() == "as it is", "the archive's own body")?;
        let seen = origin.received().pop().ok_or("nothing reached the archive")?;
        let seen = format!("{}?{}", seen.path, seen.query.unwrap_or_default());
        equal("what reached the archive", seen, path)?;
    }
    Ok(())
}

async fn malformed_uids(archive: &Archive) -> Verdict {
    let before = archive.calls();
    let long = "1".repeat(65);
    for uid in ["1.2a", "1..2", ".1", "1.", "x", "1%2F2", "1.2%00", "1.2%20", long.as_str()] {
        for level in [
            format!("/studies/{uid}"),
            format!("/studies/{uid}/series/1.3"),
            format!("/studies/1.2/series/{uid}"),
            format!("/studies/1.2/series/1.3/instances/{uid}"),
            format!("/studies/1.2/series/{uid}/instances/1.4/frames/1"),
        ] {
            for resource in ["rendered", "thumbnail"] {
                archive.get(&format!("{level}/{resource}")).await.status(400)?;
            }
        }
    }
    equal("calls that reached the archive", archive.calls(), before)
}

async fn leading_zeros(archive: &Archive) -> Verdict {
    for level in
        ["/studies/1.02.3", "/studies/1.2/series/1.03", "/studies/1.2/series/1.3/instances/01.4"]
    {
        for resource in ["rendered", "thumbnail"] {
            archive.get(&format!("{level}/{resource}")).await.status(404)?;
        }
    }
    Ok(())
}

async fn unknown_uids(archive: &Archive) -> Verdict {
    let unknown = Place::new(9999, 9, 9);
    let series = format!("{}/series/2.25.9999.9", RAMP.study_path());
    let instance = format!("{}/instances/2.25.9999.9.9", RAMP.series_path());
    for level in levels(&unknown).iter().chain([&series, &instance]) {
        archive.get(&format!("{level}/thumbnail")).await.status(404)?;
        for accept in ["*/*", "image/jpeg", JPEGS] {
            archive.get_accept(&format!("{level}/rendered"), accept).await.status(404)?;
        }
    }
    Ok(())
}
