//! Documents and videos: those of the shared corpus where it is there, and streams that `ffmpeg` makes
//! where it is installed.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use core_render::{
    Container, EncapsulatedDocument, FileAttributes, Limits, RenderError, VideoCodec, VideoStream,
};
use dicom_dictionary_std::tags;
use dicomweb_types::DocumentType;

fn corpus(name: &str) -> Option<Bytes> {
    let folder = std::env::var_os("LIGHTBOX_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    let bytes = std::fs::read(folder.join(name)).ok();
    if bytes.is_none() {
        println!("skipped: {name} is not there");
    }
    bytes.map(Bytes::from)
}

// Documents ------------------------------------------------------------------------------------------

#[test]
fn pdfs_end_where_they_end() {
    for name in ["docs/sample-pdf.dcm", "docs/syn_encapsulated_pdf.dcm"] {
        let Some(file) = corpus(name) else { continue };
        let document = EncapsulatedDocument::open(&file, &Limits::default()).unwrap().unwrap();
        assert_eq!(document.media_type, DocumentType::Pdf);
        assert!(document.bytes.starts_with(b"%PDF-"), "{name}");
        let end = document.bytes.trim_ascii_end();
        assert!(end.ends_with(b"%%EOF") && document.bytes.last() != Some(&0), "{name}");
    }
}

#[test]
fn an_empty_model_and_a_report_are_no_documents() {
    if let Some(file) = corpus("docs/encapsulated_stl.dcm") {
        let opened = EncapsulatedDocument::open(&file, &Limits::default());
        assert_eq!(opened.unwrap(), None);
    }
    if let Some(file) = corpus("docs/sr_document.dcm") {
        assert_eq!(EncapsulatedDocument::open(&file, &Limits::default()).unwrap(), None);
        assert_eq!(VideoStream::open(&file, &Limits::default()).unwrap(), None);
        let dataset = FileAttributes::read(&file, &Limits::default()).unwrap().dataset;
        assert!(dataset.get(tags::CONTENT_SEQUENCE).is_some());
    }
}

#[test]
fn damaged_files_are_opened_or_refused() {
    let samples = tempfile::tempdir().unwrap();
    folder_origin::samples::write(samples.path()).unwrap();
    let stored = ["chest-x-ray/leaflet.dcm", "head-ct/report.dcm", "head-ct/presentation.dcm"];
    let mut seeds: Vec<Vec<u8>> =
        stored.iter().map(|name| std::fs::read(samples.path().join(name)).unwrap()).collect();
    seeds.push(file("1.2.840.10008.1.2.4.102", b"\0\0\0\x10ftypisom....\0\0\0\x08mdat").into());
    let limits = Limits { source_bytes: 1 << 20, ..Limits::default() };
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut opened = 0;
    for round in 0..2000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            bytes[at] = [0, 0xFF, 0x7F, below(256) as u8][below(4)];
        }
        if below(4) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        let bytes = Bytes::from(bytes);
        let document = EncapsulatedDocument::open(&bytes, &limits);
        if let Ok(Some(document)) = &document {
            assert!(document.bytes.len() < bytes.len());
            assert!(!document.content_type().contains(['\r', '\n']));
        }
        let video = VideoStream::open(&bytes, &limits);
        opened += usize::from(matches!(document, Ok(Some(_))) || matches!(video, Ok(Some(_))));
        let _ = FileAttributes::read(&bytes, &limits);
    }
    assert!(opened > 200, "{opened} of 2000: the mutations go too far to test anything");
}

// Videos ---------------------------------------------------------------------------------------------

#[test]
fn stored_videos_are_what_their_bytes_are() {
    for (name, container, codec, media_type) in [
        ("h264_hp41", Container::IsoMedia, VideoCodec::H264, DocumentType::Mp4),
        ("hevc_main", Container::IsoMedia, VideoCodec::Hevc, DocumentType::Mp4),
        ("mpeg2_mpml", Container::MpegElementary, VideoCodec::Mpeg2, DocumentType::Mpeg),
    ] {
        let Some(file) = corpus(&format!("video/syn_{name}.dcm")) else { continue };
        let stream = VideoStream::open(&file, &Limits::default()).unwrap().unwrap();
        assert_eq!((stream.container, stream.codec), (container, codec), "{name}");
        assert_eq!(stream.media_type(), Some(media_type), "{name}");
        assert!(file.as_ptr_range().contains(&stream.bytes.as_ptr()), "one fragment is no copy");
        if container == Container::IsoMedia {
            assert_eq!(stream.to_mp4(&Limits::default()).unwrap(), stream.bytes, "{name}");
        }
    }
}

/// Coded in the order they are shown in.
const IN_ORDER: [&str; 2] = ["-bf", "0"];

#[test]
fn streams_become_mp4_with_every_frame_their_index_in_front() {
    for (encoder, format, syntax, container) in [
        ("libx264", "h264", "1.2.840.10008.1.2.4.102", Container::AnnexB),
        ("libx264", "mpegts", "1.2.840.10008.1.2.4.103", Container::TransportStream),
        ("libx265", "hevc", "1.2.840.10008.1.2.4.107", Container::AnnexB),
    ] {
        let options = [&["-c:v", encoder, "-f", format], &IN_ORDER[..]].concat();
        let Some(stream) = made(&options) else { continue };
        let video = VideoStream::open(&file(syntax, &stream), &Limits::default()).unwrap().unwrap();
        assert_eq!(video.container, container, "{format}");
        assert!(video.can_be_mp4());
        let mp4 = video.to_mp4(&Limits::default()).unwrap();
        let at = |kind: &[u8]| mp4.windows(4).position(|window| window == kind).unwrap();
        assert!(at(b"moov") < at(b"mdat"), "{format}: the index comes first");
        let seen = probe(&mp4);
        assert!(seen.contains("nb_read_frames=30"), "{encoder} {format}: {seen}");
        assert!(seen.contains("avg_frame_rate=10/1"), "{encoder} {format}: {seen}");
        let tag = if encoder == "libx265" { "hvc1" } else { "avc1" };
        assert!(seen.contains(&format!("codec_tag_string={tag}")), "{seen}");
        assert_eq!(pictures(&mp4), pictures(&stream), "{encoder} {format}");
    }
}

#[test]
fn reordered_frames_are_shown_in_their_order_or_not_at_all() {
    for (format, syntax) in
        [("h264", "1.2.840.10008.1.2.4.102"), ("mpegts", "1.2.840.10008.1.2.4.103")]
    {
        let Some(stream) = made(&["-c:v", "libx264", "-bf", "3", "-f", format]) else { continue };
        let video = VideoStream::open(&file(syntax, &stream), &Limits::default()).unwrap().unwrap();
        match video.to_mp4(&Limits::default()) {
            Ok(mp4) => assert_eq!(pictures(&mp4), pictures(&stream), "{format}"),
            Err(error) => {
                assert!(matches!(error, RenderError::Unsupported { .. }), "{error:?}");
                assert!(format == "h264" && !knows("dts2pts"), "{format}: {error}");
            }
        }
    }
}

/// Whether ffmpeg has this bitstream filter.
fn knows(filter: &str) -> bool {
    let listed = Command::new("ffmpeg").args(["-v", "error", "-bsfs"]).output().unwrap().stdout;
    String::from_utf8_lossy(&listed).lines().any(|line| line == filter)
}

/// A digest of each picture, in the order they are shown.
fn pictures(stream: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stream).unwrap();
    let done = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(file.path())
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&done.stdout).into_owned();
    let lines = listed.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

#[test]
fn sound_that_fits_stays_and_sound_that_does_not_costs_no_pictures() {
    for (audio, kept) in [("mp2", true), ("s302m", false)] {
        let sound = ["-f", "lavfi", "-i", "sine=duration=3:sample_rate=48000"];
        let codecs =
            ["-c:v", "libx264", "-c:a", audio, "-ac", "2", "-strict", "-2", "-f", "mpegts"];
        let Some(stream) = made(&[&sound[..], &codecs].concat()) else { continue };
        let file = file("1.2.840.10008.1.2.4.103", &stream);
        let video = VideoStream::open(&file, &Limits::default()).unwrap().unwrap();
        let seen = probe(&video.to_mp4(&Limits::default()).unwrap());
        assert!(seen.contains("codec_type=video"), "{seen}");
        assert_eq!(seen.contains("codec_type=audio"), kept, "{audio}: {seen}");
    }
}

#[test]
fn no_more_is_written_than_allowed() {
    let Some(stream) = made(&["-c:v", "libx264", "-f", "h264"]) else { return };
    let file = file("1.2.840.10008.1.2.4.102", &stream);
    let video = VideoStream::open(&file, &Limits::default()).unwrap().unwrap();
    let tight = Limits { source_bytes: 1024, ..Limits::default() };
    let result = video.to_mp4(&tight);
    assert!(matches!(result, Err(RenderError::Decode { .. })), "{result:?}");
}

/// 30 moving frames, 10 a second, encoded by ffmpeg; `None` where it cannot.
fn made(arguments: &[&str]) -> Option<Vec<u8>> {
    let out = tempfile::NamedTempFile::new().unwrap();
    let source = ["-f", "lavfi", "-i", "testsrc=duration=3:size=160x120:rate=10"];
    let done = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(source)
        .args(arguments)
        .args(["-pix_fmt", "yuv420p"])
        .arg(out.path())
        .output();
    match done {
        Ok(done) if done.status.success() => Some(std::fs::read(out.path()).unwrap()),
        Ok(done) => panic!("{}", String::from_utf8_lossy(&done.stderr)),
        Err(why) => {
            println!("skipped: ffmpeg: {why}");
            None
        }
    }
}

fn probe(mp4: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), mp4).unwrap();
    let done = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_streams"])
        .arg(file.path())
        .output()
        .expect("ffprobe comes with ffmpeg");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A DICOM file of video in two fragments.
fn file(syntax: &str, stream: &[u8]) -> Bytes {
    let mut out = vec![0; 128];
    out.extend(b"DICM");
    let mut text = |group: u16, element: u16, vr: &[u8; 2], value: &str| {
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), if vr == b"UI" { 0 } else { b' ' });
        out.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
        out.extend(vr);
        out.extend((value.len() as u16).to_le_bytes());
        out.extend(value);
    };
    text(2, 0x10, b"UI", syntax);
    text(8, 0x16, b"UI", "1.2.840.10008.5.1.4.1.1.77.1.1.1");
    text(0x18, 0x1063, b"DS", "100");
    out.extend([0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    let half = stream.len() / 4 * 2;
    for fragment in [&[][..], &stream[..half], &stream[half..]] {
        let mut fragment = fragment.to_vec();
        fragment.resize(fragment.len().next_multiple_of(2), 0);
        out.extend([0xFE, 0xFF, 0x00, 0xE0]);
        out.extend((fragment.len() as u32).to_le_bytes());
        out.extend(fragment);
    }
    out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    out.into()
}
