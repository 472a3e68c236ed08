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
    fn mirroring_twice_is_the_picture_itself() {
        let mut twice = raster();
        twice.mirror_horizontally();
        twice.mirror_horizontally();
        twice.mirror_vertically();
        twice.mirror_vertically();
        assert_eq!(twice, raster());
    }
}
