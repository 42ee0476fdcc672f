//! Random numbers that are the same in every run.

/// A small generator of random bits (SplitMix64), so that a seed names a failing case.
pub(crate) struct Bits(pub u64);

impl Bits {
    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// A number from 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A tensor such as networks contain, or one that is hard on quantisers: with various spreads, both signs, zeros,
    /// and sometimes values that are not finite or of any bits.
    pub(crate) fn tensor(&mut self, len: usize) -> Vec<f64> {
        let centre = self.unit() * 60.0 - 30.0;
        let spread = [0.0, 1.0, 4.0, 12.0, 40.0][self.below(5) as usize];
        let special = self.below(4) == 0;
        let any_bits = self.below(8) == 0;
        (0..len)
            .map(|_| match self.below(64) {
                0 => 0.0,
                1 => -0.0,
                2 if special => f64::INFINITY,
                3 if special => f64::NEG_INFINITY,
                4 if special => f64::NAN,
                _ if any_bits => f64::from_bits(self.bits()),
                _ => {
                    let sign = if self.below(2) == 0 { 1.0 } else { -1.0 };
                    sign * (centre + (self.unit() - 0.5) * spread).exp2()
                }
            })
            .collect()
    }
}
