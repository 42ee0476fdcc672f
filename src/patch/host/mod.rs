//! What this machine has: its compilers and libraries, and the GFPQ library to install.

pub mod library;
pub mod machine;
pub mod nvcc;
