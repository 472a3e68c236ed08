//! Every requirement on rendered resources, thumbnails, their parameters, media types and
//! representatives, one by one, through the real door: `./run conformance` prints the table.
//!
//! The numbers are those of this project's reading of PS3.18, section by section: 1 resources and
//! paths, 2 query parameters, 3 media types, negotiation and status, 5 the representative. A letter
//! tells apart what one requirement demands; `ruled` rows say where this project decides otherwise
//! than the standard, or more than it, and why.

#![allow(clippy::unwrap_used)] // in the helpers of tests too

#[path = "conformance/archive.rs"]
mod archive;
#[path = "conformance/caching.rs"]
mod caching;
#[path = "conformance/media.rs"]
mod media;
#[path = "conformance/objects.rs"]
mod objects;
#[path = "conformance/parameters.rs"]
mod parameters;
#[path = "conformance/representative.rs"]
mod representative;
#[path = "conformance/resources.rs"]
mod resources;
#[path = "conformance/states.rs"]
mod states;
#[path = "conformance/status.rs"]
mod status;
#[path = "conformance/viewport.rs"]
mod viewport;
#[path = "conformance/walk.rs"]
mod walk;
#[path = "conformance/window.rs"]
mod window;

use archive::Archive;
use walk::Requirement;

fn requirements() -> Vec<Requirement> {
    [
        resources::WALK,
        parameters::WALK,
        viewport::WALK,
        window::WALK,
        states::WALK,
        media::WALK,
        status::WALK,
        caching::WALK,
        representative::WALK,
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_requirement_is_met_or_ruled() {
    let archive = Archive::start().await;
    let failed = walk::walk(&archive, &requirements()).await;
    assert!(failed.is_empty(), "{} checks fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_number_is_walked() {
    let walked: Vec<&str> = requirements().iter().map(|row| row.number).collect();
    let numbers = |section: &str, last: usize| -> Vec<String> {
        (1..=last).map(|number| format!("{section}.{number}")).collect()
    };
    let all = [numbers("R1", 14), numbers("R2", 12), numbers("R3", 12), numbers("R5", 7)].concat();
    let is_of = |row: &str, number: &str| row.split(' ').next() == Some(number);
    for number in &all {
        assert!(walked.iter().any(|row| is_of(row, number)), "{number} is not walked");
    }
    for row in &walked {
        assert!(all.iter().any(|number| is_of(row, number)), "{row} is no requirement");
        assert_eq!(walked.iter().filter(|other| *other == row).count(), 1, "{row} is there twice");
    }
    for letter in ["a", "b", "c", "d", "e", "f", "g"] {
        let row = format!("R2.7 {letter}");
        assert!(walked.contains(&row.as_str()), "{row} is not walked");
    }
}
