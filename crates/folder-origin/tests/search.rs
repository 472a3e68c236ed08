//! QIDO-RS through the door, over objects of one study and over the samples.

mod support;

use serde_json::Value;
use support::*;
use tempfile::{TempDir, tempdir};

/// Study 1.1: series 1 (OT) with 12 instances, series 2 (MR) with 1; another patient's study 2.1.
fn archive() -> (TempDir, Server) {
    use dicom_core::VR;
    use dicom_dictionary_std::tags;
    let folder = tempdir().expect("a folder");
    for number in 1..=12 {
        let mut one = object(1, number);
        image(&mut one, 8, 6, 16, 1);
        put(
            &mut one,
            tags::PIXEL_DATA,
            VR::OW,
            dicom_core::PrimitiveValue::U8([0; 96].as_slice().into()),
        );
        put(&mut one, tags::IMAGE_COMMENTS, VR::LT, format!("comment {number}").as_str());
        save(one, &folder.path().join(format!("{number}.dcm")), EXPLICIT);
    }
    save(object(2, 1), &folder.path().join("mr.dcm"), EXPLICIT);
    let mut other = object(1, 1);
    for (tag, uid) in [
        (tags::STUDY_INSTANCE_UID, "2.1"),
        (tags::SERIES_INSTANCE_UID, "2.1.1"),
        (tags::SOP_INSTANCE_UID, "2.1.1.1"),
    ] {
        put(&mut other, tag, VR::UI, uid);
    }
    put(&mut other, tags::PATIENT_NAME, VR::PN, "Other^Person");
    put(&mut other, tags::STUDY_DATE, VR::DA, "20260401");
    save(other, &folder.path().join("other.dcm"), EXPLICIT);
    let server = Server::over(folder.path());
    (folder, server)
}

fn column(entries: &[Value], tag: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    entries.iter().map(|entry| text(&entry[tag]["Value"][0])).collect()
}

#[test]
fn studies_are_found_by_key_in_any_spelling() {
    let (_folder, server) = archive();
    let found = |query: &str| column(&server.json(&format!("/studies?{query}")), "0020000D");
    assert_eq!(found(""), ["2.1", "1.1"], "newest first");
    for query in [
        "PatientName=test*",
        "PatientName=T?st%5EObject",
        "00100010=*object",
        "StudyDate=20260301",
        "StudyDate=-20260331",
        "StudyDate=20260201-20260301",
        "ModalitiesInStudy=MR",
        "Modality=MR",
        "StudyInstanceUID=1.1,1.9",
        "0020000d=1.1",
        "SOPInstanceUID=1.1.1.7",
        "PatientID=T-1&Modality=MR",
        "unknown=1&PatientName=Test*&fuzzymatching=false",
    ] {
        assert_eq!(found(query), ["1.1"], "{query}");
    }
    assert!(found("PatientName=Nobody*").is_empty());
    assert!(found("StudyInstanceUID=1.*").is_empty(), "UIDs have no wildcards");
}

#[test]
fn pages_follow_each_other_in_a_stable_order() {
    let (_folder, server) = archive();
    let page = |query: &str| {
        column(&server.json(&format!("/studies/1.1/series/1.1.1/instances?{query}")), "00200013")
    };
    assert_eq!(page("limit=3"), ["1", "2", "3"]);
    assert_eq!(page("limit=3&offset=9"), ["10", "11", "12"], "by number, not by text");
    assert!(page("offset=12").is_empty());
    assert_eq!(page("InstanceNumber=7"), ["7"]);
    assert_eq!(server.get("/studies?limit=x").status, 400);
    assert_eq!(server.get("/studies?offset=-1").status, 400);
    assert_eq!(server.get("/studies?PatientID=none").status, 204);
}

#[test]
fn each_level_returns_its_attributes() {
    let (_folder, server) = archive();
    let study = &server.json("/studies?PatientID=T-1&StudyInstanceUID=1.1")[0];
    assert_eq!(study["00100010"]["Value"][0]["Alphabetic"], "Test^Object");
    assert_eq!(study["00080061"]["Value"], serde_json::json!(["MR", "OT"]));
    assert_eq!(study["00201206"]["Value"][0], 2);
    assert_eq!(study["00201208"]["Value"][0], 13);
    assert_eq!(study["00081190"]["Value"][0], format!("http://{}/studies/1.1", server.address));

    let series = server.json("/studies/1.1/series");
    assert_eq!(column(&series, "0020000E"), ["1.1.1", "1.1.2"]);
    assert_eq!(column(&series, "00201209"), ["12", "1"]);
    assert_eq!(column(&series, "00080060"), ["OT", "MR"]);
    assert!(series[0].get("00100010").is_none(), "the study is known from the path");
    assert_eq!(server.json("/series?Modality=MR")[0]["00100020"]["Value"][0], "T-1");

    let instance = &server.json("/studies/1.1/instances?SOPInstanceUID=1.1.1.2")[0];
    for (tag, value) in [("00280010", 8), ("00280011", 6), ("00280100", 16), ("00280008", 1)] {
        assert_eq!(instance[tag]["Value"][0], value, "{tag}");
    }
    assert_eq!(instance["00083002"]["Value"][0], EXPLICIT);
    assert_eq!(instance["00080060"]["Value"][0], "OT", "the series is not known from the path");
    assert_eq!(server.json("/instances").len(), 14);
}

#[test]
fn further_attributes_come_on_request() {
    let (_folder, server) = archive();
    let path = "/studies/1.1/series/1.1.1/instances?InstanceNumber=5";
    assert!(server.json(path)[0].get("00204000").is_none());
    for field in ["ImageComments", "00204000", "PatientSize,00204000", "all"] {
        let entry = &server.json(&format!("{path}&includefield={field}"))[0];
        assert_eq!(entry["00204000"]["Value"][0], "comment 5", "{field}");
        assert!(entry.get("7FE00010").is_none(), "no bulk data in a search");
    }
    assert_eq!(server.get(&format!("{path}&includefield=Nonsense")).status, 400);
}

#[test]
fn what_is_not_done_is_said() {
    let (_folder, server) = archive();
    let fuzzy = server.get("/studies?PatientName=Test*&fuzzymatching=true");
    assert!(fuzzy.header("warning").starts_with("299 "));
    assert_eq!(server.get("/studies?ImageComments=x").status, 400, "not a matching key");
    assert_eq!(server.get("/studies/9.9/series").status, 404);
    assert_eq!(server.get_as("/studies", "application/dicom+xml").status, 406);
}
