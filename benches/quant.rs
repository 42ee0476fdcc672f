//! Measures the single passes, for work on them: `cargo bench --bench quant`, with `GFPQ_ARCH` to choose the backend.
//! `gfpq bench` compares the whole with the memory's speed and the vendor's library.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use gfpq::quant::arch::{self, Scale};
use gfpq::quant::{Bits, Element, Mode, Param, Tensor, quantise, quantise_into};

/// Numbers of values that fit into a core's own cache, into the shared cache, and only into memory.
const COUNTS: [usize; 3] = [100_000, 1_000_000, 13_107_200];
const BITS: [u32; 2] = [8, 16];

fn main() {
    divan::main();
}

fn data<T: Element>(count: usize) -> Vec<T> {
    (0..count as u64).map(|i| T::from_f64((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 8e6 - 1.0)).collect()
}

fn width(bits: u32) -> Bits {
    Bits::from_number(bits).expect("8 or 16")
}

#[divan::bench(types = [f32, f64])]
fn range<T: Element>(bencher: Bencher) {
    let data = data::<T>(COUNTS[0]);
    bencher.counter(BytesCount::of_slice(&data)).bench_local(|| arch::chosen().max_abs(black_box(&data)).to_f64());
}

#[divan::bench(types = [f32, f64], args = BITS)]
fn apply<T: Element>(bencher: Bencher, bits: u32) {
    let mut data = data::<T>(COUNTS[0]);
    let scale = Scale::new(width(bits), -width(bits).format().max_code);
    let bytes = BytesCount::of_slice(&data);
    bencher.counter(bytes).bench_local(|| arch::chosen().apply(&mut Tensor::in_place(black_box(&mut data)), &scale));
}

#[divan::bench(args = COUNTS)]
fn init_in_place(bencher: Bencher, count: usize) {
    let mut data = data::<f32>(count);
    let bytes = BytesCount::of_slice(&data);
    bencher.counter(bytes).bench_local(|| {
        quantise(black_box(&mut data), Bits::Eight, Mode::Init, &mut Param::default());
    });
}

fn into(bencher: Bencher, count: usize, mode: Mode) {
    let source = data::<f32>(count);
    let mut destination = vec![0f32; count];
    bencher
        .counter(BytesCount::of_slice(&source))
        .bench_local(|| quantise_into(&source, black_box(&mut destination), Bits::Eight, mode, &mut Param::default()));
}

#[divan::bench(args = COUNTS)]
fn init_out_of_place(bencher: Bencher, count: usize) {
    into(bencher, count, Mode::Init);
}

/// The scale stays the same: delta 0 is larger than that of the data.
#[divan::bench(args = COUNTS)]
fn update_out_of_place(bencher: Bencher, count: usize) {
    into(bencher, count, Mode::Update);
}

#[divan::bench(args = COUNTS)]
fn copy(bencher: Bencher, count: usize) {
    let source = data::<f32>(count);
    let mut destination = vec![0f32; count];
    let bytes = BytesCount::of_slice(&source);
    bencher.counter(bytes).bench_local(|| black_box(&mut destination).copy_from_slice(black_box(&source)));
}
