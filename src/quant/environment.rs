//! The floating-point environment: how the processor rounds, and whether it takes denormal numbers for zero.
//!
//! The vendor's library computes in its caller's environment, and so must this one, in every thread that works for a call.

use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::Environment;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::Environment;

/// `2^x` by the C library's `pow`, as in the vendor's library.
pub(super) fn exp2(x: f64) -> f64 {
    // For a base that it knows to be 2, the compiler would call `exp2`, which may differ where rounding is not to nearest.
    black_box(2f64).powf(x)
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    /// MXCSR's bits for the rounding mode.
    const ROUNDING: u32 = 3 << 13;
    /// The bits that make an environment: the rounding mode, flush-to-zero and denormals-are-zero. The others say which
    /// exceptions have occurred and which trap.
    const BITS: u32 = ROUNDING | 1 << 15 | 1 << 6;

    /// A thread's environment.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::quant) struct Environment(u32);

    impl Environment {
        /// This thread's environment.
        #[inline]
        pub(in crate::quant) fn current() -> Environment {
            Environment(mxcsr() & BITS)
        }

        /// The environment with these bits of MXCSR.
        #[cfg(test)]
        pub(in crate::quant) fn of_bits(bits: u32) -> Environment {
            Environment(bits & BITS)
        }

        /// Whether results are rounded to nearest, for which the tables are made.
        #[inline]
        pub(in crate::quant) fn rounds_to_nearest(self) -> bool {
            self.0 & ROUNDING == 0
        }

        /// Runs `body` in this environment, then restores the thread's own, also after a panic.
        pub(in crate::quant) fn run<R>(self, body: impl FnOnce() -> R) -> R {
            struct Restore(u32);
            impl Drop for Restore {
                fn drop(&mut self) {
                    // The exceptions that `body` raised stay raised.
                    set_mxcsr(mxcsr() & !BITS | self.0 & BITS);
                }
            }

            let before = mxcsr();
            if before & BITS == self.0 {
                return body();
            }
            let _restore = Restore(before);
            set_mxcsr(before & !BITS | self.0);
            body()
        }
    }

    #[inline]
    fn mxcsr() -> u32 {
        let mut value = 0u32;
        // SAFETY: the instruction stores 32 bits at the pointer.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    fn set_mxcsr(value: u32) {
        // SAFETY: the instruction loads 32 bits from the pointer, which `mxcsr` returned but for the bits of `BITS`: none
        // that the processor does not know, and none that makes an exception trap.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod other {
    /// The default environment; others are not supported on this processor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in crate::quant) struct Environment;

    impl Environment {
        pub(in crate::quant) fn current() -> Environment {
            Environment
        }

        pub(in crate::quant) fn rounds_to_nearest(self) -> bool {
            true
        }

        pub(in crate::quant) fn run<R>(self, body: impl FnOnce() -> R) -> R {
            body()
        }
    }
}
