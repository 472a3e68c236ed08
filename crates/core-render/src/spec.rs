//! What to draw: the words of a rendering request, parsed and legal.
//!
//! The text forms are those of the query parameters of PS3.18 §8.3.5, used by the command line too.

use std::num::NonZeroU32;
use std::str::FromStr;

use dicomweb_types::MediaType;
use serde::{Deserialize, Serialize};

/// Everything that decides how a frame is drawn, defaults resolved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RenderSpec {
    /// Replaces the image's own VOI transform; without effect on colour images (R2.8).
    pub window: Option<Window>,
    /// Which part is shown, and how large.
    pub framing: Framing,
    /// What the picture is encoded as.
    pub output: Output,
    /// Whether overlay planes (60xx) are drawn.
    pub overlays: Overlays,
    /// Which texts are drawn in the corners.
    pub annotation: Annotation,
    /// Whether modality and series number, and nothing else, are drawn in the bottom left corner.
    pub corner_label: bool,
    /// The colour space of the picture, and whether it says so itself.
    pub icc_profile: Option<IccProfile>,
    /// What becomes of texts in the pixels of the image itself.
    pub burned_in: BurnedIn,
}

impl RenderSpec {
    /// The picture as its file wants it: its own window, overlays drawn, no annotation, sRGB, nothing
    /// hidden.
    pub fn new(framing: Framing, output: Output) -> Self {
        Self {
            window: None,
            framing,
            output,
            overlays: Overlays::Draw,
            annotation: Annotation::default(),
            corner_label: false,
            icc_profile: None,
            burned_in: BurnedIn::Render,
        }
    }

    /// Whether the picture may show modality and series number: [`Labels::series`](crate::Labels).
    pub fn may_name_series(&self) -> bool {
        self.corner_label || self.burned_in == BurnedIn::Icon
    }
}

/// What becomes of texts in the pixels of an image, which may name the patient: where Burned In Annotation
/// (0028,0301) is YES, and around the regions of an ultrasound image (0018,6011) unless it is NO (R1.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BurnedIn {
    /// They are drawn as what they are: pixels.
    Render,
    /// So coarsely that they cannot be read: all of the picture or, where there are regions, what is around
    /// them.
    Pixelate,
    /// Where Burned In Annotation is YES, a card instead of the picture; else as [`Self::Pixelate`].
    Icon,
}

impl BurnedIn {
    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Render => "render",
            Self::Pixelate => "pixelate",
            Self::Icon => "icon",
        }
    }
}

impl FromStr for BurnedIn {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "render" => Ok(Self::Render),
            "pixelate" => Ok(Self::Pixelate),
            "icon" => Ok(Self::Icon),
            _ => Err(SpecError("must be pixelate, render or icon")),
        }
    }
}

/// `annotation`: which texts are burned into the corners (PS3.18 §8.3.5.1.1); none by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Annotation {
    /// Name, identifier, birth date and sex of the patient.
    pub patient: bool,
    /// What was done and when: modality, study date, series, instance and frame number …
    pub technique: bool,
}

/// `annotation` as it was said: what of it is drawn, and what of it nobody knows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AnnotationParameter {
    /// What is drawn.
    pub annotation: Annotation,
    /// Keywords that are not the standard's, for the Warning that says so: at most 8, each of at most
    /// 32 characters of an HTTP token.
    pub unknown: Vec<String>,
}

impl FromStr for AnnotationParameter {
    type Err = SpecError;

    /// `1#("patient" / "technique")` (PS3.18 §8.3.5.1.1). Unknown keywords are ignored beside known
    /// ones (R2.5); elements may be empty, as in every list of HTTP (RFC 9110 §5.6.1.2).
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut said = Self::default();
        for keyword in text.split(',').map(|word| word.trim_matches([' ', '\t'])) {
            match keyword {
                "patient" => said.annotation.patient = true,
                "technique" => said.annotation.technique = true,
                "" => {}
                unknown if said.unknown.len() < 8 => said.unknown.push(as_token(unknown)),
                _ => {}
            }
        }
        match said.annotation == Annotation::default() {
            true => Err(SpecError("annotation must be a list of patient and technique")),
            false => Ok(said),
        }
    }
}

/// What can be repeated in a header: other characters than those of a token (RFC 9110 §5.6.2) become
/// underscores.
fn as_token(text: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.chars().take(32).map(|c| if token(c) { c } else { '_' }).collect()
}

/// `iccprofile`: what the colours of the picture are, and whether it carries a profile that says so
/// (PS3.18 §8.3.5.1.5). Where it is absent the picture is sRGB and carries none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum IccProfile {
    /// None is embedded.
    No,
    /// One that describes the pixels is embedded: the object's own, which are then not converted, else
    /// sRGB.
    Yes,
    /// Converted to sRGB (IEC 61966-2-1), embedded.
    Srgb,
    /// Converted to Adobe RGB (1998), embedded.
    AdobeRgb,
    /// Converted to ROMM RGB (ISO 22028-2), embedded.
    RommRgb,
}

/// The encoding of the picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Output {
    /// 8-bit baseline JPEG.
    Jpeg(Quality),
    /// 8-bit PNG, grey or RGB.
    Png,
    /// GIF of at most 256 colours a frame, animated where the source has several frames.
    Gif,
    /// Lossy WebP, animated where the source has several frames.
    WebP(Quality),
    /// JPEG 2000 in its JP2 container.
    Jp2(Quality),
}

impl Output {
    /// The media type of the bytes.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::Jpeg(_) => MediaType::Jpeg,
            Self::Png => MediaType::Png,
            Self::Gif => MediaType::Gif,
            Self::WebP(_) => MediaType::WebP,
            Self::Jp2(_) => MediaType::Jp2,
        }
    }
}

/// Whether overlay planes are drawn (PS3.3 C.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Overlays {
    /// Graphics planes are drawn white over the picture.
    Draw,
    /// None is drawn.
    Omit,
}

/// How the picture is framed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Framing {
    /// The source matrix as it is: no scaling, no correction of the pixel aspect (R2.7 e).
    Native,
    /// A region scaled to touch a viewport, upwards too (R2.7 d).
    Viewport(Viewport),
    /// The whole image, its longest side at most so many pixels, never enlarged.
    FitWithin(NonZeroU32),
}

/// `quality`: 1 to 100, 100 the best (PS3.18 §8.3.5.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Quality(u8);

impl Quality {
    /// The default of rendered pictures.
    pub const RENDERED: Self = Self(90);
    /// The default of thumbnails.
    pub const THUMBNAIL: Self = Self(80);

    /// The value, 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The text of a parameter is not of its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(&'static str);

impl FromStr for Quality {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        unsigned(text)
            .and_then(|n| u8::try_from(n.get()).ok())
            .filter(|n| (1..=100).contains(n))
            .map(Self)
            .ok_or(SpecError("quality must be a whole number from 1 to 100"))
    }
}

impl FromStr for IccProfile {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Ok(match text {
            "no" => Self::No,
            "yes" => Self::Yes,
            "srgb" => Self::Srgb,
            "adobergb" => Self::AdobeRgb,
            "rommrgb" => Self::RommRgb,
            _ => {
                return Err(SpecError("iccprofile must be no, yes, srgb, adobergb or rommrgb"));
            }
        })
    }
}

/// The function of a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum VoiFunction {
    /// C.11.2.1.2.1, the default: the window ends half a value inside its width.
    Linear,
    /// C.11.2.1.3.2.
    LinearExact,
    /// C.11.2.1.3.1.
    Sigmoid,
}

impl VoiFunction {
    /// From a data set's VOI LUT Function (0028,1056); `None` for a value the standard lacks.
    pub fn from_attribute(text: &str) -> Option<Self> {
        match text.trim().to_ascii_uppercase().as_str() {
            "LINEAR" | "" => Some(Self::Linear),
            "LINEAR_EXACT" => Some(Self::LinearExact),
            "SIGMOID" => Some(Self::Sigmoid),
            _ => None,
        }
    }
}

/// A window: centre and width in modality units (CT: HU). Exists only if it is legal.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Window {
    centre: f64,
    width: f64,
    function: VoiFunction,
}

impl Window {
    /// A window with a finite centre and a width that its function allows: at least 1 under
    /// [`VoiFunction::Linear`], above 0 under the others (PS3.3 C.11.2.1.2.1).
    pub fn new(centre: f64, width: f64, function: VoiFunction) -> Option<Self> {
        let legal = match function {
            VoiFunction::Linear => width >= 1.0,
            VoiFunction::LinearExact | VoiFunction::Sigmoid => width > 0.0,
        };
        (legal && centre.is_finite() && width.is_finite()).then_some(Self {
            centre,
            width,
            function,
        })
    }

    /// The centre, in modality units.
    pub fn centre(&self) -> f64 {
        self.centre
    }

    /// The width, in modality units.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// The function.
    pub fn function(&self) -> VoiFunction {
        self.function
    }
}

impl FromStr for Window {
    type Err = SpecError;

    /// `center,width,function`, all three (PS3.18 §8.3.5.1.4).
    fn from_str(text: &str) -> Result<Self, SpecError> {
        const FORM: SpecError = SpecError(
            "window must be center,width,function with function linear, linear-exact or sigmoid",
        );
        let [centre, width, function] = split(text).ok_or(FORM)?;
        let function = match function {
            "linear" => VoiFunction::Linear,
            "linear-exact" => VoiFunction::LinearExact,
            "sigmoid" => VoiFunction::Sigmoid,
            _ => return Err(FORM),
        };
        let centre = decimal(centre).ok_or(FORM)?;
        let width = decimal(width).ok_or(FORM)?;
        Self::new(centre, width, function).ok_or(SpecError(
            "window width must be at least 1 for linear and above 0 for linear-exact and sigmoid",
        ))
    }
}

/// `viewport=vw,vh[,sx,sy,sw,sh]` (PS3.18 §8.3.5.1.3): a source region, scaled with its aspect kept
/// until it touches the viewport's width or height.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Viewport {
    /// Width of the viewport, in pixels of the output.
    pub width: NonZeroU32,
    /// Height of the viewport, in pixels of the output.
    pub height: NonZeroU32,
    /// The part of the image that is shown.
    pub source: SourceRect,
}

/// A region of the source image, in its pixels; (0, 0) is the top left corner.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SourceRect {
    /// Left edge, at least 0.
    pub x: f64,
    /// Top edge, at least 0.
    pub y: f64,
    /// How far it reaches to the right.
    pub width: Extent,
    /// How far it reaches down.
    pub height: Extent,
    /// Mirrored left to right: the width was negative.
    pub mirror_horizontal: bool,
    /// Mirrored top to bottom: the height was negative.
    pub mirror_vertical: bool,
}

impl SourceRect {
    /// The whole image.
    pub const WHOLE: Self = Self {
        x: 0.0,
        y: 0.0,
        width: Extent::ToEdge,
        height: Extent::ToEdge,
        mirror_horizontal: false,
        mirror_vertical: false,
    };
}

/// One side of a region.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Extent {
    /// To the image's edge.
    ToEdge,
    /// So many source pixels, above 0.
    Pixels(f64),
}

impl FromStr for Viewport {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const FORM: SpecError = SpecError(
            "viewport must be width,height or width,height,x,y,region width,region height",
        );
        let tokens: Vec<&str> = text.split(',').collect();
        if !(2..=6).contains(&tokens.len()) {
            return Err(FORM);
        }
        let side = |text| {
            unsigned(text)
                .ok_or(SpecError("viewport width and height must be whole numbers above 0"))
        };
        let optional = |index: usize| match tokens.get(index) {
            None | Some(&"") => Ok(None),
            Some(text) => decimal(text).map(Some).ok_or(FORM),
        };
        let (sw, sh) = (optional(4)?, optional(5)?);
        let extent = |size: Option<f64>| match size {
            None => Ok(Extent::ToEdge),
            Some(0.0) => Err(SpecError("the region of a viewport must not be empty")),
            Some(size) => Ok(Extent::Pixels(size.abs())),
        };
        Ok(Self {
            width: side(tokens[0])?,
            height: side(tokens[1])?,
            source: SourceRect {
                // R2.7 a: the sign of an offset is ignored.
                x: optional(2)?.unwrap_or(0.0).abs(),
                y: optional(3)?.unwrap_or(0.0).abs(),
                width: extent(sw)?,
                height: extent(sh)?,
                mirror_horizontal: sw.is_some_and(|w| w < 0.0),
                mirror_vertical: sh.is_some_and(|h| h < 0.0),
            },
        })
    }
}

fn split<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split(',').collect::<Vec<_>>().try_into().ok()
}

/// `uint` of PS3.18 Table 5.1-1, above 0.
fn unsigned(text: &str) -> Option<NonZeroU32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `decimal` of PS3.18 Table 5.1-1: `[+-]digits[.digits][(e|E)[+-]digits]`, at most 16 characters.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let legal = text.len() <= 16
        && match mantissa.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(mantissa),
        }
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    legal.then(|| text.parse::<f64>().ok()).flatten().filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_need_all_three_words() {
        assert_eq!(
            "40,400,linear".parse::<Window>().unwrap(),
            Window::new(40.0, 400.0, VoiFunction::Linear).unwrap()
        );
        assert!("-1.5e1,0.5,sigmoid".parse::<Window>().is_ok());
        for text in [
            "40,400",
            "40,400,",
            "40,400,LINEAR",
            "40,400,linear,",
            "a,1,linear",
            ",,",
            "",
            ".5,1,linear",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn window_widths_follow_their_function() {
        assert!("0,1,linear".parse::<Window>().is_ok());
        assert!("0,0.9,linear".parse::<Window>().is_err());
        assert!("0,0.9,linear-exact".parse::<Window>().is_ok());
        assert!("0,0,sigmoid".parse::<Window>().is_err());
        assert!("0,-1,linear-exact".parse::<Window>().is_err());
    }

    #[test]
    fn viewports_take_two_to_six_values() {
        let whole: Viewport = "512,256".parse().unwrap();
        assert_eq!((whole.width.get(), whole.height.get()), (512, 256));
        assert_eq!(whole.source, SourceRect::WHOLE);
        let elided: Viewport = "512,512,,,100,200".parse().unwrap();
        assert_eq!((elided.source.x, elided.source.width), (0.0, Extent::Pixels(100.0)));
        assert_eq!("512,512,,,,".parse::<Viewport>().unwrap().source, SourceRect::WHOLE);
    }

    #[test]
    fn a_negative_region_size_mirrors_and_a_negative_offset_does_not() {
        let v: Viewport = "64,64,-10,20,-30,40".parse().unwrap();
        assert_eq!((v.source.x, v.source.y), (10.0, 20.0));
        assert_eq!((v.source.width, v.source.height), (Extent::Pixels(30.0), Extent::Pixels(40.0)));
        assert_eq!((v.source.mirror_horizontal, v.source.mirror_vertical), (true, false));
    }

    #[test]
    fn ill_formed_viewports_are_refused() {
        for text in [
            "",
            "512",
            "512,",
            ",512",
            "0,512",
            "512,0",
            "-1,5",
            "1.5,2",
            "512,512,0,0,0,10",
            "1,1,1,1,1,1,1",
            "a,b",
            "512,512,x",
            "99999999999,1",
            "512,512,nan",
        ] {
            assert!(text.parse::<Viewport>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn decimals_are_those_of_the_standard() {
        for (text, value) in [("1", 1.0), ("+1.50", 1.5), ("-2e3", -2000.0), ("1E-2", 0.01)] {
            assert_eq!(decimal(text), Some(value), "{text}");
        }
        for text in
            ["", ".5", "5.", "1e", "e1", "inf", "NaN", "0x1", "1 ", "12345678901234567", "1e999"]
        {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn annotations_are_a_list_of_two_keywords() {
        let drawn = |text: &str| {
            let AnnotationParameter { annotation, unknown } = text.parse().unwrap();
            assert_eq!(unknown, Vec::<String>::new(), "{text:?}");
            (annotation.patient, annotation.technique)
        };
        assert_eq!(drawn("patient"), (true, false));
        assert_eq!(drawn("technique"), (false, true));
        assert_eq!(drawn("technique,patient"), (true, true));
        assert_eq!(drawn("patient, patient ,,"), (true, false));
    }

    #[test]
    fn annotations_without_a_known_keyword_are_refused() {
        for text in ["", ",", " ", "Patient", "TECHNIQUE", "nonsense", "patient;technique"] {
            assert!(text.parse::<AnnotationParameter>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn unknown_annotations_are_named_in_characters_of_a_token() {
        let unknown = |text: &str| text.parse::<AnnotationParameter>().unwrap().unknown;
        assert_eq!(unknown("patient,measurements,Technique"), ["measurements", "Technique"]);
        assert_eq!(unknown("a\"b\r\nc d,é,patient"), ["a_b__c_d", "_"]);
        let many = format!("patient{}", format!(",{}", "x".repeat(99)).repeat(99));
        assert_eq!(unknown(&many), vec!["x".repeat(32); 8]);
    }

    #[test]
    fn quality_is_one_to_a_hundred() {
        assert_eq!("100".parse::<Quality>().unwrap().get(), 100);
        for text in ["0", "101", "", "-1", "80.5", "+80"] {
            assert!(text.parse::<Quality>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn icc_profiles_are_the_words_of_the_standard() {
        let words = ["no", "yes", "srgb", "adobergb", "rommrgb"];
        let read = words.map(|word| word.parse::<IccProfile>().unwrap());
        use IccProfile::*;
        assert_eq!(read, [No, Yes, Srgb, AdobeRgb, RommRgb]);
        for text in ["", "NO", "sRGB", "adobe", " yes", "yes,no", "true"] {
            assert!(text.parse::<IccProfile>().is_err(), "{text:?}");
        }
    }
}
