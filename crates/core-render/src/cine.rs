//! Several frames to one animation (R1.8, R1.9).
//!
//! Every frame goes through the same pipeline as a still, one after the other, so that memory is that of
//! one frame and of the bytes so far. Where the frames have no window, all are decoded once before, for
//! the one window they share (R4.14).

use std::collections::HashSet;

use bytes::Bytes;
use dicom_core::{PrimitiveValue, Tag};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::FrameNumber;

use crate::annotation;
use crate::attributes::{Voi, number_of_frames};
use crate::codec;
use crate::codec::Encoded;
use crate::dataset::{number, numbers, primitive};
use crate::encode::{self, Animation};
use crate::error::{RenderError, Result};
use crate::frame::{FileFrames, Frame};
use crate::limits::Limits;
use crate::mosaic::needs_extremes;
use crate::part10;
use crate::pipeline::{self, Finished, is_lossless};
use crate::slide::total_matrix;
use crate::source::{Cine, EncodedFrame, Observer, Picture, RenderJob, Stage};

/// How long a frame is shown where nothing says it, in milliseconds.
const DEFAULT_DELAY: f64 = 100.0;

/// Browsers slow down what is faster.
const SHORTEST_DELAY: u32 = 20;

/// A frame that stays longer looks like a still.
const LONGEST_DELAY: u32 = 10_000;

/// Which frames an animation of so many shows: all, or evenly spread ones where there are more than
/// [`Limits::animation_frames`].
pub fn cine_frames(number_of_frames: u32, limits: &Limits) -> Vec<FrameNumber> {
    let shown = number_of_frames.min(limits.animation_frames);
    // Rounded up, so that the last has no more to stand for than the others.
    let index = |at: u32| (u64::from(at) * u64::from(number_of_frames)).div_ceil(shown.into());
    (0..shown).filter_map(|at| FrameNumber::new(index(at) as u32 + 1)).collect()
}

/// The frames that an animation of a whole file shows: those of [`cine_frames`]; of a video and of a
/// slide, which are not animated, the first alone.
///
/// # Errors
/// As [`crate::render`]'s, of a file that cannot be read or holds no image.
pub fn frames_of_file(file: &Bytes, limits: &Limits) -> Result<Vec<FrameNumber>> {
    let frames = FileFrames::open(part10::read(file, limits)?, limits)?;
    let still = frames.transfer_syntax.is_video() || total_matrix(&frames.dataset).is_some();
    Ok(cine_frames(if still { 1 } else { frames.count() }, limits))
}

/// How long each of `frames` is shown, in milliseconds, 20 to 10000.
///
/// By Frame Time Vector (0018,1065), unless Frame Increment Pointer (0028,0009) names something else;
/// else Frame Time (0018,1063), Recommended Display Frame Rate (0008,2144), Cine Rate (0018,0040); else
/// 100 ms. What says when a frame was acquired is not when it is to be shown. What is rounded off one
/// delay is made up for in the next.
///
/// Of the frames of [`cine_frames`], one stays until the next is due, so that they take as long as all
/// would; the last stays no longer than any before it. Any others stay for their own time.
pub fn frame_delays(dataset: &InMemDicomObject, frames: &[FrameNumber]) -> Vec<u32> {
    let times = Times::read(dataset);
    let all = u64::from(number_of_frames(dataset));
    // Those that the object's own animation would not show are not sampled, but chosen.
    let shown = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    let limits = Limits { animation_frames: shown, ..Limits::default() };
    let sampled = frames == cine_frames(number_of_frames(dataset), &limits);
    let gap = |frame, next| if sampled { gap(frame, next) } else { 1 };
    let gaps = frames.windows(2).map(|pair| gap(pair[0].get().into(), pair[1].get().into()));
    let widest = gaps.max().unwrap_or(1);
    let mut exact = 0.0;
    let mut rounded = 0.0_f64;
    let delays = frames.iter().enumerate().map(|(at, frame)| {
        let first = u64::from(frame.get());
        let shown = match frames.get(at + 1) {
            Some(next) => gap(first, next.get().into()),
            None => gap(first, all + 1).min(widest),
        };
        exact += times.between(first, first + shown);
        let delay = exact.round() - rounded;
        rounded = exact.round();
        (delay as u32).clamp(SHORTEST_DELAY, LONGEST_DELAY)
    });
    delays.collect()
}

/// How many frames one stays until another is due.
fn gap(frame: u64, next: u64) -> u64 {
    if next > frame { next - frame } else { 1 }
}

/// When frames are due.
enum Times {
    /// Milliseconds from the first frame on; the last is that of one frame more than there are.
    Due(Vec<f64>),
    /// Milliseconds a frame.
    Steady(f64),
}

impl Times {
    fn read(dataset: &InMemDicomObject) -> Self {
        Self::vector(dataset).unwrap_or_else(|| Self::Steady(steady(dataset)))
    }

    /// C.7.6.5: the first value is 0, each other the time from the frame before it.
    fn vector(dataset: &InMemDicomObject) -> Option<Self> {
        let pointers = pointers(dataset);
        if !pointers.is_empty() && !pointers.contains(&tags::FRAME_TIME_VECTOR) {
            return None;
        }
        let increments: Option<Vec<f64>> =
            numbers(dataset, tags::FRAME_TIME_VECTOR).into_iter().collect();
        let increments = increments.filter(|increments| increments.iter().all(|v| *v >= 0.0))?;
        let enough = increments.len() as u64 >= u64::from(number_of_frames(dataset));
        let last = *increments.last().filter(|_| enough && increments.len() > 1)?;
        let mut now = 0.0;
        let due = increments.iter().skip(1).chain([&last]).map(|increment| {
            now += increment;
            now
        });
        Some(Self::Due(std::iter::once(0.0).chain(due).collect()))
    }

    /// The time from the one frame to the other, counted from 1.
    fn between(&self, from: u64, to: u64) -> f64 {
        match self {
            Self::Steady(each) => each * (to - from) as f64,
            Self::Due(due) => {
                let at = |frame: u64| {
                    let index = usize::try_from(frame - 1).unwrap_or(usize::MAX);
                    due[index.min(due.len() - 1)]
                };
                at(to) - at(from)
            }
        }
    }
}

fn steady(dataset: &InMemDicomObject) -> f64 {
    let positive = |tag| number(dataset, tag).filter(|value| *value > 0.0);
    let of_rate = |tag| positive(tag).map(|rate| 1000.0 / rate);
    positive(tags::FRAME_TIME)
        .or_else(|| of_rate(tags::RECOMMENDED_DISPLAY_FRAME_RATE))
        .or_else(|| of_rate(tags::CINE_RATE))
        .unwrap_or(DEFAULT_DELAY)
        // Before times are added up.
        .min(f64::from(LONGEST_DELAY))
}

fn pointers(dataset: &InMemDicomObject) -> Vec<Tag> {
    match primitive(dataset, tags::FRAME_INCREMENT_POINTER) {
        Some(PrimitiveValue::Tags(tags)) => tags.to_vec(),
        _ => Vec::new(),
    }
}

/// Draws a cine: a still of one frame, an animation of more. Frames that cannot be drawn, or that come
/// out in another size or with another profile than the first, are left out, with a warning.
///
/// # Errors
/// The limits; an output that has no animations; or why no frame at all could be drawn.
pub(crate) fn render(cine: &Cine, job: &RenderJob, observe: &mut Observer<'_>) -> Result<Picture> {
    let limits = &job.limits;
    let frames = Frames::open(cine, limits)?;
    limits.check_frames(frames.len())?;
    let annotated = annotation::is_asked_for(&job.spec);
    let dataset = || frames.dataset().filter(|_| annotated).cloned();
    let wants_icon =
        || frames.get(0).is_ok_and(|frame| frame.attributes.burned_in.wants_icon(&job.spec));
    // A card does not move.
    if frames.len() == 1 || wants_icon() {
        let frame = Frame { dataset: dataset(), ..frames.get(0)? };
        return pipeline::still(frame, job, observe);
    }
    encode::check_animated(job.spec.output)?;
    let delays = frames.delays()?;
    let window = frames.shared_window(job)?;

    let mut reel = Reel { job, frames: frames.len(), said: HashSet::new(), picture: None };
    let mut failures = Vec::new();
    for (at, delay) in delays.into_iter().enumerate() {
        observe(Stage::Decode)?;
        let drawn = frames.get(at).and_then(|mut frame| {
            frame.dataset = dataset();
            if let (Some(window), true) = (&window, needs_extremes(&frame.attributes, &job.spec)) {
                frame.attributes.voi = window.clone();
            }
            pipeline::animated(frame, job, observe)
        });
        match drawn {
            Ok(drawn) if reel.takes(&drawn)? => {
                observe(Stage::Encode)?;
                reel.push(drawn, delay)?;
            }
            Ok(_) => failures.push(RenderError::damaged("a frame is unlike the first of its cine")),
            Err(error) => failures.push(error),
        }
    }
    reel.finish(failures)
}

/// The frames of a cine, still encoded.
enum Frames<'a> {
    File(Box<FileFrames>, &'a [FrameNumber]),
    Single(&'a [EncodedFrame], &'a [u32], &'a Limits),
}

impl<'a> Frames<'a> {
    fn open(cine: &'a Cine, limits: &'a Limits) -> Result<Self> {
        let frames = match cine {
            Cine::File { bytes, frames } => {
                let opened = FileFrames::open(part10::read(bytes, limits)?, limits)?;
                Self::File(Box::new(opened), frames)
            }
            Cine::Frames { frames, delays } => {
                limits.check_bytes(frames.iter().map(|frame| frame.bytes.len() as u64).sum())?;
                Self::Single(frames, delays, limits)
            }
        };
        let video = match &frames {
            Self::File(file, _) => file.transfer_syntax.is_video(),
            Self::Single(frames, ..) => frames.iter().any(|f| f.transfer_syntax.is_video()),
        };
        match video {
            true => Err(RenderError::unsupported("an animation of a video")),
            false => Ok(frames),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::File(_, numbers) => numbers.len(),
            Self::Single(frames, ..) => frames.len(),
        }
    }

    fn get(&self, at: usize) -> Result<Frame> {
        match self {
            Self::File(file, numbers) => file.get(numbers[at]),
            Self::Single(frames, _, limits) => {
                let EncodedFrame { attributes, transfer_syntax, bytes } = &frames[at];
                Frame::alone(attributes, transfer_syntax, bytes, limits)
            }
        }
    }

    /// The data set, which holds the texts of annotations.
    fn dataset(&self) -> Option<&InMemDicomObject> {
        match self {
            Self::File(file, _) => Some(&file.dataset),
            Self::Single(..) => None,
        }
    }

    fn delays(&self) -> Result<Vec<u32>> {
        match self {
            Self::File(file, numbers) => Ok(frame_delays(&file.dataset, numbers)),
            Self::Single(frames, delays, _) if frames.len() == delays.len() => {
                Ok(delays.iter().map(|d| (*d).clamp(SHORTEST_DELAY, LONGEST_DELAY)).collect())
            }
            Self::Single(..) => Err(RenderError::damaged("frames and delays differ in number")),
        }
    }

    /// R4.14: from the lowest to the highest value of all frames that have no window. They are decoded
    /// once more for it, rather than all of them kept.
    fn shared_window(&self, job: &RenderJob) -> Result<Option<Voi>> {
        let mut range: Option<(f64, f64)> = None;
        let mut pixels = 0_u64;
        for at in 0..self.len() {
            // What cannot be decoded is told of when it is to be drawn.
            let Ok(frame) = self.get(at) else { continue };
            let (rows, columns) = (frame.attributes.rows, frame.attributes.columns);
            job.limits.check_source(rows, columns)?;
            pixels = pixels.saturating_add(u64::from(rows) * u64::from(columns));
            job.limits.check_sources(pixels)?;
            if !needs_extremes(&frame.attributes, &job.spec) {
                continue;
            }
            let Some((low, high)) = extremes(&frame, &job.limits) else { continue };
            let (lowest, highest) = range.unwrap_or((low, high));
            range = Some((lowest.min(low), highest.max(high)));
        }
        Ok(range.map(|(low, high)| Voi::Range { low, high }))
    }
}

fn extremes(frame: &Frame, limits: &Limits) -> Option<(f64, f64)> {
    let attributes = &frame.attributes;
    let encoded = Encoded {
        attributes,
        bytes: &frame.bytes,
        lossless: is_lossless(&frame.transfer_syntax),
        limits,
        density: &|_, _| 1.0,
        tile: None,
    };
    let decoded = codec::decode(&frame.transfer_syntax, &encoded, &mut Vec::new()).ok()?;
    let modality = |stored| attributes.modality.apply(stored);
    Some(decoded.cells.range(decoded.layout, attributes.padding, modality))
}

/// The animation as far as it is, and what the frames to come must be like.
struct Reel<'a> {
    job: &'a RenderJob,
    /// How many there are to be.
    frames: usize,
    said: HashSet<String>,
    picture: Option<(Animation, Picture, Option<Vec<u8>>)>,
}

impl Reel<'_> {
    /// Whether a frame is like the first.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] where it is the first, and so many of it are too many pixels.
    fn takes(&self, drawn: &Finished) -> Result<bool> {
        let (width, height) = (drawn.raster.width, drawn.raster.height);
        let Some((_, first, profile)) = &self.picture else {
            self.job.limits.check_outputs(self.frames, height, width)?;
            return Ok(true);
        };
        Ok((first.width, first.height) == (width, height) && *profile == drawn.profile)
    }

    fn push(&mut self, drawn: Finished, delay: u32) -> Result<()> {
        let Finished { raster, profile, frame, warnings } = drawn;
        let (output, limits) = (self.job.spec.output, &self.job.limits);
        if self.picture.is_none() {
            let picture = Picture {
                bytes: Bytes::new(),
                media_type: output.media_type(),
                width: raster.width,
                height: raster.height,
                frame,
                warnings: Vec::new(),
            };
            let animation = Animation::new(&raster, profile.as_deref(), output, limits)?;
            self.picture = Some((animation, picture, profile));
        }
        if let Some((animation, picture, _)) = &mut self.picture {
            animation.push(&raster, delay)?;
            // Every frame breaks the same rules.
            let new = warnings.into_iter().filter(|warning| self.said.insert(warning.clone()));
            picture.warnings.extend(new);
        }
        Ok(())
    }

    fn finish(self, mut failures: Vec<RenderError>) -> Result<Picture> {
        let Some((animation, mut picture, _)) = self.picture else {
            return Err(failures.swap_remove(0));
        };
        if !failures.is_empty() {
            let (missing, all) = (failures.len(), self.frames);
            picture
                .warnings
                .push(format!("{missing} of {all} frames could not be drawn and are left out"));
        }
        picture.bytes = animation.finish()?.into();
        Ok(picture)
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, VR, dicom_value};
    use proptest::prelude::*;

    use super::*;

    fn dataset(frames: u32, attributes: &[(Tag, &str)]) -> InMemDicomObject {
        let frames = frames.to_string();
        let all = attributes.iter().copied().chain([(tags::NUMBER_OF_FRAMES, frames.as_str())]);
        InMemDicomObject::from_element_iter(
            all.map(|(tag, text)| DataElement::new(tag, VR::DS, PrimitiveValue::from(text))),
        )
    }

    fn pointing_at(mut dataset: InMemDicomObject, tag: Tag) -> InMemDicomObject {
        let pointer = PrimitiveValue::Tags([tag].into_iter().collect());
        dataset.put(DataElement::new(tags::FRAME_INCREMENT_POINTER, VR::AT, pointer));
        dataset
    }

    fn numbers(numbers: &[u32]) -> Vec<FrameNumber> {
        numbers.iter().map(|&n| FrameNumber::new(n).unwrap()).collect()
    }

    fn delays(dataset: &InMemDicomObject) -> Vec<u32> {
        frame_delays(dataset, &cine_frames(number_of_frames(dataset), &Limits::default()))
    }

    #[test]
    fn every_attribute_that_names_a_speed_counts_in_its_order() {
        let slowest = [
            (tags::CINE_RATE, "4"),
            (tags::RECOMMENDED_DISPLAY_FRAME_RATE, "8"),
            (tags::FRAME_TIME, "50.0"),
            (tags::FRAME_TIME_VECTOR, "0\\40"),
        ];
        for (given, due) in [(0, 100), (1, 250), (2, 125), (3, 50), (4, 40)] {
            assert_eq!(delays(&dataset(2, &slowest[..given])), [due; 2], "{given} attributes");
        }
    }

    #[test]
    fn speeds_that_are_none_are_passed_over() {
        for bad in ["0", "-40", "fast", "", "NaN"] {
            let speeds = [(tags::FRAME_TIME, bad), (tags::CINE_RATE, "20")];
            assert_eq!(delays(&dataset(2, &speeds)), [50; 2], "{bad:?}");
        }
    }

    #[test]
    fn a_vector_says_when_each_frame_follows_and_the_last_stays_as_long_as_the_one_before() {
        let vector = dataset(4, &[(tags::FRAME_TIME_VECTOR, "0\\30\\60\\90")]);
        assert_eq!(delays(&vector), [30, 60, 90, 90]);
        let pointed = pointing_at(vector.clone(), tags::FRAME_TIME_VECTOR);
        assert_eq!(delays(&pointed), [30, 60, 90, 90]);
        assert_eq!(delays(&pointing_at(vector, tags::FRAME_TIME)), [100; 4]);
    }

    #[test]
    fn a_vector_that_is_too_short_or_runs_backwards_is_none() {
        for vector in ["0\\30\\60", "0\\30\\-60\\90", "0\\30\\x\\90", "0"] {
            assert_eq!(delays(&dataset(4, &[(tags::FRAME_TIME_VECTOR, vector)])), [100; 4]);
        }
    }

    #[test]
    fn delays_stay_within_what_can_be_seen() {
        assert_eq!(delays(&dataset(2, &[(tags::FRAME_TIME, "1")])), [20; 2]);
        assert_eq!(delays(&dataset(2, &[(tags::FRAME_TIME, "1e300")])), [10_000; 2]);
        assert_eq!(delays(&dataset(2, &[(tags::FRAME_TIME_VECTOR, "0\\1e300")])), [10_000; 2]);
        assert_eq!(delays(&dataset(2, &[(tags::CINE_RATE, "1e-300")])), [10_000; 2]);
    }

    #[test]
    fn fractions_of_a_millisecond_are_carried_on() {
        let delays = delays(&dataset(30, &[(tags::FRAME_TIME, "33.3333333")]));
        assert!(delays.iter().all(|delay| [33, 34].contains(delay)));
        assert_eq!(delays.iter().sum::<u32>(), 1000);
    }

    #[test]
    fn frames_that_are_left_out_leave_their_time_to_the_one_before() {
        let few = Limits { animation_frames: 4, ..Limits::default() };
        let sampled = cine_frames(10, &few);
        assert_eq!(sampled, numbers(&[1, 4, 6, 9]));
        let steady = dataset(10, &[(tags::FRAME_TIME, "40")]);
        assert_eq!(frame_delays(&steady, &sampled), [120, 80, 120, 80]);
        let vector = "0\\10\\20\\30\\40\\50\\60\\70\\80\\90";
        let vector = dataset(10, &[(tags::FRAME_TIME_VECTOR, vector)]);
        assert_eq!(frame_delays(&vector, &sampled), [60, 90, 210, 180]);
    }

    #[test]
    fn frames_out_of_order_or_beyond_the_last_have_a_delay_too() {
        let steady = dataset(10, &[(tags::FRAME_TIME, "40")]);
        // Chosen, not sampled: each for its own time.
        assert_eq!(frame_delays(&steady, &numbers(&[5, 2, 2, 4])), [40; 4]);
        assert_eq!(frame_delays(&steady, &numbers(&[2, 5])), [40; 2]);
        assert_eq!(frame_delays(&steady, &numbers(&[9, 4_000_000_000])), [40; 2]);
        assert_eq!(frame_delays(&steady, &numbers(&[7])), [40]);
        assert_eq!(frame_delays(&steady, &[]), [0; 0]);
        let vector = dataset(2, &[(tags::FRAME_TIME_VECTOR, "0\\40")]);
        assert_eq!(frame_delays(&vector, &numbers(&[1, 2, u32::MAX])), [40, 40, 20]);
    }

    #[test]
    fn a_pointer_that_is_no_tag_points_nowhere() {
        let mut vector = dataset(2, &[(tags::FRAME_TIME_VECTOR, "0\\40")]);
        let value = dicom_value!(Strs, ["nonsense"]);
        vector.put(DataElement::new(tags::FRAME_INCREMENT_POINTER, VR::LO, value));
        assert_eq!(delays(&vector), [40; 2]);
    }

    proptest! {
        #[test]
        fn frames_are_spread_evenly_from_the_first_on(all: u32, most in 0..500_u32) {
            let limits = Limits { animation_frames: most, ..Limits::default() };
            let frames = cine_frames(all, &limits);
            prop_assert_eq!(frames.len() as u32, all.min(most));
            let gaps: Vec<u32> = frames.windows(2).map(|p| p[1].get() - p[0].get()).collect();
            let (least, widest) = (gaps.iter().min(), gaps.iter().max());
            prop_assert!(widest.zip(least).is_none_or(|(w, l)| *l > 0 && w - l <= 1));
            prop_assert!(frames.last().is_none_or(|last| last.get() <= all));
        }

        #[test]
        fn sampled_frames_take_as_long_as_all(all in 2..5000_u32, most in 2..300_u32) {
            let limits = Limits { animation_frames: most, ..Limits::default() };
            let frames = cine_frames(all, &limits);
            let delays = frame_delays(&dataset(all, &[(tags::FRAME_TIME, "25.5")]), &frames);
            let total: u32 = delays.iter().sum();
            let due = f64::from(all) * 25.5;
            prop_assert!((f64::from(total) - due).abs() <= 1.0 || delays.contains(&LONGEST_DELAY));
        }
    }
}
