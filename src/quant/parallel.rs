//! The passes spread over the cores, where that pays.

use std::process;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::arch::{self, Scale};
use super::{Bits, Element, formula};

/// Values a task takes at the least; below two tasks the caller's own thread does the work.
const GRAIN: usize = 1 << 16;

/// Whether to share `len` values out to the thread pool.
///
/// A pool does not survive a fork: a child of a process that has used it works alone.
fn pays(len: usize) -> bool {
    static OWNER: OnceLock<u32> = OnceLock::new();
    len >= 2 * GRAIN && *OWNER.get_or_init(process::id) == process::id()
}

pub fn max_abs<T: Element>(data: &[T]) -> T {
    let path = arch::chosen();
    if !pays(data.len()) {
        return path.max_abs(data);
    }
    // Magnitudes are never NaN.
    let larger = |a: T, b: T| if b.to_f64() > a.to_f64() { b } else { a };
    data.par_chunks(GRAIN).map(|chunk| path.max_abs(chunk)).reduce(|| T::from_f64(0.0), larger)
}

pub fn apply_in_place<T: Element>(data: &mut [T], bits: Bits, delta: i32) {
    let pays = pays(data.len());
    if bits.format().contains(delta) {
        let (path, scale) = (arch::chosen(), Scale::new(bits, delta));
        if pays {
            data.par_chunks_mut(GRAIN).for_each(|chunk| path.apply_in_place(chunk, &scale));
        } else {
            path.apply_in_place(data, &scale);
        }
    } else {
        let one = |x: &mut T| *x = formula::quantise_value(*x, bits, delta);
        if pays {
            data.par_iter_mut().for_each(one);
        } else {
            data.iter_mut().for_each(one);
        }
    }
}

/// `source` and `destination` are of equal length.
pub fn apply<T: Element>(source: &[T], destination: &mut [T], bits: Bits, delta: i32) {
    if !bits.format().contains(delta) {
        destination.copy_from_slice(source);
        return apply_in_place(destination, bits, delta);
    }
    let (path, scale) = (arch::chosen(), Scale::new(bits, delta));
    if pays(source.len()) {
        source.par_chunks(GRAIN).zip(destination.par_chunks_mut(GRAIN)).for_each(|(s, d)| path.apply(s, d, &scale));
    } else {
        path.apply(source, destination, &scale);
    }
}
