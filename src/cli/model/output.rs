//! The output of `gfpq model`: tables, JSON and summary lines.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::caffemodel::{Folded, LayerInfo, Model, Parameters, QuantRange, QuantisedFit, QuantisedModel, Statistics};

pub(super) fn report_fold(name: &str, folded: &Folded<'_>) {
    let of_kind = |kind: &str| folded.layers.iter().flat_map(|layer| &layer.stages).filter(|(_, k)| k == kind).count();
    note!(
        "{name}: {} BatchNorm and {} Scale layers folded into {} layers, {} not folded",
        of_kind("BatchNorm"),
        of_kind("Scale"),
        folded.layers.len(),
        folded.left.len(),
    );
    for left in &folded.left {
        note!("{name}: line {}: {} `{}` is not folded: {}", left.line, left.kind, left.name, left.reason);
    }
}

pub(super) fn fold_json(folded: &Folded<'_>) -> Value {
    let layers = folded.layers.iter().map(|layer| {
        let stages =
            layer.stages.iter().map(|(name, kind)| json!({ "name": name.to_string(), "type": kind.to_string() }));
        json!({
            "name": layer.name.to_string(), "type": layer.kind.to_string(), "folded": stages.collect::<Vec<_>>(),
            "bias_added": layer.bias_added, "constant_channels": layer.constant,
            "smallest_factor": layer.factors.map(|(low, _)| low), "largest_factor": layer.factors.map(|(_, high)| high),
        })
    });
    let left = folded.left.iter().map(|left| {
        json!({
            "name": left.name.to_string(), "type": left.kind.to_string(), "line": left.line, "reason": left.reason,
        })
    });
    json!({ "layers": layers.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() })
}

pub(super) fn report_quantised(name: &str, quantised: &QuantisedModel<'_>) {
    let of = |bits: u32| quantised.layers.iter().filter(|layer| layer.bits.number() == bits).count();
    let folded = quantised.layers.iter().filter(|layer| layer.is_folded).count();
    let folded = if folded > 0 { format!("; {folded} with BatchNorm folded in") } else { String::new() };
    note!("{name}: weights of {} layers quantised in 8 bit and of {} layers in 16 bit{folded}", of(8), of(16));
}

pub(super) fn quantise_json(quantised: &QuantisedModel<'_>) -> Value {
    let layers = quantised.layers.iter().map(|layer| {
        json!({
            "name": layer.name.to_string(), "type": layer.kind.to_string(), "bits": layer.bits.number(),
            "delta": layer.delta, "folded": layer.is_folded,
        })
    });
    json!({ "layers": layers.collect::<Vec<_>>(), "warnings": quantised.warnings })
}

pub(super) fn info_json(model: &Model, layers: &[LayerInfo]) -> Value {
    let fit_json = |fit: &QuantisedFit| {
        json!({
            "bits": fit.range.bits.number(), "delta": fit.range.delta, "smallest": fit.range.smallest(),
            "largest": fit.range.largest(), "flushed_to_zero": fit.flushed, "saturated": fit.saturated,
        })
    };

    let shown = layers.iter().map(|layer| {
        let blobs = layer.blobs.iter().map(|blob| {
            let fits = blob.fits.iter().flatten().map(fit_json).collect::<Vec<_>>();
            json!({
                "shape": blob.shape, "count": blob.count, "values": blob.statistics.as_ref().map(statistics_json),
                "quantised": fits,
            })
        });
        json!({
            "name": layer.name.to_string(), "type": layer.kind.to_string(), "blobs": blobs.collect::<Vec<_>>(),
            "ranges": layer.ranges.iter().map(|range| range.map(range_json)).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": model.name().to_string(), "bytes": model.as_bytes().len(), "old_format": model.is_old(),
        "layers": shown.collect::<Vec<_>>(), "layers_without_blobs": model.layers().len() - layers.len(),
        "values": layers.iter().flat_map(|layer| &layer.blobs).map(|blob| blob.count).sum::<usize>(),
    })
}

fn statistics_json(statistics: &Statistics) -> Value {
    json!({
        "min": statistics.min, "max": statistics.max, "abs_max": statistics.abs_max, "octaves": statistics.octaves,
        "zeros": statistics.zeros, "not_finite": statistics.not_finite,
    })
}

fn range_json(range: QuantRange) -> Value {
    json!({
        "bits": range.bits.number(), "delta": range.delta, "smallest": range.smallest(), "largest": range.largest(),
    })
}

/// Prints one line for each blob; percentages are of all the blob's values.
pub(super) fn print_info(out: &mut impl Write, name: &str, model: &Model, layers: &[LayerInfo]) -> io::Result<()> {
    let heads = [
        "layer",
        "type",
        "blob",
        "values",
        "min",
        "max",
        "octaves",
        "8 bit: to 0",
        "saturated",
        "16 bit: to 0",
        "saturated",
        "",
    ];

    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for layer in layers {
        for (index, blob) in layer.blobs.iter().enumerate() {
            let shape = blob.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let mut row = match index {
                0 => vec![layer.name.to_string(), layer.kind.to_string()],
                _ => vec![String::new(); 2],
            };

            row.extend([shape, blob.count.to_string()]);
            match &blob.statistics {
                Some(statistics) => {
                    row.extend([statistics.min, statistics.max].map(|value| format!("{value:.4e}")));
                    row.push(format!("{:.1}", statistics.octaves));
                }
                None => row.extend(["?", "?", "?"].map(str::to_owned)),
            }
            for fit in blob.fits.iter().flatten() {
                let share = |count: usize| format!("{:.2}%", 100.0 * count as f64 / blob.count.max(1) as f64);
                row.extend([share(fit.flushed), share(fit.saturated)]);
            }

            row.resize(heads.len(), String::new());
            row[heads.len() - 1] = note(layer, index);
            rows.push(row);
        }
    }

    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0..=2 => write!(line, "{cell:width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
        }
        writeln!(out, "{}", line.trim_end())?;
    }

    let values: usize = layers.iter().flat_map(|layer| &layer.blobs).map(|blob| blob.count).sum();
    let old = if model.is_old() { ", Caffe's old form" } else { "" };
    writeln!(out, "{name}: {} layers, {} of them with blobs{old}; {values} values", model.layers().len(), layers.len())
}

/// The last column of a blob's line: a Quant layer's ranges, or what is wrong with the values.
fn note(layer: &LayerInfo, index: usize) -> String {
    let ranges = layer.ranges.iter().map(|range| match range {
        Some(range) => format!("{} bit, {:.3e} to {:.4}", range.bits.number(), range.smallest(), range.largest()),
        None => "no range yet".to_owned(),
    });
    let mut notes: Vec<String> = ranges.collect();
    match &layer.blobs[index].statistics {
        Some(statistics) if statistics.not_finite > 0 => {
            notes.push(format!("{} NaN or infinite", statistics.not_finite))
        }
        Some(_) => {}
        None => notes.push("not as many values as the shape asks for".to_owned()),
    }
    notes.join("; ")
}

pub(super) fn parameters_json(model: &Model, found: &Parameters) -> Value {
    let strings = |names: &[bstr::BString]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let data = found.data.iter().map(|data| {
        json!({
            "quant_layer": data.quant.to_string(), "blob": data.blob.to_string(),
            "range": data.range.map(range_json), "feeds": strings(&data.feeds),
        })
    });
    let weights = found.weights.iter().map(|weights| {
        json!({
            "layer": weights.layer.to_string(), "type": weights.kind.to_string(), "range": range_json(weights.range),
            "values": statistics_json(&weights.statistics),
        })
    });
    json!({
        "net": model.name().to_string(), "data": data.collect::<Vec<_>>(), "weights": weights.collect::<Vec<_>>(),
        "warnings": found.warnings,
    })
}

/// The table of `--format calibration-txt`: one line for each blob, fields separated by tabs, `-` for unknown values.
pub(super) fn calibration(found: &Parameters) -> String {
    let mut text = String::from(
        "# what, name, bits, largest magnitude of the chip's numbers, delta, and who computes with it:\n\
         # data is a blob and the NNIE layers that read it, weights are a layer and its type\n",
    );
    let mut line = |what: &str, name: &str, range: Option<QuantRange>, who: &str| {
        let _ = match range {
            Some(range) => {
                let (bits, largest, delta) = (range.bits.number(), range.largest(), range.delta);
                writeln!(text, "{what}\t{name}\t{bits}\t{largest:.9e}\t{delta}\t{who}")
            }
            None => writeln!(text, "{what}\t{name}\t-\t-\t-\t{who}"),
        };
    };

    for data in &found.data {
        let feeds: Vec<String> = data.feeds.iter().map(ToString::to_string).collect();
        let feeds = if feeds.is_empty() { "-".to_owned() } else { feeds.join(",") };
        line("data", &data.blob.to_string(), data.range, &feeds);
    }
    for weights in &found.weights {
        line("weights", &weights.layer.to_string(), Some(weights.range), &weights.kind.to_string());
    }
    text
}
