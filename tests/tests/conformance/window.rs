//! Section 2: `window`, R2.8, and what it leaves in force, R2.12.

use http::Method;
use lightbox_tests::Place;

use crate::archive::{Archive, PNGS, ask, near};
use crate::objects::{INVERSE, PRIMARIES, RAMP, SLOPE, STATE};
use crate::parameters::{are_400, are_the_same, rendered};
use crate::walk::{Requirement, Verdict, check, tried};

pub(crate) const WALK: &[Requirement] = &[
    tried("R2.8 a", "linear, linear-exact, sigmoid by formula", check!(window_functions)),
    tried("R2.8 b", "in output units of the modality LUT", check!(window_units)),
    tried("R2.8 c", "all three values, exactly", check!(bad_windows)),
    tried("R2.8 d", "widths: linear from 1, others above 0", check!(window_widths)),
    tried("R2.8 e", "MONOCHROME1 is inverted after it", check!(window_of_monochrome1)),
    tried("R2.8 f", "no effect on colour", check!(window_of_colour)),
    tried("R2.8 g", "a presentation state takes none: 400", check!(window_of_a_state)),
    tried("R2.8 h", "names such as lung, not when strict", check!(window_names)),
    tried("R2.12", "modality LUT and polarity stay in force", check!(image_transforms_stay)),
];

/// PS3.3 C.11.2.1.2 and C.11.2.1.3, with 0 to 255 for the output.
pub(crate) fn voi(function: &str, centre: f64, width: f64, x: f64) -> f64 {
    let y = match function {
        "linear" if width == 1.0 => {
            if x <= centre - 0.5 {
                0.0
            } else {
                1.0
            }
        }
        "linear" => (x - (centre - 0.5)) / (width - 1.0) + 0.5,
        "linear-exact" => (x - centre) / width + 0.5,
        _ => 1.0 / (1.0 + (-4.0 * (x - centre) / width).exp()),
    };
    y.clamp(0.0, 1.0) * 255.0
}

/// Compares the first row under a window with the formula, for modality values `x(column)`.
async fn follows(
    archive: &Archive,
    place: &Place,
    window: (&str, f64, f64),
    x: impl Fn(usize) -> f64,
    y: impl Fn(f64) -> f64,
) -> Verdict {
    let (function, centre, width) = window;
    let query = format!("window={centre},{width},{function}");
    let picture = archive.png(&rendered(place, &query)).await?;
    let expected = (0..256).map(|column| y(voi(function, centre, width, x(column))).round() as u8);
    let row = &picture.samples[..256 * picture.channels];
    let row: Vec<u8> = row.iter().step_by(picture.channels).copied().collect();
    near(&query, &row, &expected.collect::<Vec<u8>>(), 1)
}

const WINDOWS: [(&str, f64, f64); 10] = [
    ("linear", 128.0, 256.0),
    ("linear", 100.0, 50.0),
    ("linear", 100.0, 1.0),
    ("linear", 40.5, 2.0),
    ("linear-exact", 128.0, 256.0),
    ("linear-exact", 100.0, 50.0),
    ("linear-exact", 100.25, 0.5),
    ("sigmoid", 128.0, 100.0),
    ("sigmoid", 60.0, 0.5),
    ("sigmoid", -10.0, 400.0),
];

async fn window_functions(archive: &Archive) -> Verdict {
    for window in WINDOWS {
        follows(archive, &RAMP, window, |x| x as f64, |y| y).await?;
    }
    Ok(())
}

async fn window_units(archive: &Archive) -> Verdict {
    for window in [("linear", 0.0, 300.0), ("linear-exact", -200.0, 100.0), ("sigmoid", 50.0, 80.0)]
    {
        follows(archive, &SLOPE, window, |x| 2.0 * (x as f64 - 128.0) - 100.0, |y| y).await?;
    }
    Ok(())
}

async fn bad_windows(archive: &Archive) -> Verdict {
    let queries = [
        "window=40",
        "window=40,400",
        "window=40,400,",
        "window=,400,linear",
        "window=40,,linear",
        "window=40,400,linear,",
        "window=40,400,linear,1",
        "window=40,400,linear_exact",
        "window=40,400,LINEAR_EXACT",
        "window=linear,40,400",
        "window=40;400;linear",
        "window=40,400,%20linear",
        "window=nosuchpreset",
    ];
    are_400(archive, &RAMP, &queries).await
}

async fn window_widths(archive: &Archive) -> Verdict {
    for window in ["0,1,linear", "0,0.01,linear-exact", "0,0.01,sigmoid"] {
        archive.get(&rendered(&RAMP, &format!("window={window}"))).await.status(200)?;
    }
    let queries = [
        "window=0,0.99,linear",
        "window=0,0,linear",
        "window=0,-1,linear",
        "window=0,0,linear-exact",
        "window=0,-5,linear-exact",
        "window=0,0,sigmoid",
        "window=0,-0.1,sigmoid",
    ];
    are_400(archive, &RAMP, &queries).await
}

async fn window_of_monochrome1(archive: &Archive) -> Verdict {
    for window in WINDOWS {
        follows(archive, &INVERSE, window, |x| x as f64, |y| 255.0 - y).await?;
    }
    Ok(())
}

async fn window_of_colour(archive: &Archive) -> Verdict {
    let queries = ["window=40,400,linear", "window=0,1,sigmoid"];
    are_the_same(archive, &PRIMARIES, "", &queries).await?;
    // A palette's colours (instance 4).
    are_the_same(archive, &Place::new(5006, 1, 4), "", &queries).await
}

async fn window_of_a_state(archive: &Archive) -> Verdict {
    for accept in [PNGS, "image/png", "*/*"] {
        let path = rendered(&STATE, "window=40,400,linear");
        archive.get_accept(&path, accept).await.status(400)?;
    }
    Ok(())
}

async fn window_names(archive: &Archive) -> Verdict {
    let plain = archive.png(&rendered(&SLOPE, "")).await?;
    let lung = archive.png(&rendered(&SLOPE, "window=lung")).await?;
    if lung.samples == plain.samples {
        return Err("window=lung changes nothing".into());
    }
    let path = rendered(&SLOPE, "window=lung");
    ask(archive.strict().await, Method::GET, &path, &[]).await.status(400).map(drop)
}

async fn image_transforms_stay(archive: &Archive) -> Verdict {
    let window = ("linear", -100.0, 200.0);
    follows(archive, &SLOPE, window, |x| 2.0 * (x as f64 - 128.0) - 100.0, |y| y).await?;
    follows(archive, &INVERSE, ("linear", 50.0, 20.0), |x| x as f64, |y| 255.0 - y).await?;
    let region = archive.png(&rendered(&INVERSE, "viewport=16,16,100,0,16,16")).await?;
    let expected: Vec<u8> = (100..116).map(|x| 255 - x).collect();
    near("a region of MONOCHROME1", &region.samples, &expected.repeat(16), 0)
}
