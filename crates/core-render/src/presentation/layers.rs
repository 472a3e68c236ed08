//! Graphic layers and what they are drawn with (PS3.3 C.10.7).

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use serde::{Deserialize, Serialize};

use crate::dataset::{integer, integers, items, text};
use crate::segmentation::srgb_of_cielab;

/// A colour, in sRGB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ink(pub [u8; 3]);

impl Ink {
    pub(super) const WHITE: Self = Self([255; 3]);
    pub(super) const BLACK: Self = Self([0; 3]);

    /// A colour in CIELab of 16 bits (C.10.7.1.1), else a grey P-value of 16 bits.
    pub(super) fn read(dataset: &InMemDicomObject, cielab: Tag, grey: Tag) -> Option<Self> {
        Self::of_cielab(dataset, cielab).or_else(|| {
            let value = integer(dataset, grey)?;
            Some(Self([(value.clamp(0, 65_535) >> 8) as u8; 3]))
        })
    }

    pub(super) fn of_cielab(dataset: &InMemDicomObject, tag: Tag) -> Option<Self> {
        match integers(dataset, tag)[..] {
            [l, a, b] => Some(Self(srgb_of_cielab(l, a, b))),
            _ => None,
        }
    }

    pub(super) fn is_grey(self) -> bool {
        let [red, green, blue] = self.0;
        red == green && green == blue
    }
}

/// The layers of a state, the lowest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Layers(Vec<Layer>);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Layer {
    name: String,
    /// `None` where no colour is recommended.
    ink: Option<Ink>,
}

/// More layers than anyone tells apart.
const MOST_LAYERS: usize = 100;

impl Layers {
    /// Graphic Layer Sequence (0070,0060), by Graphic Layer Order.
    pub(super) fn read(dataset: &InMemDicomObject, warnings: &mut Vec<String>) -> Self {
        let items = items(dataset, tags::GRAPHIC_LAYER_SEQUENCE);
        if items.len() > MOST_LAYERS {
            warnings.push(format!("of {} graphic layers {MOST_LAYERS} are kept", items.len()));
        }
        let mut layers: Vec<_> = items
            .iter()
            .take(MOST_LAYERS)
            .filter_map(|item| {
                let order = integer(item, tags::GRAPHIC_LAYER_ORDER).unwrap_or(0);
                let name = text(item, tags::GRAPHIC_LAYER)?;
                let ink = Ink::read(
                    item,
                    tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
                    tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_GRAYSCALE_VALUE,
                );
                Some((order, Layer { name, ink }))
            })
            .collect();
        layers.sort_by_key(|(order, _)| *order);
        Self(layers.into_iter().map(|(_, layer)| layer).collect())
    }

    /// The place of a layer, from below; above all others if it is unknown.
    pub(super) fn place(&self, name: Option<&str>) -> usize {
        let named = |layer: &Layer| Some(layer.name.as_str()) == name;
        self.0.iter().position(named).unwrap_or(self.0.len())
    }

    /// What it is recommended to draw with on the layer at a place.
    pub(super) fn ink(&self, place: usize) -> Option<Ink> {
        self.0.get(place)?.ink
    }
}

#[cfg(test)]
mod tests {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};

    use super::*;
    use crate::attributes::tests::put;

    fn layer(name: &str, order: &str) -> InMemDicomObject {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::GRAPHIC_LAYER, VR::CS, name.into());
        put(&mut item, tags::GRAPHIC_LAYER_ORDER, VR::IS, order.into());
        item
    }

    fn layers(items: Vec<InMemDicomObject>) -> Layers {
        let sequence = DataSetSequence::from(items);
        let element = DataElement::new(tags::GRAPHIC_LAYER_SEQUENCE, VR::SQ, sequence);
        Layers::read(&InMemDicomObject::from_element_iter([element]), &mut Vec::new())
    }

    #[test]
    fn layers_are_ordered_and_unknown_ones_lie_on_top() {
        let layers = layers(vec![layer("TOP", "7"), layer("BELOW", "-1"), layer("MIDDLE", "3")]);
        let place = |name| layers.place(Some(name));
        assert_eq!([place("BELOW"), place("MIDDLE"), place("TOP"), place("NONE")], [0, 1, 2, 3]);
        assert_eq!(layers.place(None), 3);
    }

    #[test]
    fn colour_wins_over_grey_and_there_may_be_neither() {
        let mut grey = layer("GREY", "1");
        put(
            &mut grey,
            tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_GRAYSCALE_VALUE,
            VR::US,
            0x80FF_u16.into(),
        );
        let mut colour = grey.clone();
        put(&mut colour, tags::GRAPHIC_LAYER, VR::CS, PrimitiveValue::from("COLOUR"));
        put(
            &mut colour,
            tags::GRAPHIC_LAYER_RECOMMENDED_DISPLAY_CIE_LAB_VALUE,
            VR::US,
            dicom_value!(U16, [35_580, 53_664, 50_857]),
        );
        let layers = layers(vec![grey, colour, layer("PLAIN", "2")]);
        assert_eq!(layers.ink(0), Some(Ink([0x80; 3])));
        let Some(Ink([red, green, blue])) = layers.ink(1) else { panic!("no colour") };
        assert!(red > 250 && green < 12 && blue < 12, "{red} {green} {blue}");
        assert!(layers.ink(2).is_none() && layers.ink(9).is_none());
    }
}
