//! What can be made of an object of each category (PS3.18 Table 8.7.4-1), the default first.

use core_render::Category;
use dicomweb_types::{DocumentType, MediaType};

use crate::negotiate::{Container, Form, Offer};

/// What a payload is made as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Made {
    /// One picture.
    Picture(MediaType),
    /// Several frames in one picture that moves.
    Animation(MediaType),
    /// A report as text.
    Report(DocumentType),
    /// A document or a video as it is stored.
    Stored(DocumentType),
}

impl Form for Made {
    fn essence(self) -> &'static str {
        match self {
            Self::Picture(media_type) | Self::Animation(media_type) => media_type.as_str(),
            Self::Report(document) | Self::Stored(document) => document.as_str(),
        }
    }

    fn is_picture(self) -> bool {
        matches!(self, Self::Picture(_))
    }
}

/// The forms of a report.
const REPORT: [Made; 3] = [
    Made::Report(DocumentType::Html),
    Made::Report(DocumentType::PlainText),
    Made::Report(DocumentType::Xml),
];

/// One picture, in every type there is.
fn pictures() -> Vec<Made> {
    MediaType::ALL.map(Made::Picture).to_vec()
}

/// The offers of a thumbnail: one picture, always alone (R1.10).
pub(crate) fn of_thumbnail() -> Vec<Offer<Made>> {
    alone(&pictures())
}

/// The offers of an object, alone or among others. `stored` is what a document or video is. In strict
/// mode no picture stands for several (R1.6, R1.8).
pub(crate) fn of_object(
    category: Category,
    stored: Option<DocumentType>,
    strict: bool,
) -> Vec<Offer<Made>> {
    let stored = stored.map(Made::Stored);
    match category {
        Category::SingleFrame => alone_or_as_parts(&pictures()),
        Category::MultiFrame(_) => of_frames(strict),
        Category::PresentationState => {
            let alone = if strict { Vec::new() } else { pictures() };
            parts_or_alone(&pictures(), &alone)
        }
        // The stream first; a still of it for who wants a picture.
        Category::Video => {
            let forms: Vec<Made> = stored.into_iter().chain(pictures()).collect();
            alone_or_as_parts(&forms)
        }
        Category::Report => alone_or_as_parts(&REPORT),
        Category::Document => alone_or_as_parts(stored.as_slice()),
        Category::Other => Vec::new(),
    }
}

/// The offers of several frames: a part each, one that moves, or one that stands for them.
pub(crate) fn of_frames(strict: bool) -> Vec<Offer<Made>> {
    let moving = |made| match made {
        Made::Picture(media_type @ (MediaType::Gif | MediaType::WebP)) => {
            Made::Animation(media_type)
        }
        other => other,
    };
    let mut alone: Vec<Made> = pictures().into_iter().map(moving).collect();
    alone.retain(|made| !strict || matches!(made, Made::Animation(_)));
    parts_or_alone(&pictures(), &alone)
}

/// The offers of a study or a series: everything in it, or one picture that stands for it.
pub(crate) fn of_collection(collections: bool, strict: bool) -> Vec<Offer<Made>> {
    let stored = [
        DocumentType::Pdf,
        DocumentType::Xml,
        DocumentType::Stl,
        DocumentType::Obj,
        DocumentType::Mtl,
        DocumentType::Mp4,
        DocumentType::Mpeg,
    ];
    let all: Vec<Made> =
        pictures().into_iter().chain(REPORT).chain(stored.map(Made::Stored)).collect();
    let alone = if strict { Vec::new() } else { pictures() };
    parts_or_alone(if collections { &all } else { &[] }, &alone)
}

/// Those of `offers` that are parts: the body of a collection has begun.
pub(crate) fn as_parts(offers: Vec<Offer<Made>>) -> Vec<Offer<Made>> {
    offers.into_iter().filter(|offer| offer.container == Container::Parts).collect()
}

fn alone(forms: &[Made]) -> Vec<Offer<Made>> {
    forms.iter().map(|&form| Offer { container: Container::Single, form }).collect()
}

fn parts(forms: &[Made]) -> Vec<Offer<Made>> {
    forms.iter().map(|&form| Offer { container: Container::Parts, form }).collect()
}

fn alone_or_as_parts(forms: &[Made]) -> Vec<Offer<Made>> {
    [alone(forms), parts(forms)].concat()
}

fn parts_or_alone(in_parts: &[Made], by_itself: &[Made]) -> Vec<Offer<Made>> {
    [parts(in_parts), alone(by_itself)].concat()
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderMap};

    use super::*;
    use crate::negotiate::Wishes;

    fn chosen(accept: &str, offers: &[Offer<Made>]) -> Option<(Container, Made)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let offer = Wishes::read(None, &headers, false).unwrap().choose(offers).ok()?;
        Some((offer.container, offer.form))
    }

    #[test]
    fn every_category_has_the_default_of_the_standard() {
        use Category::{Document, MultiFrame, Other, Report, SingleFrame, Video};
        use Container::{Parts, Single};
        let default = |category, stored| chosen("*/*", &of_object(category, stored, false));
        assert_eq!(default(SingleFrame, None), Some((Single, Made::Picture(MediaType::Jpeg))));
        assert_eq!(default(MultiFrame(2), None), Some((Parts, Made::Picture(MediaType::Jpeg))));
        assert_eq!(default(Report, None), Some((Single, Made::Report(DocumentType::Html))));
        for (category, stored) in [(Document, DocumentType::Pdf), (Video, DocumentType::Mp4)] {
            assert_eq!(default(category, Some(stored)), Some((Single, Made::Stored(stored))));
        }
        assert_eq!(default(Other, None), None);
    }

    #[test]
    fn frames_move_where_a_type_that_can_is_named() {
        let offers = of_frames(false);
        for (accept, expected) in [
            ("image/gif", Made::Animation(MediaType::Gif)),
            ("image/webp", Made::Animation(MediaType::WebP)),
            ("image/jpeg", Made::Picture(MediaType::Jpeg)),
            ("image/*", Made::Picture(MediaType::Jpeg)),
        ] {
            assert_eq!(chosen(accept, &offers), Some((Container::Single, expected)), "{accept}");
        }
        let parts = Some((Container::Parts, Made::Picture(MediaType::Gif)));
        assert_eq!(chosen("multipart/related; type=image/gif", &offers), parts);
    }

    #[test]
    fn a_browser_sees_a_pdf_and_a_video_as_they_are_and_an_image_as_a_picture() {
        let navigation = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let image = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        let pdf = of_object(Category::Document, Some(DocumentType::Pdf), false);
        let video = of_object(Category::Video, Some(DocumentType::Mp4), false);
        let single = |form| Some((Container::Single, form));
        assert_eq!(chosen(navigation, &pdf), single(Made::Stored(DocumentType::Pdf)));
        assert_eq!(chosen(navigation, &video), single(Made::Stored(DocumentType::Mp4)));
        assert_eq!(chosen("*/*", &video), single(Made::Stored(DocumentType::Mp4)));
        assert_eq!(chosen(image, &video), single(Made::Picture(MediaType::Jpeg)));
        assert_eq!(chosen(image, &of_frames(false)), single(Made::Picture(MediaType::Jpeg)));
        let report = of_object(Category::Report, None, false);
        assert_eq!(chosen(navigation, &report), single(Made::Report(DocumentType::Html)));
        assert_eq!(chosen("image/jpeg", &report), None);
    }

    #[test]
    fn in_strict_mode_no_picture_stands_for_several() {
        assert_eq!(chosen("image/jpeg", &of_collection(true, true)), None);
        assert_eq!(chosen("image/jpeg", &of_frames(true)), None);
        assert_eq!(
            chosen("image/gif", &of_frames(true)),
            Some((Container::Single, Made::Animation(MediaType::Gif)))
        );
        assert_eq!(chosen("image/*", &of_object(Category::PresentationState, None, true)), None);
        assert!(chosen("image/jpeg", &of_object(Category::SingleFrame, None, true)).is_some());
    }

    #[test]
    fn a_study_is_all_of_it_or_one_picture() {
        let parts = |made| Some((Container::Parts, made));
        let all = of_collection(true, false);
        assert_eq!(chosen("*/*", &all), parts(Made::Picture(MediaType::Jpeg)));
        let text = parts(Made::Report(DocumentType::Html));
        assert_eq!(chosen("multipart/related; type=text/html", &all), text);
        let one = Some((Container::Single, Made::Picture(MediaType::Jpeg)));
        assert_eq!(chosen("image/jpeg", &all), one);
        assert_eq!(chosen("*/*", &of_collection(false, false)), one);
    }
}
