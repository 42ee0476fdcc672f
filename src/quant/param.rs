//! The 16-byte parameter that carries a tensor's scale between calls.

use super::error::Error;

/// The scale of a tensor. [`Param::default`] has delta 0, the same as 16 zero bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Param {
    /// The exponent of the smallest magnitude, `2^(delta/S)`, in steps of `1/S` octave. Within the format's own range
    /// if it was taken from data of that bit width; a caller's parameter may hold any number.
    pub delta: i32,
}

impl Param {
    /// The four little-endian words of the vendor's layout. With `n = !delta` they are `n<<27 | n<<21 | n<<11 | n<<3`,
    /// `delta`, the first word XOR `0xa5a5_a5a5`, and the complement of the third.
    pub fn to_bytes(self) -> [u8; 16] {
        let n = !self.delta as u32;
        let first = n << 27 | n << 21 | n << 11 | n << 3;
        let masked = first ^ 0xa5a5_a5a5;
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip([first, self.delta as u32, masked, !masked]) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Param::to_bytes`] or the vendor's library wrote, or 16 zero bytes.
    ///
    /// # Errors
    /// [`Error::MalformedParam`] for any other bytes: the parameter was overwritten or never set.
    pub fn from_bytes(bytes: &[u8; 16]) -> Result<Param, Error> {
        let delta = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let param = Param { delta };
        if param.to_bytes() == *bytes || *bytes == [0; 16] { Ok(param) } else { Err(Error::MalformedParam) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delta_survives_the_bytes() {
        for delta in [-4095, -511, -77, -1, 0, 1, 100, 4095, i32::MIN, i32::MAX] {
            let param = Param { delta };
            assert_eq!(Param::from_bytes(&param.to_bytes()), Ok(param));
        }
    }

    #[test]
    fn zero_bytes_are_delta_zero_and_damaged_bytes_are_refused() {
        assert_eq!(Param::from_bytes(&[0; 16]), Ok(Param { delta: 0 }));
        let good = Param { delta: -77 }.to_bytes();
        // Bits 41 to 63 are left out: not every upper bit of `delta` changes the checksum words.
        for bit in (0..41).chain(64..128) {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Param::from_bytes(&bad), Err(Error::MalformedParam), "bit {bit}");
        }
    }
}
