use fastrand::Rng;

/// Bytes that mean something to somebody.
const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xfe\xff\r\n\t \"'\\{}[]:;,.=&?#@/%-_*>$";

/// One of the seeds with a few random changes.
pub fn changed(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(seeds).cloned().unwrap_or_default();
    // One alone most often: after a few, hardly anything is left of what an input was.
    for _ in 0..1 << random.u8(0..4) {
        let (from, to) = part(&bytes, random);
        match random.u8(0..7) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let copy = bytes[from..to].to_vec();
                let at = random.usize(0..=bytes.len());
                bytes.splice(at..at, copy);
            }
            2 => {
                let other = random.choice(seeds).cloned().unwrap_or_default();
                let (start, end) = part(&other, random);
                bytes.splice(from..to, other[start..end].iter().copied());
            }
            3 => bytes.insert(from, special(random)),
            4 => bytes.insert(from, random.u8(..)),
            change => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = if change == 5 { special(random) } else { *byte ^ (1 << random.u8(0..8)) };
                }
            }
        }
    }
    bytes
}

/// A short part most of the time, so that the rest stays what it is.
fn part(bytes: &[u8], random: &mut Rng) -> (usize, usize) {
    let from = random.usize(0..=bytes.len());
    let length = if random.u8(0..8) == 0 { bytes.len() } else { 4 };
    (from, from + random.usize(0..=length.min(bytes.len() - from)))
}

fn special(random: &mut Rng) -> u8 {
    random.choice(SPECIAL).copied().unwrap_or_default()
}
