//! Section 5: the picture that stands for others.

use http::Method;
use lightbox_tests::{Place, Proxy};

use crate::archive::{Archive, ask, equal, near};
use crate::objects::{
    BROKEN_FIRST, BROKEN_LAST, BROKEN_MIDDLE, CONTRASTS, ECG, EVEN_SLICES, FRAMES, KEY_OBJECT,
    KEYED, LARGE, LONE_ECG, PDF, POINTED, RAMP, REPORT, SERIES, SLICES, STATE, WAVED,
};
use crate::walk::{Requirement, Verdict, check, not_applicable, tried};

pub(crate) const WALK: &[Requirement] = &[
    not_applicable(
        "R5.1 a",
        "the choice is left to the server, which documents it",
        "asks for documentation, not for an answer: docs/http.md",
    ),
    tried("R5.1 b", "X-Representative explains the choice", check!(choice_is_explained)),
    tried("R5.1 c", "representative = first, middle, richest", check!(choice_is_configurable)),
    tried("R5.2 a", "a frame that is asked for is that frame", check!(frame_asked_for)),
    tried("R5.2 b", "else Representative Frame Number", check!(representative_frame_number)),
    tried("R5.2 c", "else the middle: number ⌊n/2⌋ + 1", check!(middle_frame)),
    tried("R5.3 a", "series: the middle by Instance Number", check!(middle_instance)),
    tried("R5.3 b", "localizers give way to others", check!(localizers)),
    tried("R5.3 c", "whatever order the archive lists in", check!(reversed_archive)),
    tried("R5.3 d", "an undecodable one gives way to its neighbour", check!(neighbours)),
    tried("R5.3 e", "from searches in pages", check!(searches_in_pages)),
    tried("R5.4 a", "study: the image that a key object flags", check!(key_objects)),
    tried("R5.4 b", "else the images' largest series, lowest number", check!(best_series)),
    not_applicable("R5.5", "Icon Image Sequence", "off by default: small, and of unknown identity"),
    tried("R5.6 a", "reports, documents, waveforms have a card", check!(cards)),
    tried("R5.6 b", "a mixed study's thumbnail never fails", check!(mixed_studies)),
    tried("R5.6 c", "states and key objects: what they refer to", check!(first_reference)),
    tried("R5.6 d", "an empty study is 404", check!(empty_study)),
    tried("R5.7 a", "longest side 256, never enlarged", check!(default_size)),
    tried("R5.7 b", "a viewport enlarges", check!(viewport_size)),
];

/// The grey that a resource shows, alone and as thumbnail.
async fn shows(archive: &Archive, level: &str, grey: u8) -> Verdict {
    for resource in ["rendered", "thumbnail"] {
        let asked = archive.get_accept(&format!("{level}/{resource}"), "image/png").await;
        asked.typed("image/png")?.shows(grey)?;
    }
    Ok(())
}

async fn choice_is_explained(archive: &Archive) -> Verdict {
    let many = [SLICES.series_path(), KEYED.study_path(), SERIES.study_path()];
    let many = many.iter().flat_map(|level| ["rendered", "thumbnail"].map(|of| (level, of)));
    // A thumbnail of an object is of no collection.
    let frames = (&FRAMES.path(), "rendered");
    for (level, resource) in many.chain([frames]) {
        let asked = archive.get_accept(&format!("{level}/{resource}"), "image/png").await;
        let said = asked.status(200)?.header("x-representative");
        asked.must(!said.is_empty(), "X-Representative")?;
        asked.must(!said.contains("Doe"), "nothing of the patient in it")?;
    }
    Ok(())
}

async fn choice_is_configurable(archive: &Archive) -> Verdict {
    let thumbnail = async |proxy: &Proxy, level: &str| {
        let path = format!("{level}/thumbnail");
        let asked = ask(proxy, Method::GET, &path, &[("Accept", "image/png")]).await;
        asked.typed("image/png")?.first_picture()
    };
    let first = archive.configured(&[("representative", "first")]).await;
    equal("first of a series", thumbnail(&first, &SLICES.series_path()).await?.at(0, 0), 140)?;
    let middle = archive.configured(&[("representative", "middle")]).await;
    equal("middle of a series", thumbnail(&middle, &SLICES.series_path()).await?.at(0, 0), 160)?;
    let richest = archive.configured(&[("representative", "richest")]).await;
    for series in [CONTRASTS.series_path(), CONTRASTS.study_path()] {
        let picture = thumbnail(&richest, &series).await?;
        let lively = picture.samples.iter().max() > Some(&200) && picture.samples.contains(&0);
        if !lively {
            return Err(format!("{series}/thumbnail with representative=richest: a flat image"));
        }
    }
    Ok(())
}

async fn frame_asked_for(archive: &Archive) -> Verdict {
    for place in [FRAMES, POINTED] {
        for number in 1..=5_u8 {
            shows(archive, &format!("{}/frames/{number}", place.path()), 10 * number).await?;
        }
    }
    Ok(())
}

async fn representative_frame_number(archive: &Archive) -> Verdict {
    for level in [POINTED.path(), POINTED.series_path(), POINTED.study_path()] {
        shows(archive, &level, 20).await?;
    }
    Ok(())
}

async fn middle_frame(archive: &Archive) -> Verdict {
    for level in [FRAMES.path(), FRAMES.series_path(), FRAMES.study_path()] {
        shows(archive, &level, 30).await?;
    }
    Ok(())
}

async fn middle_instance(archive: &Archive) -> Verdict {
    shows(archive, &SLICES.series_path(), 160).await?;
    shows(archive, &EVEN_SLICES.series_path(), 30).await
}

async fn localizers(archive: &Archive) -> Verdict {
    // Three localizers come first by their numbers: with them the middle would be another.
    shows(archive, &SLICES.series_path(), 160).await?;
    shows(archive, &SLICES.path(), 1).await
}

async fn reversed_archive(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    between.reverse_lists();
    for (level, grey) in [
        (SLICES.series_path(), 160),
        (EVEN_SLICES.series_path(), 30),
        (KEYED.study_path(), 99),
        (SERIES.study_path(), 70),
    ] {
        for resource in ["rendered", "thumbnail"] {
            let path = format!("{level}/{resource}");
            let asked = ask(&proxy, Method::GET, &path, &[("Accept", "image/png")]).await;
            asked.typed("image/png")?.shows(grey)?;
        }
    }
    Ok(())
}

async fn neighbours(archive: &Archive) -> Verdict {
    for (level, greys) in [
        (BROKEN_MIDDLE.series_path(), [10, 30]),
        (BROKEN_MIDDLE.study_path(), [10, 30]),
        (BROKEN_FIRST.series_path(), [20, 20]),
        (BROKEN_LAST.series_path(), [20, 20]),
    ] {
        for resource in ["rendered", "thumbnail"] {
            let asked = archive.get_accept(&format!("{level}/{resource}"), "image/png").await;
            let grey = asked.typed("image/png")?.first_picture()?.at(0, 0);
            asked.must(greys.contains(&grey), format_args!("one of {greys:?}, not {grey}"))?;
        }
    }
    Ok(())
}

/// An archive that lists at most two matches at a time, whatever limit it is asked for, and says that
/// there are more (PS3.18 §8.3.4.4).
async fn searches_in_pages(archive: &Archive) -> Verdict {
    let (between, proxy) = archive.disturbed(&[]).await;
    between.limit_lists(2);
    for (level, grey) in [(SLICES.series_path(), 160), (SERIES.study_path(), 70)] {
        let path = format!("{level}/thumbnail");
        let asked = ask(&proxy, Method::GET, &path, &[("Accept", "image/png")]).await;
        asked.typed("image/png")?.shows(grey)?;
    }
    Ok(())
}

async fn key_objects(archive: &Archive) -> Verdict {
    shows(archive, &KEYED.study_path(), 99).await
}

async fn best_series(archive: &Archive) -> Verdict {
    shows(archive, &SERIES.study_path(), 70).await
}

async fn cards(archive: &Archive) -> Verdict {
    let mut seen = Vec::new();
    for place in [REPORT, PDF, ECG] {
        let picture = archive.png(&format!("{}/thumbnail", place.path())).await?;
        let longest = picture.width.max(picture.height);
        equal("longest side of a card", longest <= 256, true)?;
        let drawn = picture.samples.iter().max() != picture.samples.iter().min();
        equal("something is drawn on the card", drawn, true)?;
        if seen.contains(&picture.samples) {
            return Err("the cards of two kinds look the same".into());
        }
        seen.push(picture.samples);
    }
    Ok(())
}

async fn mixed_studies(archive: &Archive) -> Verdict {
    for level in [
        WAVED.study_path(),
        LONE_ECG.study_path(),
        LONE_ECG.series_path(),
        REPORT.study_path(),
        REPORT.series_path(),
        PDF.series_path(),
        SERIES.study_path(),
        KEYED.study_path(),
        STATE.study_path(),
        STATE.series_path(),
        KEY_OBJECT.series_path(),
    ] {
        archive.get(&format!("{level}/thumbnail")).await.typed("image/jpeg")?.decoded()?;
    }
    Ok(())
}

async fn first_reference(archive: &Archive) -> Verdict {
    for level in [KEY_OBJECT.path(), KEY_OBJECT.series_path()] {
        let path = format!("{level}/thumbnail");
        archive.get_accept(&path, "image/png").await.typed("image/png")?.shows(99)?;
    }
    // The state's first image, the second chart, is a picture with many levels and no card.
    let picture = archive.png(&format!("{}/thumbnail", STATE.path())).await?;
    let size = (picture.width, picture.height);
    // As the image is, or as the state turns it.
    if size != (64, 48) && size != (48, 64) {
        return Err(format!("thumbnail of a state: {size:?} is not the size of its first image"));
    }
    Ok(())
}

async fn empty_study(archive: &Archive) -> Verdict {
    let unknown = Place::new(9998, 1, 1);
    for level in [unknown.study_path(), unknown.series_path()] {
        archive.get(&format!("{level}/thumbnail")).await.status(404)?;
        archive.get_accept(&format!("{level}/rendered"), "image/jpeg").await.status(404)?;
    }
    Ok(())
}

async fn default_size(archive: &Archive) -> Verdict {
    for (place, size) in [(LARGE, (256, 128)), (RAMP, (256, 64)), (FRAMES, (16, 16))] {
        let picture = archive.png(&format!("{}/thumbnail", place.path())).await?;
        equal(&format!("thumbnail of {}", place.path()), (picture.width, picture.height), size)?;
    }
    // Rendered at its native size, where no viewport asks otherwise.
    let rendered = archive.png(&format!("{}/rendered", LARGE.path())).await?;
    equal("rendered", (rendered.width, rendered.height), (1024, 512))?;
    let proxy = archive.configured(&[("thumbnail_size", "100")]).await;
    let path = format!("{}/thumbnail", LARGE.path());
    let asked = ask(&proxy, Method::GET, &path, &[]).await;
    equal("thumbnail_size = 100", asked.decoded()?.size(), (100, 50))
}

async fn viewport_size(archive: &Archive) -> Verdict {
    for (viewport, size) in [("512,512", (512, 512)), ("64,8", (8, 8)), ("1,1", (1, 1))] {
        let path = format!("{}/thumbnail?viewport={viewport}", FRAMES.path());
        let picture = archive.png(&path).await?;
        equal(&path, (picture.width, picture.height), size)?;
        near(&path, &picture.samples, &vec![30; picture.samples.len()], 0)?;
    }
    Ok(())
}
