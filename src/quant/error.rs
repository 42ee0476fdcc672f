//! Why the quantiser's interfaces refuse their arguments.

/// Why an interface's arguments were refused. Data and parameter are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A bit width other than 8 or 16.
    #[error("invalid bit width {0}: give 8 or 16")]
    BadBits(u32),
    /// A mode other than 0, 1 and 2.
    #[error("unknown mode {0}: give 0 (INIT), 1 (UPDATE) or 2 (APPLY_ONLY)")]
    BadMode(u32),
    /// Parameter bytes that no library wrote.
    #[error("malformed parameter: start from 16 zero bytes, and pass on unchanged what a call returned")]
    MalformedParam,
    /// Source and destination differ in length.
    #[error("source has {source_len} values and destination {destination_len}: they must be equal")]
    LengthMismatch {
        /// Number of values in the source.
        source_len: usize,
        /// Number of values in the destination.
        destination_len: usize,
    },
}
