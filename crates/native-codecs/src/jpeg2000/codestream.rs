//! The main header of a JPEG 2000 codestream (T.800 annex A), read without OpenJPEG, so that what it
//! would cost is known before OpenJPEG allocates for it.

use crate::buffer::{FLAT_SAMPLES, FLAT_SAMPLES_PER_BYTE, MAX_SAMPLES, check_plausible};
use crate::error::{CodecError, Result};

const SOC: [u8; 2] = [0xFF, 0x4F];
const SIZ: u8 = 0x51;
const COD: u8 = 0x52;
const COC: u8 = 0x53;
const SOT: u8 = 0x90;
const SOD: u8 = 0x93;
const EOC: u8 = 0xD9;

/// The JP2 signature box, T.800 I.5.1.
const JP2_SIGNATURE: [u8; 12] = [0, 0, 0, 12, b'j', b'P', b' ', b' ', 13, 10, 0x87, 10];

/// OpenJPEG allocates coding parameters, about a kilobyte, for each component of each tile.
const MAX_TILE_COMPONENTS: u64 = 1 << 16;

/// Packets that are always allowed; above, each needs a byte of the codestream.
const FEW_PACKETS: u64 = 1 << 20;

/// What the main header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MainHeader {
    /// Reference grid: Xsiz, Ysiz.
    end: (u32, u32),
    /// Reference grid: XOsiz, YOsiz.
    start: (u32, u32),
    tile: (u32, u32),
    tile_start: (u32, u32),
    pub(super) components: Vec<ComponentSize>,
    style: CodingStyle,
    /// The smallest number of decomposition levels of a component.
    pub(super) levels: u8,
}

/// One component of the SIZ segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ComponentSize {
    pub(super) precision: u8,
    pub(super) signed: bool,
    /// Grid points per sample: XRsiz, YRsiz.
    step: (u8, u8),
}

/// The COD segment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CodingStyle {
    layers: u16,
    component_transform: bool,
    levels: u8,
    /// PPx, PPy of each resolution level; empty: the largest.
    precincts: Vec<(u8, u8)>,
}

impl MainHeader {
    pub(super) fn read(codestream: &[u8]) -> Result<Self> {
        let mut rest = codestream.strip_prefix(&SOC).ok_or_else(|| damaged("it lacks SOC"))?;
        let (mut siz, mut style, mut levels) = (None, None, u8::MAX);
        while let Some((marker, payload, after)) = segment(rest) {
            match marker {
                SIZ => siz = Some(Siz::read(payload).ok_or_else(|| damaged("SIZ"))?),
                COD => style = Some(CodingStyle::read(payload).ok_or_else(|| damaged("COD"))?),
                COC => {
                    let many = siz.as_ref().is_some_and(|siz| siz.components.len() > 256);
                    levels = levels.min(coc_levels(payload, many).ok_or_else(|| damaged("COC"))?);
                }
                SOT | SOD | EOC => break,
                _ => {}
            }
            rest = after;
        }
        let Siz { end, start, tile, tile_start, components } =
            siz.ok_or_else(|| damaged("it lacks SIZ"))?;
        let style = style.ok_or_else(|| damaged("it lacks COD"))?;
        let levels = levels.min(style.levels);
        Ok(Self { end, start, tile, tile_start, components, style, levels })
    }

    /// Size of the largest component, in samples.
    pub(super) fn size(&self) -> (u32, u32) {
        let sizes = self.components.iter().map(|&component| self.component_size(component, 0));
        sizes.fold((0, 0), |(w, h), (cw, ch)| (w.max(cw), h.max(ch)))
    }

    /// Whether the first three components are coded as a colour transform of what comes out.
    pub(super) fn component_transform(&self) -> bool {
        self.style.component_transform
    }

    /// Samples of all components at a reduced size.
    fn samples(&self, reduce: u8) -> u64 {
        let sizes = self.components.iter().map(|&component| self.component_size(component, reduce));
        sizes.map(|(w, h)| u64::from(w) * u64::from(h)).fold(0, u64::saturating_add)
    }

    /// Refuses too many samples, and headers whose bookkeeping would be out of proportion to
    /// `bytes`, the length of the codestream.
    ///
    /// A tile-part header may override the latter, so this is no complete defence.
    pub(super) fn check_cost(&self, bytes: usize, reduce: u8) -> Result<()> {
        let samples = self.samples(reduce);
        if samples == 0 || samples > MAX_SAMPLES {
            return Err(CodecError::new(format!("{samples} samples are none or too many")));
        }
        check_plausible(samples, bytes, FLAT_SAMPLES_PER_BYTE, FLAT_SAMPLES)?;
        let components = self.components.len() as u64;
        let tiles = self.tiles();
        if tiles.saturating_mul(components) > MAX_TILE_COMPONENTS {
            return Err(CodecError::new(format!(
                "{tiles} tiles of {components} components are too many"
            )));
        }
        let packets = self.packets().saturating_mul(u64::from(self.style.layers));
        if packets > FEW_PACKETS.max(bytes as u64) {
            return Err(CodecError::new(format!("{bytes} bytes cannot hold {packets} packets")));
        }
        Ok(())
    }

    fn tiles(&self) -> u64 {
        let along = |end: u32, start: u32, size: u32| u64::from((end - start).div_ceil(size));
        along(self.end.0, self.tile_start.0, self.tile.0)
            * along(self.end.1, self.tile_start.1, self.tile.1)
    }

    /// Packets of one layer: about one per component, resolution level and precinct, and at least
    /// one per tile.
    fn packets(&self) -> u64 {
        let tiles = self.tiles();
        let mut packets = 0_u64;
        for &component in &self.components {
            for resolution in 0..=self.style.levels {
                let (width, height) =
                    self.component_size(component, self.style.levels - resolution);
                let (ppx, ppy) =
                    self.style.precincts.get(usize::from(resolution)).copied().unwrap_or((15, 15));
                let along = |size: u32, exponent: u8| (u64::from(size) >> exponent) + 1;
                let precincts = along(width, ppx).saturating_mul(along(height, ppy));
                packets = packets.saturating_add(precincts.max(tiles));
            }
        }
        packets
    }

    /// B-15 of T.800: differences of rounded-up coordinates.
    fn component_size(&self, component: ComponentSize, reduce: u8) -> (u32, u32) {
        let along = |end: u32, start: u32, step: u8| {
            let at = |grid: u32| {
                u64::from(grid.div_ceil(u32::from(step))).div_ceil(1_u64 << reduce.min(32))
            };
            u32::try_from(at(end) - at(start)).unwrap_or(u32::MAX)
        };
        (
            along(self.end.0, self.start.0, component.step.0),
            along(self.end.1, self.start.1, component.step.1),
        )
    }
}

/// The codestream itself, or the one inside a JP2 file.
pub(super) fn find(data: &[u8]) -> Result<&[u8]> {
    if data.starts_with(&SOC) {
        return Ok(data);
    }
    if !data.starts_with(&JP2_SIGNATURE) {
        return Err(CodecError::new("neither a JPEG 2000 codestream nor a JP2 file"));
    }
    let mut rest = data;
    while let Some((kind, content, after)) = box_of(rest) {
        if kind == b"jp2c" {
            return Ok(content);
        }
        rest = after;
    }
    Err(CodecError::new("the JP2 file holds no codestream"))
}

/// Whether the tile-parts run past the end, or the end of codestream is missing.
pub(super) fn is_cut_off(codestream: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(&[0xFF, marker]) = codestream.get(at..at + 2) else { return true };
        match marker {
            EOC => return false,
            SOT => {
                // Lsot, Isot, then Psot: the length from SOT on, 0: to the end
                let Some(&[a, b, c, d]) = codestream.get(at + 6..at + 10) else { return true };
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if length < 12 {
                    return !codestream.ends_with(&[0xFF, EOC]);
                }
                at = at.saturating_add(length);
            }
            _ => {
                let Some(&[a, b]) = codestream.get(at + 2..at + 4) else { return true };
                at += 2 + usize::from(u16::from_be_bytes([a, b])).max(2);
            }
        }
    }
}

/// Type, content, and what follows the first box; a length beyond the end is cut.
fn box_of(data: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (header, length) = match u32::from_be_bytes(*length) {
        0 => (8, data.len()),
        1 => (16, usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap_or(usize::MAX)),
        length => (8, usize::try_from(length).unwrap_or(usize::MAX)),
    };
    let end = length.min(data.len());
    Some((kind, data.get(header..end)?, &data[end..]))
}

/// Marker, payload, and what follows the first marker segment.
fn segment(data: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let &[0xFF, marker, high, low] = data.first_chunk::<4>()? else { return None };
    let end = 2 + usize::from(u16::from_be_bytes([high, low]));
    Some((marker, data.get(4..end)?, &data[end..]))
}

struct Siz {
    end: (u32, u32),
    start: (u32, u32),
    tile: (u32, u32),
    tile_start: (u32, u32),
    components: Vec<ComponentSize>,
}

impl Siz {
    fn read(payload: &[u8]) -> Option<Self> {
        let (_capabilities, rest) = payload.split_at_checked(2)?;
        let (grid, rest) = rest.split_at_checked(32)?;
        let (_count, rest) = rest.split_at_checked(2)?;
        let mut numbers = grid.as_chunks::<4>().0.iter().map(|&bytes| u32::from_be_bytes(bytes));
        let mut pair = || Some((numbers.next()?, numbers.next()?));
        let (end, start, tile, tile_start) = (pair()?, pair()?, pair()?, pair()?);
        let components: Vec<_> = rest.as_chunks::<3>().0.iter().map(ComponentSize::read).collect();
        let legal = start.0 < end.0
            && start.1 < end.1
            && tile.0 > 0
            && tile.1 > 0
            && tile_start.0 <= start.0
            && tile_start.1 <= start.1
            && !components.is_empty()
            && components.iter().all(|component| component.step.0 > 0 && component.step.1 > 0);
        legal.then_some(Self { end, start, tile, tile_start, components })
    }
}

impl ComponentSize {
    fn read(&[depth, x, y]: &[u8; 3]) -> Self {
        Self { precision: (depth & 0x7F) + 1, signed: depth & 0x80 != 0, step: (x, y) }
    }
}

impl CodingStyle {
    fn read(payload: &[u8]) -> Option<Self> {
        let (&[scod, _progression, layers_high, layers_low, transform, levels], rest) =
            payload.split_first_chunk::<6>()?;
        if levels > 32 {
            return None;
        }
        let (_code_blocks_and_wavelet, rest) = rest.split_at_checked(4)?;
        let precincts = if scod & 1 == 0 { &[] } else { rest };
        Some(Self {
            layers: u16::from_be_bytes([layers_high, layers_low]),
            component_transform: transform == 1,
            levels,
            precincts: precincts.iter().map(|&size| (size & 15, size >> 4)).collect(),
        })
    }
}

/// Decomposition levels of a COC segment.
fn coc_levels(payload: &[u8], wide_index: bool) -> Option<u8> {
    let index = if wide_index { 2 } else { 1 };
    payload.get(index + 1).copied().filter(|&levels| levels <= 32)
}

fn damaged(what: &str) -> CodecError {
    CodecError::new(format!("the header of the JPEG 2000 codestream is damaged: {what}"))
}
