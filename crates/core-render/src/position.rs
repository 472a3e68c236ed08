//! Where an image lies in the patient (PS3.3 C.7.6.2).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use crate::dataset::numbers;

/// Image Position (Patient) along the normal of the image, in mm: what orders the slices of a stack.
/// `None` where position or orientation is absent or no vector.
pub fn slice_position(dataset: &InMemDicomObject) -> Option<f64> {
    let position: [f64; 3] = vector(dataset, tags::IMAGE_POSITION_PATIENT)?;
    let [rx, ry, rz, cx, cy, cz]: [f64; 6] = vector(dataset, tags::IMAGE_ORIENTATION_PATIENT)?;
    let normal = [ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx];
    let along = position.iter().zip(normal).map(|(p, n)| p * n).sum::<f64>();
    along.is_finite().then_some(along)
}

fn vector<const N: usize>(dataset: &InMemDicomObject, tag: Tag) -> Option<[f64; N]> {
    let values: Option<Vec<f64>> = numbers(dataset, tag).into_iter().collect();
    values?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use dicom_core::VR;

    use super::*;
    use crate::attributes::tests::put;

    fn position(position: &str, orientation: &str) -> Option<f64> {
        let mut dataset = InMemDicomObject::new_empty();
        put(&mut dataset, tags::IMAGE_POSITION_PATIENT, VR::DS, position.into());
        put(&mut dataset, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, orientation.into());
        slice_position(&dataset)
    }

    #[test]
    fn slices_are_placed_along_their_normal() {
        assert_eq!(position("-100\\-100\\42.5", "1\\0\\0\\0\\1\\0"), Some(42.5));
        // Sagittal: the normal is the patient's left.
        assert_eq!(position("7\\-100\\-100", "0\\1\\0\\0\\0\\1"), Some(7.0));
    }

    #[test]
    fn what_is_no_vector_has_no_place() {
        assert_eq!(position("1\\2", "1\\0\\0\\0\\1\\0"), None);
        assert_eq!(position("1\\2\\x", "1\\0\\0\\0\\1\\0"), None);
        assert_eq!(position("1\\2\\3", ""), None);
    }
}
