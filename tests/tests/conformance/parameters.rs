//! Section 2: query parameters, but for viewport, window and presentation states.

use http::Method;
use lightbox_tests::Place;
use lightbox_tests::decoded::colour_space;
use lightbox_tests::pictures::Picture;

use crate::archive::{Archive, Asked, CHROMIUM_IMG, PNGS, ask, equal, near};
use crate::objects::{BLACK, BLACK_OF_ANOTHER, FINDING, NOISE, PRIMARIES, RAMP, REPORT};
use crate::walk::{Requirement, Verdict, check, not_applicable, ruled, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R2.1 a", "unknown names are ignored", check!(unknown_names)),
    tried("R2.1 b", "names are case-sensitive", check!(names_in_other_case)),
    tried("R2.1 c", "values are case-sensitive", check!(values_in_other_case)),
    tried("R2.1 d", "a repeated name is 400", check!(repeated_names)),
    tried("R2.1 e", "an empty or ill-formed value is 400", check!(ill_formed_values)),
    tried("R2.2 a", "decimals in all their forms", check!(legal_decimals)),
    tried("R2.2 b", "what only looks like a decimal is 400", check!(illegal_decimals)),
    tried("R2.2 c", "a raw plus is a sign, %2B too", check!(plus_signs)),
    tried("R2.2 d", "%2C separates as a comma does", check!(encoded_commas)),
    tried("R2.3 a", "every parameter changes a rendered picture", check!(every_parameter_counts)),
    ruled(
        "R2.3 b",
        "thumbnails take accept, charset and viewport only",
        "design §3: window, quality and iccprofile too, as an extension; not when strict",
    ),
    tried("R2.3 c", "thumbnails honour window, quality, iccprofile", check!(thumbnail_extensions)),
    tried("R2.3 d", "strict: thumbnails ignore them", check!(strict_thumbnails)),
    tried("R2.3 e", "thumbnails ignore annotation, even ill-formed", check!(thumbnail_annotation)),
    tried("R2.4 a", "accept=: the best by weight", check!(accept_by_weight)),
    tried("R2.4 b", "wildcards in accept= are 400", check!(wildcards_in_accept)),
    tried("R2.4 c", "DICOM and rendered types mixed are 400", check!(mixed_accept)),
    tried("R2.4 d", "what is no media type is 400", check!(ill_formed_accept)),
    ruled(
        "R2.4 e",
        "each type in accept= must be compatible with the Accept header",
        "design §3: accept= wins even where the header alone would be 406",
    ),
    tried("R2.4 f", "accept= wins over any header", check!(accept_beats_the_header)),
    tried("R2.5 a", "absent: no text is drawn", check!(no_annotation)),
    tried("R2.5 b", "patient and technique draw what they name", check!(annotations)),
    tried("R2.5 c", "texts come after window, crop and mirror", check!(annotation_comes_last)),
    tried("R2.5 d", "empty, or no keyword known: 400", check!(unknown_annotations)),
    tried("R2.5 e", "an unknown keyword beside a known: Warning", check!(annotation_warning)),
    tried("R2.5 f", "no size is too small", check!(annotation_of_any_size)),
    tried("R2.6 a", "1 to 100, 100 the largest", check!(quality_counts)),
    tried("R2.6 b", "anything else is 400, for PNG too", check!(bad_quality)),
    not_applicable(
        "R2.6 c",
        "a stored JPEG may be sent as it is",
        "a permission that is not used: pictures are always encoded",
    ),
    tried("R2.9 a", "no and absent: no profile", check!(no_profile)),
    tried("R2.9 b", "JPEG, PNG, JP2 and WebP carry one", check!(profiles_are_embedded)),
    tried("R2.9 c", "pixels are converted to the named space", check!(pixels_are_converted)),
    tried("R2.9 d", "GIF can carry none: 400", check!(profile_of_gif)),
    tried("R2.9 e", "an unknown space, or two, are 400", check!(bad_profiles)),
    tried("R2.9 f", "grey pictures get a profile that fits them", check!(profile_of_grey)),
    tried("R2.10 a", "UTF-8 is supported, and said", check!(utf8_texts)),
    tried("R2.10 b", "other charsets in the query are ignored", check!(unknown_charsets)),
    not_applicable(
        "R2.10 c",
        "406 where a text cannot be transcoded",
        "texts are UTF-8, which holds every character: nothing is transcoded",
    ),
];

pub(crate) fn rendered(place: &Place, query: &str) -> String {
    format!("{}/rendered?{query}", place.path())
}

pub(crate) fn thumbnail(place: &Place, query: &str) -> String {
    format!("{}/thumbnail?{query}", place.path())
}

/// All of these are refused.
pub(crate) async fn are_400(archive: &Archive, place: &Place, queries: &[&str]) -> Verdict {
    for query in queries {
        archive.get(&rendered(place, query)).await.status(400)?;
    }
    Ok(())
}

/// All of these give the picture that `plain` gives.
pub(crate) async fn are_the_same(
    archive: &Archive,
    place: &Place,
    plain: &str,
    queries: &[&str],
) -> Verdict {
    let plain = archive.get(&rendered(place, plain)).await;
    plain.status(200)?;
    for query in queries {
        let asked = archive.get(&rendered(place, query)).await;
        let same = asked.reply.body == plain.reply.body;
        asked.status(200)?.must(same, "the same picture as without the difference")?;
    }
    Ok(())
}

async fn unknown_names(archive: &Archive) -> Verdict {
    let queries =
        ["token=secret", "x", "&&=&a=%FF", "presentationUID=1.2", "frameNumber=7", "contentType=a"];
    are_the_same(archive, &RAMP, "", &queries).await
}

async fn names_in_other_case(archive: &Archive) -> Verdict {
    let queries =
        ["Viewport=bad", "QUALITY=0", "Window=1", "ACCEPT=x", "Annotation=", "iccProfile=bad"];
    are_the_same(archive, &RAMP, "", &queries).await
}

async fn values_in_other_case(archive: &Archive) -> Verdict {
    let queries =
        ["window=40,400,LINEAR", "window=40,400,Sigmoid", "annotation=Patient", "iccprofile=sRGB"];
    are_400(archive, &RAMP, &queries).await
}

async fn repeated_names(archive: &Archive) -> Verdict {
    let queries = [
        "quality=50&quality=60",
        "quality=50&quality=50",
        "viewport=8,8&window=1,2,linear&viewport=8,8",
        "window=1,2,linear&window=1,2,linear",
        "accept=image/png&accept=image/png",
        "annotation=patient&annotation=technique",
        "iccprofile=no&iccprofile=no",
    ];
    are_400(archive, &RAMP, &queries).await
}

async fn ill_formed_values(archive: &Archive) -> Verdict {
    let queries = [
        "quality=",
        "quality",
        "quality=%ZZ",
        "viewport=",
        "viewport=a,b",
        "window=",
        "window=x",
        "accept=",
        "annotation=",
        "iccprofile=",
    ];
    are_400(archive, &RAMP, &queries).await
}

async fn legal_decimals(archive: &Archive) -> Verdict {
    let queries = [
        "window=040,400,linear",
        "window=40.0,400.00,linear",
        "window=4e1,4E2,linear",
        "window=0.4e2,4.0e+2,linear",
        "window=400e-1,400,linear",
        "window=40,0000000000000400,linear",
    ];
    are_the_same(archive, &RAMP, "window=40,400,linear", &queries).await
}

async fn illegal_decimals(archive: &Archive) -> Verdict {
    let numbers = [
        ".5",
        "5.",
        "1e",
        "e1",
        "--1",
        "+-1",
        "1e1.5",
        "0x10",
        "1_0",
        "nan",
        "inf",
        "infinity",
        "1 ",
        "%2040",
        "12345678901234567",
        "00000000000000040",
    ];
    for number in numbers {
        are_400(archive, &RAMP, &[&format!("window={number},400,linear")]).await?;
        are_400(archive, &RAMP, &[&format!("viewport=8,8,{number},0,4,4")]).await?;
    }
    Ok(())
}

async fn plus_signs(archive: &Archive) -> Verdict {
    let queries =
        ["window=+40,+400,linear", "window=%2B40,400,linear", "window=4e+1,4e%2B2,linear"];
    are_the_same(archive, &RAMP, "window=40,400,linear", &queries).await
}

async fn encoded_commas(archive: &Archive) -> Verdict {
    let plain = "viewport=32,32,8,8,16,16&window=40,400,linear";
    let queries = [
        "viewport=32%2C32%2c8,8%2C16,16&window=40%2C400%2clinear",
        "window=%340,40%30,linea%72&viewport=32,32,8,8,16,16",
    ];
    are_the_same(archive, &RAMP, plain, &queries).await
}

async fn every_parameter_counts(archive: &Archive) -> Verdict {
    let plain = archive.get(&rendered(&RAMP, "")).await;
    for query in [
        "accept=image/png",
        "annotation=technique",
        "quality=10",
        "viewport=64,64",
        "window=40,40,linear",
        "iccprofile=srgb",
    ] {
        let asked = archive.get(&rendered(&RAMP, query)).await;
        let differs = asked.reply.body != plain.reply.body;
        asked.status(200)?.must(differs, "another picture than without the parameter")?;
    }
    Ok(())
}

const EXTENSIONS: [&str; 3] = ["window=40,40,linear", "quality=10", "iccprofile=srgb"];

async fn thumbnail_extensions(archive: &Archive) -> Verdict {
    let plain = archive.get(&thumbnail(&RAMP, "")).await;
    for query in EXTENSIONS {
        let asked = archive.get(&thumbnail(&RAMP, query)).await;
        let differs = asked.reply.body != plain.reply.body;
        asked.status(200)?.must(differs, "another thumbnail than without the parameter")?;
    }
    for query in ["window=bad", "quality=0", "iccprofile=bad"] {
        archive.get(&thumbnail(&RAMP, query)).await.status(400)?;
    }
    Ok(())
}

async fn strict_thumbnails(archive: &Archive) -> Verdict {
    let proxy = archive.strict().await;
    let get = async |query: &str| ask(proxy, Method::GET, &thumbnail(&RAMP, query), &[]).await;
    let plain = get("").await;
    let ignored =
        ["annotation=patient", "annotation=", "window=bad", "quality=0", "iccprofile=bad"];
    for query in EXTENSIONS.iter().chain(&ignored) {
        let asked = get(query).await;
        let same = asked.reply.body == plain.reply.body;
        asked.status(200)?.must(same, "the thumbnail as without the parameter")?;
    }
    Ok(())
}

async fn thumbnail_annotation(archive: &Archive) -> Verdict {
    let plain = archive.get(&thumbnail(&RAMP, "")).await;
    for query in
        ["annotation=patient", "annotation=patient,technique", "annotation=", "annotation=x"]
    {
        let asked = archive.get(&thumbnail(&RAMP, query)).await;
        let same = asked.reply.body == plain.reply.body;
        asked.status(200)?.must(same, "the thumbnail as without the parameter")?;
    }
    Ok(())
}

async fn accept_by_weight(archive: &Archive) -> Verdict {
    for (accept, media_type) in [
        ("image/png", "image/png"),
        ("image/gif", "image/gif"),
        ("image/jp2", "image/jp2"),
        ("image/webp", "image/webp"),
        ("image/jpeg;q=0.3,image/png;q=0.9", "image/png"),
        ("image/jpeg;q=0.9,image/png;q=0.3", "image/jpeg"),
        ("image/png;q=0.4,image/gif", "image/gif"),
        ("image/avif,image/png;q=0.1", "image/png"),
        ("image%2Fpng%3Bq=0.5", "image/png"),
        ("IMAGE/PNG", "image/png"),
    ] {
        let asked = archive.get(&rendered(&RAMP, &format!("accept={accept}"))).await;
        asked.typed(media_type)?.decoded()?;
    }
    Ok(())
}

async fn wildcards_in_accept(archive: &Archive) -> Verdict {
    let queries =
        ["accept=*/*", "accept=image/*", "accept=image/png,*/*;q=0.1", "accept=image%2F*"];
    are_400(archive, &RAMP, &queries).await?;
    for query in queries {
        archive.get(&thumbnail(&RAMP, query)).await.status(400)?;
    }
    Ok(())
}

async fn mixed_accept(archive: &Archive) -> Verdict {
    let queries =
        ["accept=image/jpeg,application/dicom", "accept=application/dicom%2Bjson,image/png"];
    are_400(archive, &RAMP, &queries).await
}

async fn ill_formed_accept(archive: &Archive) -> Verdict {
    let queries =
        ["accept=jpeg", "accept=image/", "accept=/png", "accept=image/png,jpeg", "accept=;q=1"];
    are_400(archive, &RAMP, &queries).await
}

async fn accept_beats_the_header(archive: &Archive) -> Verdict {
    for header in ["image/jpeg", "text/html", "application/dicom", CHROMIUM_IMG, PNGS] {
        let path = rendered(&RAMP, "accept=image/png");
        archive.get_accept(&path, header).await.typed("image/png")?;
    }
    Ok(())
}

/// Samples that are bright, in the whole picture.
fn bright(picture: &Picture) -> usize {
    picture.samples.iter().filter(|sample| **sample > 160).count() / picture.channels
}

async fn no_annotation(archive: &Archive) -> Verdict {
    let picture = archive.png(&rendered(&BLACK, "")).await?;
    equal("bright pixels of a black image", bright(&picture), 0)
}

async fn annotations(archive: &Archive) -> Verdict {
    let draw = async |place: &Place, which: &str| {
        archive.png(&rendered(place, &format!("annotation={which}"))).await
    };
    let mut seen = Vec::new();
    for which in ["patient", "technique", "patient,technique"] {
        let picture = draw(&BLACK, which).await?;
        let count = bright(&picture);
        if !(40..=512 * 512 / 4).contains(&count) {
            return Err(format!(
                "annotation={which}: {count} bright pixels are no text in corners"
            ));
        }
        if seen.contains(&picture.samples) {
            return Err(format!("annotation={which} draws what another keyword draws"));
        }
        seen.push(picture.samples);
    }
    let another = draw(&BLACK_OF_ANOTHER, "patient").await?;
    if another.samples == seen[0] {
        return Err("annotation=patient draws the same for two patients".into());
    }
    // All that differs between the two is the patient.
    let another = draw(&BLACK_OF_ANOTHER, "technique").await?;
    near("technique, whoever the patient is", &another.samples, &seen[1], 0)?;
    let both = draw(&BLACK, "technique,patient").await?;
    near("in either order", &both.samples, &seen[2], 0)
}

async fn annotation_comes_last(archive: &Archive) -> Verdict {
    // All of the image is black at this window.
    let dark = "annotation=patient&window=1000,1,linear";
    let plain = archive.png(&rendered(&BLACK, dark)).await?;
    if bright(&plain) < 40 {
        return Err(format!("{dark}: the window darkens the text"));
    }
    let mirrored = "annotation=patient&viewport=512,512,,,-512,-512";
    let mirrored = archive.png(&rendered(&BLACK, mirrored)).await?;
    near("text on a mirrored black image", &mirrored.samples, &plain.samples, 0)?;
    // The text is as large on a region that is scaled up to the same size.
    let region = "annotation=patient&viewport=512,512,100,100,64,64";
    let region = archive.png(&rendered(&BLACK, region)).await?;
    near("text on an enlarged black region", &region.samples, &plain.samples, 0)
}

async fn unknown_annotations(archive: &Archive) -> Verdict {
    are_400(
        archive,
        &BLACK,
        &["annotation=", "annotation=,", "annotation=hospital", "annotation=a,b"],
    )
    .await
}

async fn annotation_warning(archive: &Archive) -> Verdict {
    let plain = archive.get(&rendered(&BLACK, "annotation=patient")).await;
    let asked = archive.get(&rendered(&BLACK, "annotation=hospital,patient")).await;
    let same = asked.reply.body == plain.reply.body;
    asked.status(200)?.must(same, "what the known keyword draws")?;
    let text = "The following annotation values are not supported: hospital";
    let warned = asked.warned()?.contains(text);
    asked.must(warned, format_args!("Warning: 299 <service>: {text}")).map(drop)
}

async fn annotation_of_any_size(archive: &Archive) -> Verdict {
    for viewport in ["1,1", "3,200", "16,16", "64,64", "2000,2000"] {
        let path = rendered(&BLACK, &format!("annotation=patient,technique&viewport={viewport}"));
        archive.get(&path).await.typed("image/jpeg")?.decoded()?;
    }
    Ok(())
}

async fn quality_counts(archive: &Archive) -> Verdict {
    let mut last = 0;
    for quality in [1, 10, 50, 90, 100] {
        let asked = archive.get(&rendered(&NOISE, &format!("quality={quality}"))).await;
        let size = asked.typed("image/jpeg")?.reply.body.len();
        asked.must(size > last, format_args!("more than {last} bytes"))?;
        last = size;
    }
    let source = archive.png(&rendered(&NOISE, "")).await?;
    let best = archive.get(&rendered(&NOISE, "quality=100")).await.first_picture()?;
    near("quality 100 against the pixels", &best.samples, &source.samples, 4)
}

async fn bad_quality(archive: &Archive) -> Verdict {
    for value in
        ["0", "101", "-1", "+80", "80.0", "8e1", "high", "", "0x50", "1000000000000000000000"]
    {
        let query = format!("quality={value}");
        are_400(archive, &RAMP, &[&query, &format!("accept=image/png&{query}")]).await?;
    }
    Ok(())
}

async fn no_profile(archive: &Archive) -> Verdict {
    for media_type in ["image/jpeg", "image/png", "image/gif", "image/webp"] {
        for query in ["iccprofile=no&", ""] {
            let query = format!("{query}accept={media_type}");
            let asked = archive.get(&rendered(&PRIMARIES, &query)).await;
            let none = asked.typed(media_type)?.decoded()?.profile.is_none();
            asked.must(none, "no embedded profile")?;
        }
    }
    Ok(())
}

async fn profiles_are_embedded(archive: &Archive) -> Verdict {
    for media_type in ["image/jpeg", "image/png", "image/jp2", "image/webp"] {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for space in ["yes", "srgb", "adobergb", "rommrgb"] {
            let query = format!("iccprofile={space}&accept={media_type}");
            let asked = archive.get(&rendered(&PRIMARIES, &query)).await;
            let profile = asked.typed(media_type)?.decoded()?.profile;
            let profile = profile.ok_or_else(|| asked.wrong("an embedded profile"))?;
            asked.must(colour_space(&profile) == Some("RGB "), "an RGB profile")?;
            // What describes sRGB pixels is sRGB's own.
            if space != "yes" {
                asked.must(!seen.contains(&profile), "a profile of its own")?;
                seen.push(profile);
            }
        }
    }
    Ok(())
}

/// Red, green and blue of [`PRIMARIES`] as PNG.
async fn primaries(archive: &Archive, space: &str) -> Result<[Vec<u8>; 3], String> {
    let picture = archive.png(&rendered(&PRIMARIES, &format!("iccprofile={space}"))).await?;
    equal("channels", picture.channels, 3)?;
    let pixel = |x: usize| picture.samples[(4 * picture.width + x) * 3..][..3].to_vec();
    Ok([pixel(4), pixel(12), pixel(20)])
}

async fn pixels_are_converted(archive: &Archive) -> Verdict {
    // sRGB's primaries in the other spaces: IEC 61966-2-1, Adobe RGB (1998) and ISO 22028-2 through
    // XYZ, Bradford to D50 for ROMM; computed with their matrices, apart from the renderer.
    let srgb = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
    for (space, expected) in [
        ("no", srgb),
        ("yes", srgb),
        ("srgb", srgb),
        ("adobergb", [[219, 0, 0], [144, 255, 60], [0, 0, 250]]),
        ("rommrgb", [[179, 70, 26], [138, 237, 78], [86, 35, 235]]),
    ] {
        for (found, expected) in primaries(archive, space).await?.iter().zip(expected) {
            near(&format!("iccprofile={space}"), found, &expected, 4)?;
        }
    }
    Ok(())
}

async fn profile_of_gif(archive: &Archive) -> Verdict {
    for space in ["yes", "srgb", "adobergb", "rommrgb"] {
        let query = format!("iccprofile={space}&accept=image/gif");
        archive.get(&rendered(&PRIMARIES, &query)).await.status(400)?;
        let path = rendered(&PRIMARIES, &format!("iccprofile={space}"));
        archive.get_accept(&path, "image/gif").await.status(400)?;
    }
    archive
        .get(&rendered(&PRIMARIES, "iccprofile=no&accept=image/gif"))
        .await
        .typed("image/gif")
        .map(drop)
}

async fn bad_profiles(archive: &Archive) -> Verdict {
    let queries = [
        "iccprofile=cmyk",
        "iccprofile=SRGB",
        "iccprofile=srgb,adobergb",
        "iccprofile=no,no",
        "iccprofile=",
    ];
    are_400(archive, &PRIMARIES, &queries).await
}

async fn profile_of_grey(archive: &Archive) -> Verdict {
    for media_type in ["image/png", "image/jpeg"] {
        for space in ["yes", "srgb", "adobergb"] {
            let query = format!("iccprofile={space}&accept={media_type}");
            let asked = archive.get(&rendered(&RAMP, &query)).await;
            let decoded = asked.typed(media_type)?.decoded()?;
            let profile = decoded.profile.as_deref().and_then(colour_space);
            let fitting = if decoded.first().channels == 1 { "GRAY" } else { "RGB " };
            let fits = profile == Some(fitting);
            asked.must(fits, format_args!("a profile of {fitting:?}, not {profile:?}"))?;
        }
    }
    Ok(())
}

/// The report as this type, in UTF-8 with all its scripts.
fn is_utf8(asked: &Asked, media_type: &str) -> Verdict {
    asked.typed(media_type)?.has_header("content-type", "charset=utf-8")?;
    let text = std::str::from_utf8(&asked.reply.body).map_err(|_| asked.wrong("UTF-8"))?;
    let words: Vec<&str> = FINDING.split(" <").take(1).collect();
    asked.must(words.iter().all(|word| text.contains(word)), "every script of the report").map(drop)
}

async fn utf8_texts(archive: &Archive) -> Verdict {
    for media_type in ["text/html", "text/plain", "text/xml"] {
        for query in ["", "charset=utf-8", "charset=UTF-8", "charset=iso-8859-1;q=0.1,utf-8"] {
            is_utf8(&archive.get_accept(&rendered(&REPORT, query), media_type).await, media_type)?;
        }
        let with_charset = format!("{media_type}; charset=utf-8");
        is_utf8(&archive.get_accept(&rendered(&REPORT, ""), &with_charset).await, media_type)?;
        let headers = [("Accept", media_type), ("Accept-Charset", "utf-8, *;q=0.1")];
        is_utf8(&archive.get_with(&rendered(&REPORT, ""), &headers).await, media_type)?;
    }
    Ok(())
}

async fn unknown_charsets(archive: &Archive) -> Verdict {
    for query in ["charset=x-klingon", "charset=x-klingon,y;q=0.5"] {
        is_utf8(&archive.get_accept(&rendered(&REPORT, query), "text/html").await, "text/html")?;
        archive.get(&thumbnail(&RAMP, query)).await.typed("image/jpeg")?;
        archive.get(&rendered(&RAMP, query)).await.typed("image/jpeg")?;
    }
    Ok(())
}
