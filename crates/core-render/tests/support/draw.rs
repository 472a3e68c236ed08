//! Pictures drawn through the public door, and taken apart again.

use core_render::{
    BurnedIn, FrameChoice, Framing, Limits, Output, Overlays, Picture, Presentation, RenderError,
    RenderJob, RenderSpec, Source,
};
use dicomweb_types::FrameNumber;

/// One rendering in the making: as PNG at native size, without overlays.
#[derive(Clone)]
pub struct Drawing(RenderJob);

/// A picture's pixels.
#[derive(Debug, PartialEq)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<[u8; 3]>,
    pub warnings: Vec<String>,
}

/// Draws the first frame of a file.
pub fn draw(file: impl Into<Vec<u8>>) -> Drawing {
    draw_source(Source::File {
        bytes: file.into().into(),
        frame: FrameChoice::Number(FrameNumber::FIRST),
    })
}

/// Draws from any source.
pub fn draw_source(source: Source) -> Drawing {
    Drawing(RenderJob::new(
        source,
        RenderSpec { overlays: Overlays::Omit, ..RenderSpec::new(Framing::Native, Output::Png) },
        Limits::default(),
    ))
}

impl Drawing {
    /// `center,width,function`, as in the query.
    pub fn window(mut self, text: &str) -> Self {
        self.0.spec.window = Some(text.parse().expect("a legal window"));
        self
    }

    pub fn viewport(mut self, text: &str) -> Self {
        self.0.spec.framing = Framing::Viewport(text.parse().expect("a legal viewport"));
        self
    }

    pub fn fit_within(mut self, side: u32) -> Self {
        self.0.spec.framing = Framing::FitWithin(side.try_into().expect("a side above 0"));
        self
    }

    pub fn overlays(mut self) -> Self {
        self.0.spec.overlays = Overlays::Draw;
        self
    }

    pub fn burned_in(mut self, burned_in: BurnedIn) -> Self {
        self.0.spec.burned_in = burned_in;
        self
    }

    pub fn presentation(mut self, presentation: Presentation) -> Self {
        self.0.presentation = Some(Box::new(presentation));
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    pub fn frame(mut self, number: u32) -> Self {
        if let Source::File { frame, .. } = &mut self.0.source {
            *frame = FrameChoice::Number(FrameNumber::new(number).expect("counted from 1"));
        }
        self
    }

    pub fn result(&self) -> Result<Pixels, RenderError> {
        core_render::render(&self.0, &mut |_| Ok(())).map(pixels)
    }

    /// The picture; the test fails where there is none.
    pub fn pixels(&self) -> Pixels {
        self.result().unwrap_or_else(|error| panic!("no picture: {error}"))
    }

    /// The levels of a picture without colour, row by row.
    pub fn grey(&self) -> Vec<u8> {
        self.pixels().grey()
    }

    pub fn rgb(&self) -> Vec<[u8; 3]> {
        self.pixels().rgb
    }

    pub fn error(&self) -> RenderError {
        match self.result() {
            Ok(pixels) => panic!("a picture where an error is due: {pixels:?}"),
            Err(error) => error,
        }
    }
}

impl Pixels {
    pub fn grey(&self) -> Vec<u8> {
        let level = |&[r, g, b]: &[u8; 3]| {
            assert!(r == g && g == b, "a colour where grey is due: {r} {g} {b}");
            r
        };
        self.rgb.iter().map(level).collect()
    }

    pub fn at(&self, row: u32, column: u32) -> [u8; 3] {
        self.rgb[(row * self.width + column) as usize]
    }
}

fn pixels(picture: Picture) -> Pixels {
    let image = image::load_from_memory(&picture.bytes).expect("a readable PNG").to_rgb8();
    assert_eq!(image.dimensions(), (picture.width, picture.height));
    Pixels {
        width: picture.width,
        height: picture.height,
        rgb: image.pixels().map(|pixel| pixel.0).collect(),
        warnings: picture.warnings,
    }
}

/// Fails unless the colours are within `tolerance` levels of each other.
pub fn assert_close(got: &[[u8; 3]], expected: &[[u8; 3]], tolerance: u8) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let near = got.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= tolerance);
        assert!(near, "pixel {index}: {got:?}, {expected:?} is due");
    }
}
