//! A picture in display values.

/// 8-bit display values, row-major, the channels of a pixel side by side.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Raster {
    pub width: u32,
    pub height: u32,
    pub channels: Channels,
    /// `width × height × channels` values.
    pub data: Vec<u8>,
}

/// What a pixel of a raster holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Channels {
    Grey,
    Rgb,
}

impl Channels {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

impl Raster {
    /// A black raster.
    pub(crate) fn black(width: u32, height: u32, channels: Channels) -> Self {
        let values = width as usize * height as usize * channels.count();
        Self { width, height, channels, data: vec![0; values] }
    }

    /// The same picture in three channels.
    pub(crate) fn into_rgb(self) -> Self {
        match self.channels {
            Channels::Rgb => self,
            Channels::Grey => {
                let data = self.data.iter().flat_map(|&value| [value; 3]).collect();
                Self { channels: Channels::Rgb, data, ..self }
            }
        }
    }

    /// A quarter turn clockwise.
    pub(crate) fn turned(&self) -> Self {
        let channels = self.channels.count();
        let (width, height) = (self.height, self.width);
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..self.width as usize {
            for row in (0..self.height as usize).rev() {
                let at = (row * self.width as usize + column) * channels;
                data.extend_from_slice(&self.data[at..at + channels]);
            }
        }
        Self { width, height, channels: self.channels, data }
    }

    /// Mirrors left to right.
    pub(crate) fn mirror_horizontally(&mut self) {
        let channels = self.channels.count();
        for row in self.data.chunks_exact_mut(self.width as usize * channels) {
            match self.channels {
                Channels::Grey => row.reverse(),
                Channels::Rgb => row.as_chunks_mut::<3>().0.reverse(),
            }
        }
    }

    /// Mirrors top to bottom.
    pub(crate) fn mirror_vertically(&mut self) {
        let stride = self.width as usize * self.channels.count();
        let mirrored = self.data.chunks_exact(stride).rev().flatten().copied().collect();
        self.data = mirrored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster() -> Raster {
        Raster { width: 2, height: 2, channels: Channels::Rgb, data: (1..=12).collect() }
    }

    #[test]
    fn mirroring_keeps_the_channels_of_a_pixel_together() {
        let mut horizontal = raster();
        horizontal.mirror_horizontally();
        assert_eq!(horizontal.data, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
        let mut vertical = raster();
        vertical.mirror_vertically();
        assert_eq!(vertical.data, [7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_quarter_turn_carries_the_lower_left_to_the_upper_left() {
        let wide =
            Raster { width: 3, height: 2, channels: Channels::Grey, data: vec![1, 2, 3, 4, 5, 6] };
        let turned = wide.turned();
        assert_eq!((turned.width, turned.height), (2, 3));
        assert_eq!(turned.data, [4, 1, 5, 2, 6, 3]);
        assert_eq!(raster().turned().data, [7, 8, 9, 1, 2, 3, 10, 11, 12, 4, 5, 6]);
        assert_eq!(turned.turned().turned().turned(), wide);
    }

    #[test]
    fn mirroring_twice_is_the_picture_itself() {
        let mut twice = raster();
        twice.mirror_horizontally();
        twice.mirror_horizontally();
        twice.mirror_vertically();
        twice.mirror_vertically();
        assert_eq!(twice, raster());
    }
}
