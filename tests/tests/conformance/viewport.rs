//! Section 2: `viewport`, R2.7.

use lightbox_tests::pictures::Picture;

use crate::archive::{Archive, equal, near};
use crate::objects::{CHART, CHART_SIZE, TALL_PIXELS, chart, chart_pixel};
use crate::parameters::{are_400, rendered, thumbnail};
use crate::walk::{Requirement, Verdict, check, not_applicable, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R2.7 a", "offsets are decimals without sign, default 0", check!(viewport_offsets)),
    tried("R2.7 b", "sizes default to the edge; negative mirrors", check!(viewport_sizes)),
    tried("R2.7 c", "values may be left out between commas", check!(elided_values)),
    tried("R2.7 d", "cropped, scaled until it touches, up too", check!(viewport_scales)),
    tried("R2.7 e", "no viewport: the source's own matrix", check!(no_viewport)),
    not_applicable(
        "R2.7 f",
        "order: presentation transforms, source region, viewport",
        "a presentation state takes no region (R2.7 g), an image has no presentation transforms",
    ),
    tried("R2.7 g", "ill-formed or unsupported viewports are 400", check!(bad_viewports)),
];

/// The part of the chart that a viewport of its own size shows, unscaled.
async fn region(archive: &Archive, viewport: &str) -> Result<Picture, String> {
    archive.png(&rendered(&CHART, &format!("viewport={viewport}"))).await
}

async fn viewport_offsets(archive: &Archive) -> Verdict {
    let expected = chart(8, 4, 16, 12);
    for viewport in
        ["16,12,8,4,16,12", "16,12,-8,-4,16,12", "16,12,8.0,0.4e1,16,12", "16,12,%2B8,+4,16,12"]
    {
        near(viewport, &region(archive, viewport).await?.samples, &expected, 0)?;
    }
    for viewport in ["16,12,,,16,12", "16,12,0,0,16,12", "16,12,-0,+0,16,12"] {
        near(viewport, &region(archive, viewport).await?.samples, &chart(0, 0, 16, 12), 0)?;
    }
    Ok(())
}

async fn viewport_sizes(archive: &Archive) -> Verdict {
    near("to the edge", &region(archive, "24,20,40,28").await?.samples, &chart(40, 28, 24, 20), 0)?;
    near(
        "height to the edge",
        &region(archive, "8,20,40,28,8").await?.samples,
        &chart(40, 28, 8, 20),
        0,
    )?;
    let flipped = |x: bool, y: bool| -> Vec<u8> {
        let at = |from: usize, length: usize, flip: bool, i: usize| {
            from + if flip { length - 1 - i } else { i }
        };
        let pixel = |i: usize| chart_pixel(at(8, 16, x, i % 16), at(4, 12, y, i / 16));
        (0..16 * 12).map(pixel).collect()
    };
    for (viewport, x, y) in [
        ("16,12,8,4,-16,12", true, false),
        ("16,12,8,4,16,-12", false, true),
        ("16,12,8,4,-16,-12", true, true),
    ] {
        near(viewport, &region(archive, viewport).await?.samples, &flipped(x, y), 0)?;
    }
    Ok(())
}

async fn elided_values(archive: &Archive) -> Verdict {
    let right = chart(8, 0, 56, 48);
    let whole = chart(0, 0, 64, 48);
    let cases: [(&str, &[u8]); 8] = [
        ("64,48", &whole),
        ("64,48,", &whole),
        ("64,48,,,,", &whole),
        ("56,48,8", &right),
        ("56,48,8,,,", &right),
        ("56,48,8,0,,48", &right),
        ("56,48,8,,56", &right),
        ("64,48,,,64,48", &whole),
    ];
    for (viewport, expected) in cases {
        near(viewport, &region(archive, viewport).await?.samples, expected, 0)?;
    }
    Ok(())
}

async fn viewport_scales(archive: &Archive) -> Verdict {
    for (viewport, size) in [
        ("32,32", (32, 24)),
        ("100,10", (13, 10)),
        ("10,100", (10, 8)),
        ("640,640", (640, 480)),
        ("128,2000", (128, 96)),
        ("1,1", (1, 1)),
        ("7,7", (7, 5)),
        ("100,100,0,0,10,40", (25, 100)),
        ("100,100,32,24,32,4", (100, 13)),
        // Beyond the edge: clamped to 8 × 8.
        ("16,12,56,40,16,12", (12, 12)),
        ("30,30,0.5,0.5,15,10", (30, 20)),
    ] {
        let picture = region(archive, viewport).await?;
        equal(&format!("size of viewport={viewport}"), (picture.width, picture.height), size)?;
    }
    // Nearly a plane: whatever interpolates it comes near it, away from the edges.
    let half = region(archive, "32,24").await?;
    let twice = region(archive, "128,96").await?;
    for (x, y) in [(10, 10), (20, 5), (28, 20)] {
        let small = half.at(x, y).abs_diff(chart_pixel(2 * x, 2 * y) + 2);
        let large = twice.at(4 * x, 4 * y).abs_diff(chart_pixel(2 * x, 2 * y));
        if small > 1 || large > 2 {
            return Err(format!(
                "scaled chart at {x}, {y}: off by {small} halved, {large} doubled"
            ));
        }
    }
    // Smaller than the region: mirrored after it is cut out.
    let mirrored = region(archive, "8,6,8,4,-16,12").await?;
    let straight = region(archive, "8,6,8,4,16,12").await?;
    let rows = straight.samples.chunks(8).flat_map(|row| row.iter().rev().copied());
    near("a mirrored, halved region", &mirrored.samples, &rows.collect::<Vec<u8>>(), 1)
}

async fn no_viewport(archive: &Archive) -> Verdict {
    for (place, size) in
        [(CHART, CHART_SIZE), (TALL_PIXELS, (64, 32)), (crate::objects::LARGE, (1024, 512))]
    {
        let picture = archive.png(&rendered(&place, "")).await?;
        equal(&format!("size of {}", place.path()), (picture.width, picture.height), size)?;
    }
    let whole = archive.png(&rendered(&CHART, "")).await?;
    near("the chart", &whole.samples, &chart(0, 0, 64, 48), 0)?;
    // With a viewport pixels are made square: twice as high as wide (R4.28).
    let square = archive.png(&rendered(&TALL_PIXELS, "viewport=64,64")).await?;
    equal("size of tall pixels in a viewport", (square.width, square.height), (64, 64))
}

async fn bad_viewports(archive: &Archive) -> Verdict {
    let queries = [
        "64",
        "64,",
        ",64",
        ",",
        "0,64",
        "64,0",
        "-64,64",
        "64,-64",
        "+64,64",
        "64.0,64",
        "6e1,64",
        "a,64",
        "64,64,x",
        "64,64,0,0,0,10",
        "64,64,0,0,10,0",
        "64,64,0,0,0.0,10",
        "1,1,1,1,1,1,1",
        "64,64,64,0",
        "64,64,0,48",
        "64,64,1000,1000,5,5",
        "64,64,-64,0",
        "99999999999,1",
        "1,99999999999",
        "100000,100000",
        "4000000000,4000000000",
        "64;64",
        "64%2064",
    ];
    for viewport in queries {
        are_400(archive, &CHART, &[&format!("viewport={viewport}")]).await?;
    }
    for viewport in ["64,64,0,0,10,10", "64,64,1", "64,64,,,10,10"] {
        archive.get(&thumbnail(&CHART, &format!("viewport={viewport}"))).await.status(400)?;
    }
    Ok(())
}
