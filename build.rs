//! Compiles the cxx bridge and, on it, the vendor's C++ interface.

use std::env;

fn main() {
    let mut build = cxx_build::bridge("src/ffi/mod.rs");
    build.file("src/ffi/hi_gfpq.cpp").include("templates/GFPQLibs/include").std("c++11").warnings(true);
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let number = env::var(format!("CARGO_PKG_VERSION_{part}")).expect("cargo sets the package's version");
        build.define(&format!("GFPQ_VERSION_{part}"), number.as_str());
    }
    build.compile("gfpq_ffi");
    println!("cargo::rerun-if-changed=src/ffi/mod.rs");
    println!("cargo::rerun-if-changed=src/ffi/hi_gfpq.cpp");
    println!("cargo::rerun-if-changed=templates/GFPQLibs/include");
}
