//! Whole videos (PS3.5 §8.2.5 to 8.2.8): the stored stream, and the same in MP4 for browsers.

use bytes::Bytes;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicomweb_types::{DocumentType, TransferSyntax};

use crate::codec::encapsulated::{ExtendedOffsets, Frames};
use crate::codec::video::{self, Ffmpeg};
use crate::dataset::number;
use crate::error::{RenderError, Result};
use crate::limits::Limits;
use crate::part10::{self, DicomFile};

/// The one stream of a video object.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoStream {
    /// The stream, its fragments joined; a part of the file where there is one fragment.
    pub bytes: Bytes,
    /// What it is packed in, by its first bytes.
    pub container: Container,
    /// How the pictures are coded.
    pub codec: VideoCodec,
    /// Frames per second, for a stream that does not say.
    frame_rate: f64,
}

/// What a stream of video is packed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Container {
    /// MP4 and its family (ISO/IEC 14496-12).
    IsoMedia,
    /// MPEG-2 transport stream, packets of 188 or (with time codes) 192 bytes.
    TransportStream,
    /// MPEG-1 or MPEG-2 program stream.
    ProgramStream,
    /// MPEG-1 or MPEG-2 video without a container.
    MpegElementary,
    /// H.264 or HEVC without a container (Annex B of either).
    AnnexB,
    /// None of these.
    Unknown,
}

/// How pictures of a video are coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VideoCodec {
    /// MPEG-1 or MPEG-2.
    Mpeg2,
    /// MPEG-4 AVC.
    H264,
    /// H.265.
    Hevc,
}

/// What browsers and ffmpeg assume of a stream that does not say.
const USUAL_FRAME_RATE: f64 = 25.0;

impl VideoStream {
    /// The stream in a file; `None` where the transfer syntax is not one of video.
    ///
    /// # Errors
    /// [`RenderError::Damaged`] where there is no stream, and whatever is wrong with the file.
    pub fn open(file: &Bytes, limits: &Limits) -> Result<Option<Self>> {
        let DicomFile { dataset, transfer_syntax, pixel_data, .. } = part10::read(file, limits)?;
        let Some(codec) = VideoCodec::of(&transfer_syntax) else { return Ok(None) };
        let value =
            pixel_data.ok_or_else(|| RenderError::damaged("there are no pixel data"))?.value;
        let frames = Frames::find(&value, 1, &ExtendedOffsets::default(), &mut Vec::new())?;
        let bytes = without_padding(frames.joined());
        let container = Container::sniff(&bytes);
        // The stream has the last word.
        let codec = match container {
            Container::MpegElementary => VideoCodec::Mpeg2,
            _ => codec,
        };
        Ok(Some(Self { bytes, container, codec, frame_rate: frame_rate(&dataset) }))
    }

    /// What the stored stream can be sent as; `None` where it is packed in nothing that has a name.
    pub fn media_type(&self) -> Option<DocumentType> {
        match self.container {
            Container::IsoMedia => Some(DocumentType::Mp4),
            Container::TransportStream | Container::ProgramStream | Container::MpegElementary => {
                Some(DocumentType::Mpeg)
            }
            Container::AnnexB | Container::Unknown => None,
        }
    }

    /// Whether [`VideoStream::to_mp4`] can do it here: the stream is in MP4, or it is H.264 or HEVC and
    /// `ffmpeg` is installed.
    pub fn can_be_mp4(&self) -> bool {
        self.container == Container::IsoMedia
            || (self.codec != VideoCodec::Mpeg2 && video::ffmpeg().is_some())
    }

    /// The video in MP4, as a browser's `<video>` plays it: the stored stream where that is MP4, else the
    /// same pictures and sound repacked by `ffmpeg`, not coded again, their index in front. The program
    /// runs under bounds of time and memory and writes at most `limits.source_bytes`.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] for MPEG-2, which no browser plays in MP4, without `ffmpeg`, and for
    /// a stream without a container whose frames are not coded in the order they are shown in where
    /// `ffmpeg` is older than 6.1; [`RenderError::Decode`] where the stream cannot be repacked.
    pub fn to_mp4(&self, limits: &Limits) -> Result<Bytes> {
        match (self.container, self.codec) {
            (Container::IsoMedia, _) => Ok(self.bytes.clone()),
            (_, VideoCodec::Mpeg2) => Err(RenderError::unsupported("MPEG-2 video in MP4")),
            (Container::AnnexB, _) => self.timed(limits),
            // Sound that MP4 cannot hold, as PCM, is not worth losing the pictures for.
            _ => self.repacked(limits, &["-map", "0:a:0?"]).or_else(|_| self.repacked(limits, &[])),
        }
    }

    /// A bare stream has no times: they follow from the order of the pictures, which newer versions of
    /// `ffmpeg` find out. Older ones take the order of coding for it, which is wrong where it differs.
    fn timed(&self, limits: &Limits) -> Result<Bytes> {
        if let Ok(mp4) = self.repacked(limits, &["-bsf:v", "dts2pts"]) {
            return Ok(mp4);
        }
        let mp4 = self.repacked(limits, &[])?;
        if begins_late(&mp4) {
            return Err(RenderError::unsupported("reordered frames without times in this ffmpeg"));
        }
        Ok(mp4)
    }

    fn repacked(&self, limits: &Limits, options: &[&str]) -> Result<Bytes> {
        let rate = self.frame_rate.to_string();
        let input: &[&str] = match (self.container, self.codec) {
            (Container::AnnexB, VideoCodec::Hevc) => &["-framerate", &rate, "-f", "hevc"],
            (Container::AnnexB, _) => &["-framerate", &rate, "-f", "h264"],
            _ => &[],
        };
        let tag: &[&str] = match self.codec {
            // Without it Safari plays no HEVC.
            VideoCodec::Hevc => &["-tag:v", "hvc1"],
            VideoCodec::H264 | VideoCodec::Mpeg2 => &[],
        };
        let mut ffmpeg = Ffmpeg::on(&self.bytes, limits, input)?;
        ffmpeg.args(&["-map", "0:v:0"]);
        ffmpeg.args(options);
        ffmpeg.args(&["-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1"]);
        ffmpeg.args(tag);
        ffmpeg.args(&["-movflags", "+faststart", "-f", "mp4", "-y"]);
        let mp4 = ffmpeg.run_into_file(limits.source_bytes)?;
        // A stream of which nothing could be read leaves a file without pictures.
        match top_box(&mp4, b"moov").is_some() && top_box(&mp4, b"mdat").is_some() {
            true => Ok(mp4.into()),
            false => Err(RenderError::decode("video", "the stream could not be repacked")),
        }
    }
}

impl VideoCodec {
    /// The codec of a transfer syntax of video (PS3.5 Annex A.4.5 to A.4.9).
    fn of(syntax: &TransferSyntax) -> Option<Self> {
        if !syntax.is_video() {
            return None;
        }
        let number = syntax.uid().strip_prefix("1.2.840.10008.1.2.4.")?;
        Some(match number.split('.').next()? {
            "100" | "101" => Self::Mpeg2,
            "107" | "108" => Self::Hevc,
            _ => Self::H264,
        })
    }
}

impl Container {
    fn sniff(bytes: &[u8]) -> Self {
        match bytes {
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::IsoMedia,
            [0, 0, 1, 0xBA, ..] => Self::ProgramStream,
            [0, 0, 1, 0xB3, ..] => Self::MpegElementary,
            [0, 0, 1, _, ..] | [0, 0, 0, 1, ..] => Self::AnnexB,
            _ if is_transport(bytes, 188, 0) || is_transport(bytes, 192, 4) => {
                Self::TransportStream
            }
            _ => Self::Unknown,
        }
    }
}

/// Packets of `size` bytes, each marked at `offset`: the first three, of which two must be there.
fn is_transport(bytes: &[u8], size: usize, offset: usize) -> bool {
    let marks: Vec<u8> = bytes.iter().skip(offset).step_by(size).take(3).copied().collect();
    marks.len() >= 2 && marks.iter().all(|mark| *mark == 0x47)
}

/// Frame Time in milliseconds, or one of the rates (PS3.3 C.7.6.5).
fn frame_rate(dataset: &InMemDicomObject) -> f64 {
    let time = number(dataset, tags::FRAME_TIME).map(|milliseconds| 1000.0 / milliseconds);
    let rates = [tags::CINE_RATE, tags::RECOMMENDED_DISPLAY_FRAME_RATE];
    let rates = rates.into_iter().map(|tag| number(dataset, tag));
    let found =
        [time].into_iter().chain(rates).flatten().find(|rate| (0.1..=1000.0).contains(rate));
    found.unwrap_or(USUAL_FRAME_RATE)
}

/// An MP4 without the NUL that makes its fragment even.
fn without_padding(bytes: Bytes) -> Bytes {
    let end = boxes(&bytes).last().map_or(bytes.len(), |(_, end)| end);
    match bytes.len() - end.min(bytes.len()) {
        1 if Container::sniff(&bytes) == Container::IsoMedia => bytes.slice(..end),
        _ => bytes,
    }
}

fn top_box<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut start = 0;
    for (found, end) in boxes(bytes) {
        if found == kind {
            return bytes.get(start..end);
        }
        start = end;
    }
    None
}

/// Whether the presentation begins later than the coded pictures: an edit list with a media time above 0
/// (ISO/IEC 14496-12 §8.6.6), which makes room for pictures that are shown before those coded first.
fn begins_late(mp4: &[u8]) -> bool {
    let list = top_box(mp4, b"moov").and_then(|moov| {
        let at = moov.windows(4).position(|window| window == b"elst")?;
        moov.get(at + 4..)
    });
    // Version and flags, the number of edits; of the first its duration, then its media time.
    let media_time = match list {
        Some([0, _, _, _, _, _, _, _, _, _, _, _, time @ ..]) => time.get(..4),
        Some([1, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, time @ ..]) => time.get(..8),
        _ => None,
    };
    media_time.is_some_and(|time| time[0] < 0x80 && time.iter().any(|&byte| byte != 0))
}

/// The boxes of an MP4 on its top level: what each is called and where it ends.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = bytes.get(at..at + 8)?;
        let short = u32::from_be_bytes(header[..4].try_into().ok()?);
        let size = match short {
            0 => (bytes.len() - at) as u64,
            1 => u64::from_be_bytes(bytes.get(at + 8..at + 16)?.try_into().ok()?),
            size => u64::from(size),
        };
        let end = (at as u64).checked_add(size).filter(|_| size >= 8)?;
        at = usize::try_from(end).ok().filter(|&end| end <= bytes.len())?;
        Some((&header[4..], at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_by_their_first_bytes() {
        let packets = |size: usize, offset: usize, count: usize| {
            let mut bytes = vec![1; size * count];
            (0..count).for_each(|n| bytes[n * size + offset] = 0x47);
            bytes
        };
        for (bytes, container) in [
            (b"\0\0\0\x18ftypisom".to_vec(), Container::IsoMedia),
            (vec![0, 0, 1, 0xBA, 0x44], Container::ProgramStream),
            (vec![0, 0, 1, 0xB3, 0x16], Container::MpegElementary),
            (vec![0, 0, 0, 1, 0x67], Container::AnnexB),
            (vec![0, 0, 1, 0x40], Container::AnnexB),
            (packets(188, 0, 4), Container::TransportStream),
            (packets(192, 4, 3), Container::TransportStream),
            (packets(188, 0, 1), Container::Unknown),
            (b"G".repeat(300), Container::TransportStream),
            (b"RIFF....AVI ".to_vec(), Container::Unknown),
            (vec![], Container::Unknown),
        ] {
            assert_eq!(Container::sniff(&bytes), container, "{:?}", &bytes[..bytes.len().min(12)]);
        }
    }

    #[test]
    fn syntaxes_name_their_codec_and_others_are_none() {
        let codec = |number: &str| {
            VideoCodec::of(&TransferSyntax::from_uid(&format!("1.2.840.10008.1.2.4.{number}")))
        };
        assert_eq!(codec("100"), Some(VideoCodec::Mpeg2));
        assert_eq!(codec("101.1"), Some(VideoCodec::Mpeg2));
        assert_eq!(codec("102"), Some(VideoCodec::H264));
        assert_eq!(codec("106.1"), Some(VideoCodec::H264));
        assert_eq!(codec("108"), Some(VideoCodec::Hevc));
        assert_eq!([codec("90"), codec("109"), codec("201")], [None; 3]);
    }

    fn part(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    #[test]
    fn padding_behind_the_last_box_is_dropped() {
        let mp4 = [part(b"ftyp", b"isom"), part(b"mdat", b"xyz")].concat();
        let padded = Bytes::from([&mp4[..], &[0]].concat());
        assert_eq!(without_padding(padded), mp4);
        let whole = Bytes::from(mp4.clone());
        assert_eq!(without_padding(whole), mp4);
        assert_eq!(without_padding(Bytes::from_static(b"\0\0\0\x09x")).len(), 5);
    }

    #[test]
    fn boxes_end_at_the_first_that_makes_no_sense() {
        let mut bytes = part(b"ftyp", b"");
        bytes.extend([0, 0, 0, 1, b'm', b'd', b'a', b't', 0xFF]);
        assert_eq!(boxes(&bytes).count(), 1);
        let endless = [0, 0, 0, 2, b'm', b'd', b'a', b't'];
        assert_eq!(boxes(&endless).count(), 0, "a box shorter than its header would never end");
        let mut large = vec![0, 0, 0, 1, b'm', b'd', b'a', b't'];
        large.extend(u64::MAX.to_be_bytes());
        assert_eq!(boxes(&large).count(), 0);
        let to_the_end = [0, 0, 0, 0, b'm', b'd', b'a', b't', 1, 2];
        assert_eq!(top_box(&to_the_end, b"mdat"), Some(&to_the_end[..]));
    }

    #[test]
    fn an_edit_list_says_that_pictures_are_reordered() {
        let movie = |list: &[u8]| {
            let list = part(b"elst", list);
            [part(b"ftyp", b"isom"), part(b"moov", &part(b"trak", &part(b"edts", &list)))].concat()
        };
        let short =
            |time: u32| [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9][..], &time.to_be_bytes()].concat();
        assert!(begins_late(&movie(&short(2))));
        assert!(!begins_late(&movie(&short(0))) && !begins_late(&movie(&short(u32::MAX))));
        let long = [&[1, 0, 0, 0, 0, 0, 0, 1][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 7]].concat();
        assert!(begins_late(&movie(&long)));
        assert!(!begins_late(&movie(&[0, 0])) && !begins_late(&part(b"ftyp", b"elst")));
    }

    #[test]
    fn rates_come_from_the_frame_time_if_it_is_sensible() {
        use dicom_core::{DataElement, VR};
        let rate = |tag, value: &str| {
            let element = DataElement::new(tag, VR::DS, value);
            frame_rate(&InMemDicomObject::from_element_iter([element]))
        };
        assert_eq!(rate(tags::FRAME_TIME, "40"), 25.0);
        assert_eq!(rate(tags::FRAME_TIME, "0"), USUAL_FRAME_RATE);
        assert_eq!(rate(tags::CINE_RATE, "30"), 30.0);
        assert_eq!(rate(tags::CINE_RATE, "-1"), USUAL_FRAME_RATE);
    }

    #[test]
    fn mpeg_2_stays_what_it_is() {
        let stream = VideoStream {
            bytes: Bytes::from_static(&[0, 0, 1, 0xB3]),
            container: Container::MpegElementary,
            codec: VideoCodec::Mpeg2,
            frame_rate: 25.0,
        };
        assert_eq!(stream.media_type(), Some(DocumentType::Mpeg));
        assert!(!stream.can_be_mp4());
        assert!(matches!(stream.to_mp4(&Limits::default()), Err(RenderError::Unsupported { .. })));
    }

    #[test]
    fn what_is_no_stream_cannot_be_repacked() {
        if video::ffmpeg().is_none() {
            return eprintln!("skipped: no ffmpeg");
        }
        for container in [Container::AnnexB, Container::Unknown, Container::TransportStream] {
            let stream = VideoStream {
                bytes: Bytes::from_static(b"ffconcat version 1.0\nfile /etc/passwd\n"),
                container,
                codec: VideoCodec::H264,
                frame_rate: 25.0,
            };
            let result = stream.to_mp4(&Limits::default());
            assert!(matches!(result, Err(RenderError::Decode { .. })), "{container:?} {result:?}");
        }
    }
}
