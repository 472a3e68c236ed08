//! WADO-RS through the door: instances, metadata, frames, bulk data, and folders of bad files.

mod support;

use dicom_core::value::{DataSetSequence, PixelFragmentSequence, Value as DicomValue};
use dicom_core::{DataElement, Length, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use serde_json::Value;
use support::*;
use tempfile::tempdir;

const FIRST: &str = "/studies/1.1/series/1.1.1/instances/1.1.1.1";

fn words(values: impl IntoIterator<Item = u16>) -> PrimitiveValue {
    PrimitiveValue::U16(values.into_iter().collect())
}

fn encapsulated(
    offsets: Vec<u32>,
    fragments: Vec<Vec<u8>>,
) -> DataElement<dicom_object::InMemDicomObject> {
    let value = DicomValue::from(PixelFragmentSequence::new(offsets, fragments));
    DataElement::new(tags::PIXEL_DATA, VR::OB, value)
}

#[test]
fn an_instance_is_its_file_byte_for_byte() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    save(object(1, 1), &path, EXPLICIT);
    save(object(1, 2), &folder.path().join("b.dcm"), EXPLICIT);
    save(object(2, 1), &folder.path().join("c.dcm"), IMPLICIT);
    let server = Server::over(folder.path());
    let stored = std::fs::read(&path).unwrap();

    let single = server.get_as(FIRST, "application/dicom");
    assert_eq!(
        single.header("content-type"),
        format!("application/dicom; transfer-syntax={EXPLICIT}")
    );
    assert_eq!(single.body, stored);

    let answer = server.get(FIRST);
    assert!(answer.header("content-type").contains("type=\"application/dicom\""));
    let parts = answer.parts();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].body, stored);
    assert!(parts[0].head.contains(&format!("Content-Location: http://{}{FIRST}", server.address)));

    assert_eq!(server.get("/studies/1.1/series/1.1.1").parts().len(), 2);
    let study = server.get("/studies/1.1").parts();
    assert_eq!(study.len(), 3);
    assert!(study[2].head.contains(&format!("application/dicom; transfer-syntax={IMPLICIT}\r\n")));
}

#[test]
fn another_transfer_syntax_than_the_stored_one_is_406() {
    let folder = tempdir().unwrap();
    save(object(1, 1), &folder.path().join("a.dcm"), EXPLICIT);
    let server = Server::over(folder.path());
    let ask = |uid: &str| {
        let accept =
            format!("multipart/related; type=\"application/dicom\"; transfer-syntax={uid}");
        server.get_as(FIRST, &accept).status
    };
    assert_eq!((ask("*"), ask(EXPLICIT), ask(JPEG)), (200, 200, 406));
    assert_eq!(server.get_as(FIRST, "image/jpeg").status, 406);
    assert_eq!(server.get_as(&format!("{FIRST}/metadata"), "application/dicom+xml").status, 406);
}

#[test]
fn native_frames_are_cut_out() {
    let folder = tempdir().unwrap();
    let mut one = object(1, 1);
    image(&mut one, 2, 3, 16, 3);
    put(&mut one, tags::PIXEL_DATA, VR::OW, words(0..18));
    save(one, &folder.path().join("a.dcm"), EXPLICIT);
    let server = Server::over(folder.path());

    let answer = server.get(&format!("{FIRST}/frames/3,1"));
    let content_type = answer.header("content-type");
    assert!(content_type.contains("type=\"application/octet-stream\""), "{content_type}");
    assert!(content_type.contains(&format!("transfer-syntax={EXPLICIT}")), "{content_type}");
    let parts = answer.parts();
    let expected =
        |range: std::ops::Range<u16>| range.flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    assert_eq!(parts[0].body, expected(12..18));
    assert_eq!(parts[1].body, expected(0..6));
    assert!(parts[0].head.contains(&format!("transfer-syntax={EXPLICIT}")));
    assert!(parts[1].head.contains("/frames/1"));

    let single = server.get_as(&format!("{FIRST}/frames/2"), "application/octet-stream");
    assert_eq!(single.body, expected(6..12));
    assert_eq!(server.get(&format!("{FIRST}/frames/4")).status, 404);
    assert_eq!(server.get(&format!("{FIRST}/frames/0")).status, 400);
    assert_eq!(server.get(&format!("{FIRST}/frames/1%2C2")).parts().len(), 2);
}

#[test]
fn frames_of_one_bit_pixels_begin_at_bit_0() {
    // Three frames of 3 × 3 bits, one after the other without padding: 27 bits.
    let frames = [0b1_0110_0101_u32, 0b0_1111_0001, 0b1_1000_1010];
    let packed = frames[0] | frames[1] << 9 | frames[2] << 18;
    let folder = tempdir().unwrap();
    let mut one = object(1, 1);
    image(&mut one, 3, 3, 1, 3);
    let bytes = packed.to_le_bytes();
    put(&mut one, tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.as_slice().into()));
    save(one, &folder.path().join("a.dcm"), EXPLICIT);
    let server = Server::over(folder.path());
    for (part, frame) in server.get(&format!("{FIRST}/frames/1,2,3")).parts().iter().zip(frames) {
        assert_eq!(part.body, frame.to_le_bytes()[..2]);
    }
}

#[test]
fn big_endian_cells_leave_little_endian() {
    let folder = tempdir().unwrap();
    let mut one = object(1, 1);
    image(&mut one, 1, 3, 16, 2);
    put(&mut one, tags::PIXEL_DATA, VR::OW, words(0x0102..0x0108));
    save(one, &folder.path().join("a.dcm"), BIG_ENDIAN);
    let server = Server::over(folder.path());
    let frame = server.get_as(&format!("{FIRST}/frames/2"), "application/octet-stream");
    assert_eq!(
        frame.header("content-type"),
        format!("application/octet-stream; transfer-syntax={EXPLICIT}")
    );
    assert_eq!(frame.body, [5, 1, 6, 1, 7, 1]);
}

#[test]
fn fragments_are_joined_by_offset_table_and_by_codestream() {
    let frame = |n: u8, length: usize| {
        let mut bytes = vec![n; length];
        bytes[..2].copy_from_slice(&[0xFF, 0xD8]);
        bytes
    };
    let fragments = vec![frame(1, 8), vec![1; 6], frame(2, 4), frame(3, 10), vec![3; 2]];
    let folder = tempdir().unwrap();
    let tables = [vec![0, 30, 42], vec![]];
    for (number, table) in tables.into_iter().enumerate() {
        let mut one = object(1, number as u32 + 1);
        image(&mut one, 2, 2, 8, 3);
        one.put(encapsulated(table, fragments.clone()));
        save(one, &folder.path().join(format!("{number}.dcm")), JPEG);
    }
    let server = Server::over(folder.path());
    for number in [1, 2] {
        let path = format!("/studies/1.1/series/1.1.1/instances/1.1.1.{number}/frames/1,2,3");
        let answer = server.get(&path);
        assert!(answer.header("content-type").contains("type=\"image/jpeg\""));
        let bodies: Vec<_> = answer.parts().into_iter().map(|part| part.body).collect();
        assert_eq!(bodies[0], [&fragments[0][..], &fragments[1][..]].concat(), "{number}");
        assert_eq!(bodies[1], fragments[2]);
        assert_eq!(bodies[2], [&fragments[3][..], &fragments[4][..]].concat());
    }
    let viewer = "multipart/related; type=application/octet-stream; transfer-syntax=*";
    let answer = server.get_as(&format!("{FIRST}/frames/1"), viewer);
    assert!(
        answer.parts()[0]
            .head
            .contains(&format!("application/octet-stream; transfer-syntax={JPEG}"))
    );
}

#[test]
fn a_video_is_one_stream() {
    let folder = tempdir().unwrap();
    let mut one = object(1, 1);
    image(&mut one, 2, 2, 8, 25);
    one.put(encapsulated(vec![], vec![vec![1; 6], vec![2; 4]]));
    save(one, &folder.path().join("a.dcm"), MPEG4);
    let server = Server::over(folder.path());
    assert_eq!(server.get(&format!("{FIRST}/frames/1")).status, 404);
    let stream = server.get_as(&format!("{FIRST}/bulkdata/7FE00010"), "video/mp4");
    assert_eq!(stream.body, [&[1; 6][..], &[2; 4]].concat());
}

#[test]
fn metadata_leads_to_its_bulk_data() {
    let folder = tempdir().unwrap();
    let table: Vec<u16> = (0..600).collect();
    let mut one = object(1, 1);
    image(&mut one, 2, 2, 16, 1);
    put(&mut one, tags::PIXEL_DATA, VR::OW, words([1, 2, 3, 4]));
    put(&mut one, tags::WINDOW_WIDTH, VR::DS, "1.50");
    let mut item = dicom_object::InMemDicomObject::new_empty();
    put(&mut item, tags::LUT_DESCRIPTOR, VR::US, words([600, 0, 16]));
    put(&mut item, tags::LUT_DATA, VR::OW, words(table.clone()));
    let sequence = DataSetSequence::new(vec![item], Length::UNDEFINED);
    one.put(DataElement::new(tags::VOILUT_SEQUENCE, VR::SQ, sequence));
    for (number, syntax) in [(1, EXPLICIT), (2, IMPLICIT), (3, BIG_ENDIAN)] {
        let mut copy = one.clone();
        put(&mut copy, tags::SOP_INSTANCE_UID, VR::UI, format!("1.1.1.{number}").as_str());
        save(copy, &folder.path().join(format!("{number}.dcm")), syntax);
    }
    let server = Server::over(folder.path());
    let objects = server.json("/studies/1.1/metadata");
    assert_eq!(objects.len(), 3);
    for object in &objects {
        assert_eq!(object["00281051"]["Value"][0], 1.5);
        assert_eq!(object["00283010"]["Value"][0]["00283002"]["Value"][0], 600);
        let lut = &object["00283010"]["Value"][0]["00283006"];
        assert_eq!(lut["vr"], "OW");
        let expected: Vec<u8> = table.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(fetch(&server, &lut["BulkDataURI"]), expected);
        let pixels = &object["7FE00010"]["BulkDataURI"];
        assert_eq!(fetch(&server, pixels), [1, 0, 2, 0, 3, 0, 4, 0]);
    }
    assert_eq!(server.get(&format!("{FIRST}/bulkdata/00283006")).status, 404);
    let accept = "multipart/related; type=\"application/octet-stream\"";
    let parts = server.get_as(&format!("{FIRST}/bulkdata/7FE00010"), accept).parts();
    assert_eq!(parts[0].body.len(), 8);
}

fn fetch(server: &Server, uri: &Value) -> Vec<u8> {
    let base = format!("http://{}", server.address);
    let path = uri.as_str().and_then(|uri| uri.strip_prefix(&base)).expect("a URI of this origin");
    let answer = server.get(path);
    assert_eq!(answer.status, 200);
    answer.body
}

#[test]
fn deflated_objects_are_read_and_their_files_sent_as_they_are() {
    use std::io::Write;
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let mut one = object(1, 1);
    image(&mut one, 2, 2, 8, 1);
    put(&mut one, tags::PIXEL_DATA, VR::OW, PrimitiveValue::U8([9, 8, 7, 6].as_slice().into()));
    save(one, &path, EXPLICIT);
    let mut plain = std::fs::read(&path).unwrap();
    // Meta group: its length stands in its first element; the data set follows.
    let length = u32::from_le_bytes(plain[140..144].try_into().unwrap()) as usize;
    let dataset = plain.split_off(144 + length);
    let mut file = rename_syntax(plain);
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflater.write_all(&dataset).unwrap();
    file.extend(deflater.finish().unwrap());
    std::fs::write(&path, &file).unwrap();

    let server = Server::over(folder.path());
    assert_eq!(server.skipped, 0);
    assert_eq!(server.get_as(FIRST, "application/dicom").body, file);
    let frame = server.get_as(&format!("{FIRST}/frames/1"), "application/octet-stream");
    assert_eq!(frame.body, [9, 8, 7, 6]);
}

/// The meta group with the deflated syntax in place of the explicit one.
fn rename_syntax(mut meta: Vec<u8>) -> Vec<u8> {
    let element = [&[2, 0, 0x10, 0, b'U', b'I', 20, 0][..], EXPLICIT.as_bytes(), b"\0"].concat();
    let at = meta.windows(element.len()).position(|w| w == element).expect("it is there");
    let new = [&[2, 0, 0x10, 0, b'U', b'I', 22, 0][..], DEFLATED.as_bytes()].concat();
    meta.splice(at..at + element.len(), new);
    meta
}

#[test]
fn head_is_get_without_its_body() {
    let folder = tempdir().unwrap();
    save(object(1, 1), &folder.path().join("a.dcm"), EXPLICIT);
    let server = Server::over(folder.path());
    let accept = [("Accept", "application/dicom")];
    let (head, get) = (server.ask("HEAD", FIRST, &accept), server.ask("GET", FIRST, &accept));
    assert_eq!(head.status, 200);
    assert!(head.body.is_empty());
    for name in ["content-length", "content-type"] {
        assert_eq!(head.header(name), get.header(name));
    }
    assert_eq!(server.ask("HEAD", "/studies/9", &[]).status, 404);
}

#[test]
fn problems_are_told_without_values() {
    let folder = tempdir().unwrap();
    save(object(1, 1), &folder.path().join("a.dcm"), EXPLICIT);
    let server = Server::over(folder.path());
    for (path, status) in [
        ("/studies/1.1x/metadata", 400),
        ("/studies/..%2F..%2Fetc", 400),
        ("/studies/%FF", 400),
        ("/studies/1.2.3", 404),
        ("/studies/1.1/rendered", 404),
        (&format!("{FIRST}/thumbnail"), 404),
        (&format!("{FIRST}/frames/1"), 404),
        ("/", 404),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(!problem["detail"].as_str().unwrap().contains("1.1"), "{path}");
    }
    let post = server.ask("POST", "/studies", &[("Content-Length", "0")]);
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn bad_files_are_skipped_and_counted() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("good.dcm");
    let mut good = object(1, 1);
    image(&mut good, 4, 4, 16, 1);
    put(&mut good, tags::PIXEL_DATA, VR::OW, words(0..16));
    save(good, &path, EXPLICIT);
    let stored = std::fs::read(&path).unwrap();
    std::fs::copy(&path, folder.path().join("z-copy.dcm")).unwrap();
    std::fs::write(folder.path().join("empty"), b"").unwrap();
    std::fs::write(folder.path().join("text.txt"), b"hello".repeat(100)).unwrap();
    std::fs::write(folder.path().join("cut-in-meta.dcm"), &stored[..150]).unwrap();
    std::fs::write(folder.path().join("no-meta.dcm"), [&[0; 128][..], b"DICM"].concat()).unwrap();
    let server = Server::over(folder.path());
    assert_eq!(server.skipped, 5);
    assert_eq!(server.json("/instances").len(), 1);
}

#[test]
fn files_cut_anywhere_or_with_any_byte_changed_never_break_the_origin() {
    let folder = tempdir().unwrap();
    let whole = folder.path().join("whole");
    let mut good = object(1, 1);
    image(&mut good, 4, 4, 16, 1);
    put(&mut good, tags::PIXEL_DATA, VR::OW, words(0..16));
    save(good, &whole, EXPLICIT);
    let mut multi = object(1, 2);
    image(&mut multi, 2, 2, 8, 2);
    multi.put(encapsulated(vec![0, 12], vec![vec![1; 4], vec![2; 4]]));
    let second = folder.path().join("second");
    save(multi, &second, JPEG);
    for source in [&whole, &second] {
        let stored = std::fs::read(source).unwrap();
        let instance = if source == &whole { 1 } else { 2 };
        for at in (132..stored.len()).step_by(3) {
            let trial = tempdir().unwrap();
            std::fs::write(trial.path().join("cut"), &stored[..at]).unwrap();
            exercise(trial.path(), instance);
            let mut changed = stored.clone();
            changed[at] ^= 0xFF;
            std::fs::write(trial.path().join("cut"), &changed).unwrap();
            exercise(trial.path(), instance);
        }
    }
}

/// Whatever the file is, every resource of it has an answer.
fn exercise(folder: &std::path::Path, instance: u32) {
    let server = Server::over(folder);
    let path = format!("/studies/1.1/series/1.1.1/instances/1.1.1.{instance}");
    for tail in ["", "/metadata", "/frames/1", "/bulkdata/7FE00010"] {
        let status = server.get(&format!("{path}{tail}")).status;
        assert!([200, 404, 500].contains(&status), "{tail}: {status}");
    }
}

#[test]
fn lengths_that_are_claimed_are_not_allocated() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("a.dcm");
    let mut one = object(1, 1);
    image(&mut one, 65535, 65535, 16, 2_000_000_000);
    put(&mut one, tags::PIXEL_DATA, VR::OW, words([1, 2]));
    save(one, &path, EXPLICIT);
    // The pixel data claim 4 GiB less 2 where 4 bytes are.
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 8..end - 4].copy_from_slice(&0xFFFF_FFFE_u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let server = Server::over(folder.path());
    assert_eq!(server.get(&format!("{FIRST}/frames/1")).status, 500);
    assert_eq!(server.get(&format!("{FIRST}/frames/2000000000")).status, 500);
    assert_eq!(server.get(&format!("{FIRST}/bulkdata/7FE00010")).body, [1, 0, 2, 0]);
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let outside = tempdir().unwrap();
    save(object(1, 1), &outside.path().join("secret.dcm"), EXPLICIT);
    let folder = tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.dcm"), folder.path().join("a.dcm"))
        .unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    let origin = folder_origin::FolderOrigin::open(folder.path()).unwrap();
    assert!(origin.is_empty());
    assert!(folder_origin::FolderOrigin::open(&folder.path().join("absent")).is_err());
}
