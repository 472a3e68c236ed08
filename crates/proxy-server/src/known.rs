//! What is known of an object before it is asked for: from searches and metadata, those of our own and
//! those that pass through. It decides how an object is fetched, never what is drawn.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use core_render::Category;
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicomweb_types::Uid;
use lru::LruCache;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Objects that are remembered; some 200 bytes each.
const MOST: NonZeroUsize = NonZeroUsize::new(50_000).unwrap();

/// What an object holds, as far as that decides how it is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// One frame, of at most so many bytes as cells; of any size where nobody said.
    Frame { bytes: Option<u64> },
    /// So many frames, of at most so many bytes together.
    Frames { count: u32, bytes: Option<u64> },
    /// Text, references or a document: what is drawn of it is in its attributes.
    Text,
    /// Anything of which no frame is wanted before its attributes are known: slides, videos, and what holds
    /// none. Its size may be anything.
    Other,
}

#[derive(Debug)]
pub(crate) struct Known {
    objects: Mutex<LruCache<Uid, Content>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { objects: Mutex::new(LruCache::new(MOST)) }
    }
}

impl Known {
    /// Remembers what was said of an object.
    pub(crate) fn learn(&self, said: &Said) {
        if let (Some(uid), Some(content)) = (said.instance(), said.content()) {
            self.lock().put(uid, content);
        }
    }

    pub(crate) fn of(&self, instance: &Uid) -> Option<Content> {
        self.lock().get(instance).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Uid, Content>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The attributes by which it is decided, of an object in DICOM JSON or a data set.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    #[serde(rename = "00080016")]
    sop_class: Value,
    #[serde(rename = "00080018")]
    instance: Value,
    #[serde(rename = "00280002")]
    samples: Value,
    #[serde(rename = "00280008")]
    frames: Value,
    #[serde(rename = "00280010")]
    rows: Value,
    #[serde(rename = "00280011")]
    columns: Value,
    #[serde(rename = "00280100")]
    bits_allocated: Value,
}

/// Objects of one answer that are looked at.
const MOST_AT_ONCE: usize = 100_000;

/// Hands on what each object of an array says.
///
/// # Errors
/// It is none, or cannot be read to its end.
pub(crate) fn each<'de, D>(from: D, learn: &mut dyn FnMut(Said)) -> Result<(), D::Error>
where
    D: Deserializer<'de>,
{
    struct Each<'a>(&'a mut dyn FnMut(Said));
    impl<'de> Visitor<'de> for Each<'_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<(), A::Error> {
            for _ in 0..MOST_AT_ONCE {
                match objects.next_element()? {
                    Some(said) => (self.0)(said),
                    None => break,
                }
            }
            Ok(())
        }
    }
    from.deserialize_seq(Each(learn))
}

/// The first value of an attribute as text; nothing where there is none.
#[derive(Debug, Default)]
struct Value(Option<String>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Whatever else stands there: what cannot be told here is found out when the object is fetched.
        let attribute = serde_json::Value::deserialize(from)?;
        Ok(Self(match attribute.pointer("/Value/0") {
            Some(serde_json::Value::String(text)) => Some(text.trim().to_owned()),
            Some(serde_json::Value::Number(number)) => Some(number.to_string()),
            _ => None,
        }))
    }
}

impl Value {
    fn number(&self) -> Option<u64> {
        self.0.as_ref()?.parse().ok()
    }
}

impl From<&InMemDicomObject> for Said {
    fn from(dataset: &InMemDicomObject) -> Self {
        let value = |tag: Tag| {
            let value = dataset.get(tag)?.value().primitive()?.to_multi_str();
            Some(value.first()?.trim_matches([' ', '\0']).to_owned())
        };
        let [sop_class, instance, samples, frames, rows, columns, bits_allocated] = [
            tags::SOP_CLASS_UID,
            tags::SOP_INSTANCE_UID,
            tags::SAMPLES_PER_PIXEL,
            tags::NUMBER_OF_FRAMES,
            tags::ROWS,
            tags::COLUMNS,
            tags::BITS_ALLOCATED,
        ]
        .map(|tag| Value(value(tag)));
        Self { sop_class, instance, samples, frames, rows, columns, bits_allocated }
    }
}

impl Said {
    fn instance(&self) -> Option<Uid> {
        self.instance.0.as_ref()?.parse().ok()
    }

    /// `None` where it cannot be told: Number of Frames may be left out of the answer to a search.
    pub(crate) fn content(&self) -> Option<Content> {
        let class = self.sop_class.0.as_deref().unwrap_or_default();
        match Category::of_sop_class(class) {
            Some(Category::Report | Category::PresentationState) => return Some(Content::Text),
            Some(_) => return Some(Content::Other),
            None if NO_FRAMES_AHEAD.contains(&class) => return Some(Content::Other),
            None => {}
        }
        match self.frames.number() {
            Some(frames @ 2..) => Some(Content::Frames {
                count: frames.try_into().unwrap_or(u32::MAX),
                bytes: self.frame_bytes().and_then(|bytes| bytes.checked_mul(frames)),
            }),
            Some(1) => Some(Content::Frame { bytes: self.frame_bytes() }),
            Some(0) | None if ONE_FRAME.contains(&class) => {
                Some(Content::Frame { bytes: self.frame_bytes() })
            }
            Some(0) | None => None,
        }
    }

    /// Bytes of the cells of a frame, as far as its size is said.
    fn frame_bytes(&self) -> Option<u64> {
        let cells = self.rows.number()?.checked_mul(self.columns.number()?)?;
        let samples = self.samples.number().unwrap_or(1).max(1);
        // As most have, where only rows and columns are said.
        let bytes = self.bits_allocated.number().unwrap_or(16).div_ceil(8);
        cells.checked_mul(samples)?.checked_mul(bytes)
    }
}

/// Storage classes of slides, whose frames are tiles, and of videos, which are one stream.
const NO_FRAMES_AHEAD: [&str; 4] = [
    uids::VL_WHOLE_SLIDE_MICROSCOPY_IMAGE_STORAGE,
    uids::VIDEO_ENDOSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_MICROSCOPIC_IMAGE_STORAGE,
    uids::VIDEO_PHOTOGRAPHIC_IMAGE_STORAGE,
];

/// Storage classes whose objects hold one frame by definition (PS3.3 A.2 to A.6, A.8.1, A.14, A.21, A.26).
const ONE_FRAME: [&str; 12] = [
    uids::CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::DIGITAL_MAMMOGRAPHY_X_RAY_IMAGE_STORAGE_FOR_PROCESSING,
    uids::DIGITAL_INTRA_ORAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
    uids::ULTRASOUND_IMAGE_STORAGE,
    uids::VL_PHOTOGRAPHIC_IMAGE_STORAGE,
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wadors_client::Metadata;

    use super::*;

    fn content_of(class: &str, extra: Value) -> Option<Content> {
        let mut object = json!({"00080016": {"vr": "UI", "Value": [class]}});
        if let (Value::Object(all), Value::Object(extra)) = (&mut object, extra) {
            all.extend(extra);
        }
        let of_json: Said = serde_json::from_value(object.clone()).unwrap();
        let of_dataset = Said::from(&Metadata::from_json(&json!([object])).unwrap().dataset);
        assert_eq!(of_json.content(), of_dataset.content());
        of_json.content()
    }

    #[test]
    fn frames_and_size_are_told_where_they_are_said() {
        let said = json!({
            "00280008": {"vr": "IS", "Value": ["1"]},
            "00280010": {"vr": "US", "Value": [512]},
            "00280011": {"vr": "US", "Value": [512]},
            "00280100": {"vr": "US", "Value": [16]},
        });
        let class = uids::ULTRASOUND_MULTI_FRAME_IMAGE_STORAGE;
        assert_eq!(content_of(class, said), Some(Content::Frame { bytes: Some(512 * 512 * 2) }));
        let many = json!({"00280008": {"vr": "IS", "Value": [96]}});
        assert_eq!(content_of(class, many), Some(Content::Frames { count: 96, bytes: None }));
        assert_eq!(content_of(class, json!({})), None);
    }

    #[test]
    fn a_storage_class_tells_where_nothing_else_does() {
        assert_eq!(
            content_of(uids::CT_IMAGE_STORAGE, json!({})),
            Some(Content::Frame { bytes: None })
        );
        assert_eq!(content_of(uids::ENHANCED_CT_IMAGE_STORAGE, json!({})), None);
        assert_eq!(content_of(uids::ENHANCED_SR_STORAGE, json!({})), Some(Content::Text));
        assert_eq!(content_of(uids::ENCAPSULATED_PDF_STORAGE, json!({})), Some(Content::Other));
        assert_eq!(content_of("", json!({})), None);
    }

    #[test]
    fn what_was_said_is_remembered_by_instance() {
        let known = Known::default();
        let said = Metadata::from_json(&json!([{
            "00080016": {"vr": "UI", "Value": [uids::MR_IMAGE_STORAGE]},
            "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        }]));
        known.learn(&Said::from(&said.unwrap().dataset));
        assert_eq!(known.of(&"1.2.3".parse().unwrap()), Some(Content::Frame { bytes: None }));
        assert_eq!(known.of(&"1.2.4".parse().unwrap()), None);
    }
}
