//! What is kept, and its form outside of memory. Nothing of a patient is in it but what a picture shows.

use bytes::Bytes;
use core_render::{Card, Category, EncodedFrame, Picture};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wadors_client::Version;

use super::age::Moment;
use super::key::{Digest, SubjectKey};
use crate::access::Proof;
use crate::fingerprint::{SourceHash, StateHash};

/// Something that is kept.
pub(crate) trait Record: Clone + Send + Sync + Sized + 'static {
    /// Its bytes: a short description, and what is large.
    fn parts(&self) -> Option<(Vec<u8>, Bytes)>;

    /// Undoes it; `None` of what an older version wrote.
    fn from_parts(description: &[u8], large: Bytes) -> Option<Self>;

    /// Itself apart from whatever else its bytes are held by.
    fn detached(self) -> Self {
        self
    }
}

/// What is shown for a resource.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) shown: Shown,
    /// Why, for `X-Representative`.
    pub(crate) explained: Option<String>,
    /// What kind of object an instance is; nothing of a study or a series.
    pub(crate) category: Option<Category>,
    /// What the study or the series held, as a hash; nothing of an instance.
    pub(crate) listing: Option<Digest>,
    /// Since when it has been so, as far as is known.
    pub(crate) since: Moment,
    pub(crate) checked: Moment,
}

/// What is shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Shown {
    Image(SubjectKey),
    Card(Card),
}

/// What a subject is drawn from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) drawn_from: DrawnFrom,
    pub(crate) category: Category,
    /// Modality and series number, for a corner of thumbnails, and for the card in place of one.
    pub(crate) corner: Option<String>,
    /// Whether it is the label of a slide, which no thumbnail shows.
    pub(crate) shows_label: bool,
    /// By what the archive knows again what it was drawn from; nothing where it does not.
    pub(crate) versions: Vec<Version>,
    pub(crate) checked: Moment,
}

/// What pictures of a subject are drawn from.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum DrawnFrom {
    One(SourceHash, Option<StateHash>),
    /// Tiles of a slide, others for each view: each has an identity of its own.
    ByView,
}

impl Record for Standing {
    fn parts(&self) -> Option<(Vec<u8>, Bytes)> {
        Some((postcard::to_allocvec(self).ok()?, Bytes::new()))
    }

    fn from_parts(description: &[u8], _: Bytes) -> Option<Self> {
        whole(description)
    }
}

impl Record for Identity {
    fn parts(&self) -> Option<(Vec<u8>, Bytes)> {
        Some((postcard::to_allocvec(self).ok()?, Bytes::new()))
    }

    fn from_parts(description: &[u8], _: Bytes) -> Option<Self> {
        whole(description)
    }
}

impl Record for Proof {
    fn parts(&self) -> Option<(Vec<u8>, Bytes)> {
        Some((postcard::to_allocvec(self).ok()?, Bytes::new()))
    }

    fn from_parts(description: &[u8], _: Bytes) -> Option<Self> {
        whole(description)
    }
}

impl Record for Picture {
    fn parts(&self) -> Option<(Vec<u8>, Bytes)> {
        let described = Self { bytes: Bytes::new(), ..self.clone() };
        Some((postcard::to_allocvec(&described).ok()?, self.bytes.clone()))
    }

    fn from_parts(description: &[u8], large: Bytes) -> Option<Self> {
        let described: Self = whole(description)?;
        (!large.is_empty()).then_some(Self { bytes: large, ..described })
    }
}

impl Record for EncodedFrame {
    fn parts(&self) -> Option<(Vec<u8>, Bytes)> {
        let described = Self { bytes: Bytes::new(), ..self.clone() };
        Some((postcard::to_allocvec(&described).ok()?, self.bytes.clone()))
    }

    fn from_parts(description: &[u8], large: Bytes) -> Option<Self> {
        let described: Self = whole(description)?;
        Some(Self { bytes: large, ..described })
    }

    /// Fetched bytes hold a share of the memory for what is fetched, which is not that of the cache.
    fn detached(self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..self }
    }
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// A description with its length, so that it can be told from what follows it.
pub(super) fn headed(description: &[u8]) -> Vec<u8> {
    [&(description.len() as u32).to_le_bytes()[..], description].concat()
}

/// A record of what [`headed`] and the large part were written to, its description opened by `open`.
pub(super) fn read<R: Record>(
    bytes: Bytes,
    open: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<R> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let description = open(rest.get(..length)?)?;
    R::from_parts(&description, bytes.slice(4 + length..))
}

#[cfg(test)]
mod tests {
    use dicomweb_types::{FrameNumber, MediaType};

    use super::*;

    fn plain(description: &[u8]) -> Option<Vec<u8>> {
        Some(description.to_vec())
    }

    fn written(record: &impl Record) -> Bytes {
        let (description, large) = record.parts().unwrap();
        [&headed(&description)[..], &large].concat().into()
    }

    #[test]
    fn a_picture_comes_back_as_it_was() {
        let picture = Picture {
            bytes: Bytes::from_static(b"pixels"),
            media_type: MediaType::Png,
            width: 3,
            height: 2,
            frame: FrameNumber::FIRST,
            warnings: vec!["some of it is missing".to_owned()],
        };
        let bytes = written(&picture);
        let back: Picture = read(bytes.clone(), plain).unwrap();
        assert_eq!(
            (back.bytes, back.media_type, back.width, back.warnings),
            (picture.bytes, picture.media_type, picture.width, picture.warnings)
        );
        for length in 0..bytes.len() - b"pixels".len() {
            assert!(read::<Picture>(bytes.slice(..length), plain).is_none(), "{length}");
        }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let identity = Identity {
            drawn_from: DrawnFrom::ByView,
            category: Category::MultiFrame(7),
            corner: Some("CT 3".to_owned()),
            shows_label: true,
            versions: vec![Version {
                resource: wadors_client::Resource::Frame(FrameNumber::FIRST),
                validator: wadors_client::Validator::Tag("W/\"a\"".to_owned()),
            }],
            checked: Moment::now(),
        };
        assert_eq!(read::<Identity>(written(&identity), plain), Some(identity));
        let card =
            Card { kind: core_render::CardKind::Report, modality: None, series_number: Some(4) };
        let standing = Standing {
            shown: Shown::Card(card),
            explained: Some("x; rule=middle".to_owned()),
            category: None,
            listing: Some([7; 32]),
            since: Moment::now(),
            checked: Moment::now(),
        };
        assert_eq!(read::<Standing>(written(&standing), plain), Some(standing));
    }
}
