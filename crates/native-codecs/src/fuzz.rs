//! Damaged codestreams, the same on every run.

/// Copies of `stream` with bytes changed, removed, doubled, or cut off.
pub(crate) fn mutants(stream: &[u8], count: u64) -> impl Iterator<Item = Vec<u8>> {
    (1..=count).map(move |seed| mutant(stream, seed))
}

fn mutant(stream: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit.max(1) as u64) as usize
    };
    let mut mutant = stream.to_vec();
    for _ in 0..=below(4) {
        // every other change in the headers, where it does most harm
        let reach = if below(2) == 0 { mutant.len().min(128) } else { mutant.len() };
        let at = below(reach);
        match below(6) {
            0 => mutant.truncate(at),
            1 => drop(mutant.drain(at..(at + 1 + below(8)).min(mutant.len()))),
            2 => mutant.insert(at.min(mutant.len()), below(256) as u8),
            _ if at < mutant.len() => mutant[at] = below(256) as u8,
            _ => {}
        }
    }
    mutant
}
