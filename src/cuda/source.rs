//! The kernels' sources, which are part of this program, and their tables, written from the format's own.

use std::fmt::{LowerHex, Write};

use crate::quant::{Bits, Format};

/// The kernels.
pub const KERNELS: &str = include_str!("../../kernels/quantise.cu");
/// The arithmetic they share with a host compiler.
pub const ARITHMETIC: &str = include_str!("../../kernels/gfpq.cuh");
/// The kernels compiled for the oldest GPUs; every driver compiles them on for its own GPU. scripts/build/ptx.sh makes it.
pub const PTX: &str = include_str!("../../kernels/quantise.ptx");

/// `gfpq_tables.cuh`, which the arithmetic includes: a struct for each width, with its numbers and tables.
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

fn table<T: LowerHex>(text: &mut String, declaration: &str, suffix: &str, entries: &[T]) {
    let _ = write!(text, "\nGFPQ_TABLE {declaration}[{}] = {{", entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let _ = write!(text, "{}{entry:#x}{suffix},", if i % 3 == 0 { "\n  " } else { " " });
    }
    *text += "\n};\n";
}
