//! What this machine has: its compilers and libraries, and the GFPQ library to install.

pub(super) mod features;
pub(super) mod library;
pub(super) mod machine;
pub(super) mod nvcc;
pub(super) mod opencv;
