//! `gfpq tensor`: quantises an array in NumPy's .npy format.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use npyz::{NpyFile, TypeChar, WriterBuilder};

use super::io;
use crate::quant::{Bits, Element, Mode, Param, quantise};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A .npy file of float32 or float64 values in any shape; `-` for standard input.
    input: PathBuf,
    /// The file to write the quantised array to, in the same type, shape and memory order; `-` for standard output.
    #[arg(short, long, default_value = "-")]
    output: PathBuf,
    /// Bit width, 8 or 16.
    #[arg(long, default_value = "8", value_parser = super::args::bits)]
    bits: Bits,
    /// Quantise with this range: the parameter's 16 bytes in hexadecimal [default: the array's own range].
    #[arg(long, value_name = "HEX")]
    param: Option<String>,
    /// Print the range as JSON on standard error.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (mode, mut param) = match &arguments.param {
        Some(hex) => (Mode::ApplyOnly, param_from_hex(hex)?),
        None => (Mode::Init, Param::default()),
    };

    let bytes = io::read(&arguments.input)?;
    let name = io::name(&arguments.input);
    let file = NpyFile::new(bytes.as_slice()).with_context(|| format!("{name}: not a .npy file"))?;
    let npyz::DType::Plain(kind) = file.dtype() else {
        bail!("{name}: a structured array; give an array of float32 or float64")
    };
    let out = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Float, 4) => requantise::<f32>(file, &name, arguments.bits, mode, &mut param)?,
        (TypeChar::Float, 8) => requantise::<f64>(file, &name, arguments.bits, mode, &mut param)?,
        _ => bail!("{name}: an array of {}; give an array of float32 or float64 (in NumPy: x.astype('f4'))", kind),
    };

    io::write(&arguments.output, &out)?;
    let hex: String = param.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let bits = arguments.bits.number();
    if arguments.json {
        note!("{}", serde_json::json!({ "bits": bits, "delta": param.delta, "param": hex }));
    } else {
        note!("{name}: {bits} bits, delta {}, param {hex}", param.delta);
    }
    Ok(ExitCode::SUCCESS)
}

fn requantise<T>(file: NpyFile<&[u8]>, name: &str, bits: Bits, mode: Mode, param: &mut Param) -> anyhow::Result<Vec<u8>>
where
    T: Element + npyz::Deserialize + npyz::AutoSerialize,
{
    let (shape, order) = (file.shape().to_vec(), file.order());
    let mut data: Vec<T> = file.into_vec().with_context(|| format!("{name}: damaged or cut off"))?;
    quantise(&mut data, bits, mode, param);

    let mut out = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape).order(order).writer(&mut out);
    let mut writer = options.begin_nd()?;
    writer.extend(data)?;
    writer.finish()?;
    Ok(out)
}

fn param_from_hex(hex: &str) -> anyhow::Result<Param> {
    let wrong = || anyhow!("--param {hex}: give the parameter's 16 bytes as 32 hexadecimal digits");
    if hex.len() != 32 || !hex.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; 16];
    for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Param::from_bytes(&bytes).context("--param")
}
