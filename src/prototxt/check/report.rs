//! What a check finds.

use bstr::BString;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The net is wrong.
    Error,
    /// The net may be meant to be so.
    Warning,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A layer that the NNIE computes reads floats.
    Unfed,
    /// No layer reads the top of a Quant layer.
    FeedsNothing,
    /// A Quant layer reads what another Quant layer has quantised.
    TwoInARow,
    /// A layer reads a blob that nothing makes.
    MissingBlob,
    /// A Quant layer has another number of bottoms than of tops, or none.
    NotPairs,
    /// The data of a layer is quantised in another bit width than the layer is to be computed in.
    OtherWidth,
    /// A bit width that the NNIE does not have.
    BadBits,
    /// A Quant layer whose range would be trained.
    TrainedRange,
    /// Two Quant layers have the same name in one state of the net.
    SameName,
    /// A net in Caffe's legacy form, which has no Quant layer.
    OldLayers,
    /// A Quant layer that `quant_en: 0` switches off.
    SwitchedOff,
    /// A Quant layer, or a field of the quantiser, in a net for the NNIE compiler.
    QuantLeft,
    /// The NNIE has no hardware for the layer's type.
    NoHardware,
}

impl Fault {
    /// The fault's name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Unfed => "unfed",
            Fault::FeedsNothing => "feeds-nothing",
            Fault::TwoInARow => "two-in-a-row",
            Fault::MissingBlob => "missing-blob",
            Fault::NotPairs => "not-pairs",
            Fault::OtherWidth => "other-width",
            Fault::BadBits => "bad-bits",
            Fault::TrainedRange => "trained-range",
            Fault::SameName => "same-name",
            Fault::OldLayers => "old-layers",
            Fault::SwitchedOff => "switched-off",
            Fault::QuantLeft => "quant-left",
            Fault::NoHardware => "no-hardware",
        }
    }

    /// How serious the fault is.
    pub const fn severity(self) -> Severity {
        match self {
            Fault::OtherWidth | Fault::OldLayers | Fault::SwitchedOff | Fault::NoHardware => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of the finding.
    pub fault: Fault,
    /// The line of the layer, or of the net's field.
    pub line: usize,
    /// The layer's name; empty for a field of the net.
    pub layer: BString,
    /// The layer's type; empty for a field of the net.
    pub kind: BString,
    /// The blob that the finding is about, if it is about one.
    pub blob: Option<BString>,
    /// The finding in words.
    pub message: String,
}

/// What was checked, and the findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many layers were checked.
    pub layers: usize,
    /// How many of them the NNIE computes in 8 or 16 bits.
    pub computed: usize,
    /// How many of them are Quant layers.
    pub quants: usize,
    /// The findings, in the order of the layers.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.fault.severity() == severity).count()
    }
}
