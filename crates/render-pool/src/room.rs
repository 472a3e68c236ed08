//! The memory that drawing may take: most of it for anything, some kept for small pictures, so that these
//! never wait for a large one to end.

/// What one picture may take to count as small: a CT, an MR, a frame of ultrasound.
pub(crate) const LIGHT: u64 = 16 << 20;

/// Whether a task takes little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    Light,
    Heavy,
}

impl Weight {
    pub(crate) fn of(need: u64) -> Self {
        if need <= LIGHT { Self::Light } else { Self::Heavy }
    }
}

/// Bytes, of which some are taken.
#[derive(Debug)]
pub(crate) struct Room {
    total: u64,
    /// Of the total, what only light tasks may take.
    kept: u64,
    light: u64,
    heavy: u64,
}

impl Room {
    pub(crate) fn new(total: u64) -> Self {
        Self { total, kept: (total / 6).max(LIGHT.min(total / 2)), light: 0, heavy: 0 }
    }

    /// The most that one task may take.
    pub(crate) fn largest(&self) -> u64 {
        self.total - self.kept
    }

    pub(crate) fn taken(&self) -> u64 {
        self.light + self.heavy
    }

    /// Whether there is room. Light tasks use what heavy ones leave, unless one of these waits for it.
    pub(crate) fn fits(&self, need: u64, heavy_waits: bool) -> bool {
        match Weight::of(need) {
            Weight::Heavy => {
                let beyond = self.light.saturating_sub(self.kept);
                self.heavy + beyond + need <= self.largest()
            }
            Weight::Light if heavy_waits => self.light + need <= self.kept,
            Weight::Light => self.taken() + need <= self.total,
        }
    }

    pub(crate) fn take(&mut self, need: u64) {
        *self.share(need) += need;
    }

    pub(crate) fn give_back(&mut self, need: u64) {
        *self.share(need) -= need;
    }

    fn share(&mut self, need: u64) -> &mut u64 {
        match Weight::of(need) {
            Weight::Light => &mut self.light,
            Weight::Heavy => &mut self.heavy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_have_room_beside_large_ones_and_more_when_none_waits() {
        let mut room = Room::new(600 << 20);
        assert_eq!(room.largest(), 500 << 20);
        let heavy = 300 << 20;
        room.take(heavy);
        assert!(!room.fits(heavy, false));
        for _ in 0..6 {
            assert!(room.fits(LIGHT, true));
            room.take(LIGHT);
        }
        assert!(!room.fits(LIGHT, true) && room.fits(LIGHT, false));
        room.give_back(heavy);
        assert!(room.fits(heavy, false));
        assert_eq!(room.taken(), 6 * LIGHT);
    }

    #[test]
    fn there_is_never_more_taken_than_there_is() {
        let mut room = Room::new(100 << 20);
        let mut taken = Vec::new();
        for (n, need) in (0..200_u64).map(|n| (n, (n * 7919 % 60) << 20)) {
            if room.fits(need, n % 3 == 0) {
                room.take(need);
                taken.push(need);
            } else if let Some(need) = taken.pop() {
                room.give_back(need);
            }
            assert!(room.taken() <= 100 << 20);
        }
    }
}
