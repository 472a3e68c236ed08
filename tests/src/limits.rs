//! How far pictures may be from the references of the corpus, and what came of all of them.

use std::collections::BTreeMap;

use crate::corpus::{Corpus, Entry, Outcome};
use crate::pictures::Picture;

/// How far a picture may be from its reference (the corpus' README, "Comparing").
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The largest difference of two samples.
    MaxAbs(u8),
    /// The smallest signal-to-noise ratio, in dB.
    Psnr(f64),
}

impl Limit {
    /// `None` where there is nothing to compare with.
    pub fn of(entry: &Entry) -> Option<Self> {
        let reference = entry.reference.as_ref()?;
        let drawn = matches!(entry.expected.outcome, Outcome::Render | Outcome::RenderBestEffort);
        if entry.reference_departs.is_some() || !drawn {
            return None;
        }
        let syntax = entry.transfer_syntax_uid.as_deref().unwrap_or_default();
        let photometric = entry.photometric.as_deref().unwrap_or_default();
        let colour = reference.pipeline.starts_with("colour");
        let jpeg = matches!(syntax, JPEG_BASELINE | JPEG_EXTENDED | JPEG_XL_RECOMPRESSED);
        let subsampled = colour && jpeg && photometric == "YBR_FULL_422";
        let ybr = colour && photometric.starts_with("YBR") && photometric != "YBR_RCT";
        let twelve_bits = syntax == JPEG_EXTENDED && entry.bits_stored.is_some_and(|bits| bits > 8);
        Some(match entry.kind.as_str() {
            "video" => Self::Psnr(30.0),
            _ if subsampled || syntax == JPEG_XL => Self::Psnr(40.0),
            _ if ybr || twelve_bits => Self::MaxAbs(2),
            _ => Self::MaxAbs(1),
        })
    }

    /// Whether it is kept, and the difference in words.
    pub fn judge(self, corpus: &Corpus, entry: &Entry, png: &[u8]) -> (bool, String) {
        let Some(reference) = &entry.reference else { return (false, "no reference".into()) };
        let expected = Picture::from_png(&corpus.read(&reference.png)).expect("references are PNG");
        let difference = Picture::from_png(png).and_then(|mut got| {
            if reference.box_downscaled_by > 1 {
                got = got.box_downscaled(reference.box_downscaled_by);
            }
            expected.difference(&got)
        });
        match (self, difference) {
            (_, Err(why)) => (false, why),
            (Self::MaxAbs(limit), Ok(found)) => (
                found.max_abs <= limit,
                format!("differs by {} of {limit} levels ({:.1} dB)", found.max_abs, found.psnr),
            ),
            (Self::Psnr(limit), Ok(found)) => {
                (found.psnr >= limit, format!("{:.1} dB of {limit} dB", found.psnr))
            }
        }
    }
}

const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
const JPEG_EXTENDED: &str = "1.2.840.10008.1.2.4.51";
const JPEG_XL_RECOMPRESSED: &str = "1.2.840.10008.1.2.4.111";
const JPEG_XL: &str = "1.2.840.10008.1.2.4.112";

/// What came of all files, per kind.
#[derive(Default, Debug)]
pub struct Table {
    rows: BTreeMap<String, Row>,
    outside: Vec<(String, String)>,
}

#[derive(Default, Debug)]
struct Row {
    files: usize,
    pictures: usize,
    compared: usize,
    within: usize,
}

impl Table {
    /// Adds a file: whether it gave a picture, and, if it was compared, whether it lies within its
    /// limits and how far it is from its reference.
    pub fn add(&mut self, entry: &Entry, picture: bool, judged: Option<(bool, String)>) {
        let row = self.rows.entry(entry.kind.clone()).or_default();
        row.files += 1;
        row.pictures += usize::from(picture);
        if let Some((within, difference)) = judged {
            row.compared += 1;
            row.within += usize::from(within);
            if !within {
                self.outside.push((entry.path.clone(), difference));
            }
        }
    }

    /// Paths of the files outside their limits.
    pub fn outside(&self) -> impl Iterator<Item = &str> {
        self.outside.iter().map(|(path, _)| path.as_str())
    }

    /// Files within limits, of those compared.
    pub fn share_within_limits(&self) -> f64 {
        let sum = |of: fn(&Row) -> usize| self.rows.values().map(of).sum::<usize>();
        sum(|row| row.within) as f64 / sum(|row| row.compared).max(1) as f64
    }

    /// Prints a row for each kind of file, then each file outside its limits.
    pub fn print(&self) {
        println!(
            "{:<12} {:>6} {:>9} {:>9} {:>7}",
            "kind", "files", "pictures", "compared", "within"
        );
        for (kind, row) in &self.rows {
            println!(
                "{kind:<12} {:>6} {:>9} {:>9} {:>7}",
                row.files, row.pictures, row.compared, row.within
            );
        }
        println!("within limits: {:.1} %", self.share_within_limits() * 100.0);
        for (path, difference) in &self.outside {
            println!("outside: {path}: {difference}");
        }
    }
}
