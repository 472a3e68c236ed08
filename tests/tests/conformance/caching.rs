//! Section 3: ranges and caching, R3.11 and R3.12.

use http::Method;

use crate::archive::{Archive, PNGS, ask, equal, levels};
use crate::media::{is_range, rendered};
use crate::objects::{BROKEN_MIDDLE, FRAMES, ORDER, PDF, RAMP, REPORT, document};
use crate::walk::{Requirement, Verdict, check, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R3.11 a", "Range on a document: 206, 416", check!(ranges_of_a_document)),
    tried("R3.11 b", "Range on multipart is ignored", check!(ranges_of_a_collection)),
    tried("R3.11 c", "Range on a picture: all of it, or that part", check!(ranges_of_a_picture)),
    tried("R3.12 a", "a strong ETag that stays", check!(etag_stays)),
    tried("R3.12 b", "If-None-Match: 304", check!(not_modified)),
    tried("R3.12 c", "every representation has a tag of its own", check!(etags_differ)),
    tried("R3.12 d", "Vary and Cache-Control", check!(cache_headers)),
    tried("R3.12 e", "every request is authorised", check!(every_request_is_authorised)),
    tried("R3.12 f", "keys are parsed values, not URL text", check!(keys_are_values)),
    tried("R3.12 g", "collections carry no ETag", check!(collections_have_no_etag)),
];

async fn ranges_of_a_document(archive: &Archive) -> Verdict {
    let document = document();
    let whole = archive.get(&rendered(&PDF)).await;
    whole.typed("application/pdf")?.has_header("accept-ranges", "bytes")?;
    let last = document.len() - 1;
    for (range, first, end) in [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, last),
        ("bytes=-50", last - 49, last),
        ("bytes=0-999999", 0, last),
    ] {
        is_range(
            &archive.get_with(&rendered(&PDF), &[("Range", range)]).await,
            &document,
            first,
            end,
        )?;
    }
    let beyond = archive.get_with(&rendered(&PDF), &[("Range", "bytes=999999-")]).await;
    beyond.status(416)?.has_header("content-range", &format!("bytes */{}", document.len()))?;
    let other_unit = archive.get_with(&rendered(&PDF), &[("Range", "lines=1-2")]).await;
    other_unit.status(200)?.must(other_unit.reply.body == document, "all of it").map(drop)
}

async fn ranges_of_a_collection(archive: &Archive) -> Verdict {
    let path = format!("{}/rendered", ORDER.study_path());
    for range in ["bytes=0-99", "bytes=-5", "bytes=99999999-"] {
        let asked = archive.get_with(&path, &[("Accept", PNGS), ("Range", range)]).await;
        asked.status(200)?.must(asked.header("content-range").is_empty(), "no Content-Range")?;
        asked.greys()?;
    }
    Ok(())
}

async fn ranges_of_a_picture(archive: &Archive) -> Verdict {
    let whole = archive.get(&rendered(&RAMP)).await;
    let asked = archive.get_with(&rendered(&RAMP), &[("Range", "bytes=10-19")]).await;
    if asked.reply.status() == 206 {
        return is_range(&asked, &whole.reply.body, 10, 19);
    }
    asked.status(200)?.must(asked.reply.body == whole.reply.body, "all of it").map(drop)
}

async fn etag_stays(archive: &Archive) -> Verdict {
    for path in [
        rendered(&RAMP),
        format!("{}/thumbnail", RAMP.path()),
        format!("{}/thumbnail", ORDER.study_path()),
    ] {
        let first = archive.get(&path).await;
        let tag = first.status(200)?.header("etag");
        let strong = tag.len() > 8 && tag.starts_with('"') && tag.ends_with('"');
        first.must(strong && !tag.contains("2.25."), "a strong ETag without UIDs")?;
        let again = archive.get(&path).await;
        again.must(again.header("etag") == tag, "the same tag again")?;
    }
    Ok(())
}

async fn not_modified(archive: &Archive) -> Verdict {
    for path in [rendered(&RAMP), format!("{}/thumbnail", ORDER.series_path())] {
        let tag = archive.get(&path).await.header("etag").to_owned();
        for matching in
            [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()]
        {
            let asked = archive.get_with(&path, &[("If-None-Match", &matching)]).await;
            asked.status(304)?.must(asked.reply.body.is_empty(), "no body")?;
            asked.must(asked.header("etag") == tag, "its tag")?.has_header("vary", "accept")?;
        }
        archive.get_with(&path, &[("If-None-Match", "\"other\"")]).await.status(200)?;
    }
    Ok(())
}

async fn etags_differ(archive: &Archive) -> Verdict {
    let mut tags = Vec::new();
    for query in [
        "",
        "accept=image/png",
        "accept=image/gif",
        "accept=image/webp",
        "accept=image/jp2",
        "viewport=32,32",
        "viewport=32,32,0,0,32,32",
        "viewport=32,32,0,0,-32,32",
        "window=40,400,linear",
        "window=40,400,sigmoid",
        "window=41,400,linear",
        "quality=50",
        "quality=51",
        "annotation=patient",
        "annotation=technique",
        "annotation=patient,technique",
        "iccprofile=yes",
        "iccprofile=srgb",
        "iccprofile=adobergb",
    ] {
        let asked = archive.get(&format!("{}?{query}", rendered(&RAMP))).await;
        let tag = asked.status(200)?.header("etag").to_owned();
        let own = !tag.is_empty() && !tags.iter().any(|(other, _)| *other == tag);
        asked.must(own, format_args!("a tag of its own, not {tag} as others have: {tags:?}"))?;
        tags.push((tag, query));
    }
    Ok(())
}

async fn cache_headers(archive: &Archive) -> Verdict {
    let study = format!("{}/rendered", ORDER.study_path());
    for (path, accept) in [(rendered(&RAMP), "*/*"), (rendered(&REPORT), "*/*"), (study, PNGS)] {
        let asked = archive.get_accept(&path, accept).await;
        for name in ["Accept", "Authorization"] {
            let vary = asked.header("vary").to_ascii_lowercase();
            let listed = vary.split(',').any(|item| item.trim() == name.to_ascii_lowercase());
            asked.must(listed, format_args!("Vary with {name}, not {vary:?}"))?;
        }
        asked.status(200)?.has_header("cache-control", "private")?;
    }
    let asked = archive.get(&rendered(&REPORT)).await;
    asked.has_header("vary", "accept-charset").map(drop)
}

async fn every_request_is_authorised(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    for level in levels(&RAMP) {
        let path = format!("{level}/thumbnail");
        ask(&proxy, Method::GET, &path, &[("Authorization", "Bearer one")]).await.status(200)?;
    }
    let first = between.calls();
    between.fail("/studies", 401, &[("www-authenticate", "Bearer")]);
    for level in levels(&RAMP) {
        let path = format!("{level}/thumbnail");
        let headers = [("Authorization", "Bearer two")];
        ask(&proxy, Method::GET, &path, &headers).await.status(401)?;
        ask(&proxy, Method::GET, &path, &[]).await.status(401)?;
    }
    let calls = between.received();
    let own = calls[..first].iter().all(|call| call.header("authorization") == "Bearer one");
    if own {
        Ok(())
    } else {
        Err("a call went to the archive without its caller's credentials".into())
    }
}

async fn keys_are_values(archive: &Archive) -> Verdict {
    let tag = async |query: &str| {
        let asked = archive.get(&format!("{}?{query}", rendered(&RAMP))).await;
        Ok::<_, String>(asked.status(200)?.header("etag").to_owned())
    };
    let plain = tag("viewport=32,32&window=40,400,linear&accept=image/png").await?;
    for same in [
        "viewport=32%2C32&window=40%2c400%2Clinear&accept=image%2Fpng",
        "accept=image/png&window=40.0,4e2,linear&viewport=032,32",
        "accept=image/png&window=40,400,linear&viewport=32,32&token=x",
    ] {
        equal(&format!("ETag of ?{same}"), tag(same).await?, plain.clone())?;
    }
    Ok(())
}

async fn collections_have_no_etag(archive: &Archive) -> Verdict {
    for level in [ORDER.study_path(), ORDER.series_path(), FRAMES.path()] {
        let asked = archive.get_accept(&format!("{level}/rendered"), PNGS).await;
        asked.status(200)?.must(asked.header("etag").is_empty(), "no ETag")?;
    }
    // Nor a 304 for what cannot be compared.
    let path = format!("{}/rendered", BROKEN_MIDDLE.study_path());
    let headers = [("Accept", PNGS), ("If-None-Match", "\"a\"")];
    archive.get_with(&path, &headers).await.status_of(&[200, 206]).map(drop)
}
