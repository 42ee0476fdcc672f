//! The kernels' sources, embedded in this program, and their tables, generated from those of the format.

use std::fmt::{LowerHex, Write};

use crate::quant::{Bits, Format};

/// The CUDA C++ source of the kernels.
pub const KERNELS: &str = include_str!("../../kernels/quantise.cu");
/// The kernels' arithmetic, a header that a host compiler can compile, too.
pub const ARITHMETIC: &str = include_str!("../../kernels/gfpq.cuh");
/// The kernels as PTX for the oldest GPUs, which every driver compiles for the GPU at hand.
/// `scripts/build/ptx.sh` generates it.
pub const PTX: &str = include_str!("../../kernels/quantise.ptx");

/// The text of `gfpq_tables.cuh`, which [`ARITHMETIC`] includes: a struct for each bit width with its constants and
/// tables.
pub fn tables() -> String {
    let mut text = String::from("// Generated from src/quant/format.rs.\nnamespace gfpq {\n");
    let ambiguous = crate::quant::AMBIGUOUS;
    text += &format!(
        "\n// Units of 2^-52 around a threshold within which a rounded log2 decides.\n\
         const unsigned long long kAmbiguous = {ambiguous};\n"
    );
    for (bits, name) in [(Bits::Eight, "Eight"), (Bits::Sixteen, "Sixteen")] {
        width(&mut text, bits.format(), name);
    }
    text + "\n}  // namespace gfpq\n"
}

/// Appends the tables and the struct of one bit width.
fn width(text: &mut String, format: &Format, name: &str) {
    let bits = format.bits.number();
    table(text, &format!("unsigned int kCorrectionsFloat{bits}"), "u", format.corrections_f32);
    table(text, &format!("unsigned int kValuesFloat{bits}"), "u", format.values_f32);
    table(text, &format!("unsigned long long kCorrectionsDouble{bits}"), "ull", format.corrections_f64);
    table(text, &format!("unsigned long long kValuesDouble{bits}"), "ull", format.values_f64);
    *text += &format!(
        "
struct {name} {{
  enum : int {{
    kBits = {bits},
    kStepsLog2 = {steps_log2},
    kSteps = {steps},
    kMaxCode = {max_code},
    kDeltaLimit = {delta_limit}
  }};
",
        steps_log2 = format.steps_log2,
        steps = format.steps(),
        max_code = format.max_code,
        delta_limit = format.delta_limit,
    );
    for (word, element, suffix) in [("unsigned int", "float", "Float"), ("unsigned long long", "double", "Double")] {
        for table in ["Corrections", "Values"] {
            *text += &format!(
                "  GFPQ_DEVICE static const {word}* {table}({element}) {{\n    return k{table}{suffix}{bits};\n  }}\n"
            );
        }
    }
    *text += "};\n";
}

/// Appends the definition of one table.
fn table<T: LowerHex>(text: &mut String, declaration: &str, suffix: &str, entries: &[T]) {
    let _ = write!(text, "\nGFPQ_TABLE {declaration}[{}] = {{", entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let _ = write!(text, "{}{entry:#x}{suffix},", if i % 3 == 0 { "\n  " } else { " " });
    }
    *text += "\n};\n";
}
