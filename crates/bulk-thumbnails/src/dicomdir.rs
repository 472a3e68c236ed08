//! A DICOMDIR, and the files that it names (PS3.3 F.3, PS3.10 8).

use std::path::{Path, PathBuf};

use core_render::{FileAttributes, Limits};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

/// The name that every DICOMDIR has (PS3.10 8.6).
pub(crate) const NAME: &str = "DICOMDIR";

/// Referenced File ID (0004,1500) has no more components (PS3.10 8.2).
const DEEPEST: usize = 8;

/// The files that a DICOMDIR names, in its order, as paths below its folder. `None` where it is none.
pub(crate) fn files_of(path: &Path, limits: &Limits) -> Option<Vec<PathBuf>> {
    let length = std::fs::metadata(path).ok()?.len();
    if length > limits.source_bytes {
        return None;
    }
    let file = std::fs::read(path).ok()?.into();
    let dataset = FileAttributes::read(&file, limits).ok()?.dataset;
    let records = dataset.element_opt(tags::DIRECTORY_RECORD_SEQUENCE).ok()??.items()?;
    Some(records.iter().filter_map(file_of).collect())
}

/// The file of a record. A DICOMDIR comes from anywhere: what leads out of its folder is no file of it.
fn file_of(record: &InMemDicomObject) -> Option<PathBuf> {
    let id = record.element_opt(tags::REFERENCED_FILE_ID).ok()??;
    let components = id.value().primitive()?.to_multi_str();
    // Split once more: some writers put the whole path into one value.
    let components: Vec<&str> = components
        .iter()
        .flat_map(|component| component.split('\\'))
        .map(|component| component.trim_matches([' ', '\0']))
        .collect();
    let is_one = |component: &&str| {
        !matches!(*component, "" | "." | "..") && !component.contains(['/', '\\', ':', '\0'])
    };
    let is_path = (1..=DEEPEST).contains(&components.len()) && components.iter().all(is_one);
    is_path.then(|| components.iter().collect())
}

/// Where such a file lies. Media are written in capitals, and often copied in small letters.
pub(crate) fn found_below(folder: &Path, name: &Path) -> PathBuf {
    let as_it_is = folder.join(name);
    if !as_it_is.exists() {
        let small = folder.join(name.to_string_lossy().to_lowercase());
        if small.exists() {
            return small;
        }
    }
    as_it_is
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, VR};

    use super::*;

    fn named(id: &str) -> Option<PathBuf> {
        let value = PrimitiveValue::Strs(id.split('\\').map(str::to_owned).collect());
        let element = DataElement::new(tags::REFERENCED_FILE_ID, VR::CS, value);
        file_of(&InMemDicomObject::from_element_iter([element]))
    }

    #[test]
    fn files_lie_below_the_folder_and_nowhere_else() {
        assert_eq!(named(r"IMAGES\CT\IM0001 "), Some(PathBuf::from("IMAGES/CT/IM0001")));
        for escape in [
            "",
            "..",
            r"A\..\..\etc\passwd",
            r"\etc\passwd",
            "/etc/passwd",
            r"A\.\B",
            "C:",
            r"A\\B",
        ] {
            assert_eq!(named(escape), None, "{escape}");
        }
        assert_eq!(named(&[r"A\"; 9].concat()), None);
        assert_eq!(file_of(&InMemDicomObject::new_empty()), None);
    }
}
