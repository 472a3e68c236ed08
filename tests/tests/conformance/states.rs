//! Section 2: presentation states, R2.11.

use lightbox_tests::pictures::Picture;

use crate::archive::{Archive, PNGS, equal, near};
use crate::objects::{CHART, CHART_SIZE, MAGNIFIED, STATE, chart_pixel};
use crate::parameters::{are_the_same, rendered};
use crate::walk::{Requirement, Verdict, check, not_applicable, tried};
use crate::window::voi;

pub(crate) const WALK: &[Requirement] = &[
    tried("R2.11 a", "a state renders all it refers to, in order", check!(state_renders_all)),
    tried("R2.11 b", "with its own windows, turned and mirrored", check!(state_transforms)),
    tried("R2.11 c", "the displayed area is scaled to the viewport", check!(state_is_scaled)),
    tried("R2.11 d", "MAGNIFY: magnified, then cropped", check!(state_is_magnified)),
    tried("R2.11 e", "window, region and frames are 400", check!(bad_parameters_of_a_state)),
    tried("R2.11 f", "no parameter applies a state to an image", check!(presentation_uid)),
    not_applicable(
        "R2.11 g",
        "blending: one output per underlying frame",
        "blending states are not among the classes that are drawn",
    ),
];

async fn state_renders_all(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&rendered(&STATE, ""), PNGS).await;
    let parts = asked.parts()?;
    equal("a part for each image that is referred to", parts.len(), 2)?;
    for part in &parts {
        asked.must(!part.header("content-location").is_empty(), "Content-Location of each part")?;
    }
    // The second image comes first, as it is referred to: its window is steep.
    let levels =
        |picture: &Picture| picture.samples.iter().filter(|s| (1..255).contains(*s)).count();
    let pictures = asked.pictures()?;
    let (first, second) = (levels(pictures[0].first()), levels(pictures[1].first()));
    asked.must(first < second, "the images in the order of the references")?;
    archive.get_accept(&rendered(&STATE, ""), "image/png").await.typed("image/png").map(drop)
}

async fn state_transforms(archive: &Archive) -> Verdict {
    let pictures = archive.get_accept(&rendered(&STATE, ""), PNGS).await.pictures()?;
    let (columns, rows) = CHART_SIZE;
    let transposed = |function: &dyn Fn(f64) -> f64| -> Vec<u8> {
        let pixel = |at: usize| chart_pixel(at / rows, at % rows);
        (0..columns * rows).map(|at| function(pixel(at).into()).round() as u8).collect()
    };
    let windows = [(100.0, 50.0), (128.0, 256.0)];
    for (picture, (centre, width)) in pictures.iter().zip(windows) {
        equal("size, turned", picture.size(), (rows, columns))?;
        let expected = transposed(&|x| voi("linear", centre, width, x));
        let grey: Vec<u8> =
            picture.first().samples.iter().step_by(picture.first().channels).copied().collect();
        near(&format!("the state's window {centre}, {width}"), &grey, &expected, 1)?;
    }
    equal("pictures", pictures.len(), 2)
}

async fn state_is_scaled(archive: &Archive) -> Verdict {
    for (viewport, size) in [("24,24", (18, 24)), ("480,480", (360, 480)), ("12,100", (12, 16))] {
        let path = rendered(&STATE, &format!("viewport={viewport}"));
        for picture in archive.get_accept(&path, PNGS).await.pictures()? {
            equal(&format!("size of viewport={viewport}"), picture.size(), size)?;
        }
    }
    Ok(())
}

async fn state_is_magnified(archive: &Archive) -> Verdict {
    let asked = archive.get_accept(&rendered(&MAGNIFIED, "viewport=32,32"), PNGS).await;
    let pictures = asked.pictures()?;
    equal("parts", pictures.len(), 1)?;
    equal("size, cropped to the viewport", pictures[0].size(), (32, 32))?;
    // Twice as large: a step of three levels a column becomes one and a half.
    let middle = |x| f64::from(pictures[0].first().at(x, 16));
    let slope = (middle(24) - middle(8)) / 16.0;
    let right = (slope - 1.5).abs() < 0.2;
    asked.must(right, format_args!("a slope of 1.5 levels a column, not {slope}")).map(drop)
}

async fn bad_parameters_of_a_state(archive: &Archive) -> Verdict {
    let frames = format!("{}/frames/1/rendered", STATE.path());
    let paths = [
        rendered(&STATE, "window=40,400,linear"),
        rendered(&STATE, "viewport=64,64,0,0,8,8"),
        rendered(&STATE, "viewport=64,64,,,8,8"),
        frames,
    ];
    for path in paths {
        archive.get_accept(&path, PNGS).await.status(400)?;
    }
    Ok(())
}

async fn presentation_uid(archive: &Archive) -> Verdict {
    let query = format!("presentationUID={}", STATE.instance_uid());
    are_the_same(archive, &CHART, "", &[&query]).await
}
