//! Compiles the cxx bridge and, on it, the vendor's C++ interface.

use std::env;
use std::process::Command;

fn main() {
    let mut build = cxx_build::bridge("src/ffi/mod.rs");
    build.file("src/ffi/hi_gfpq.cpp").include("templates/GFPQLibs/include").std("c++11").warnings(true);
    for part in ["MAJOR", "MINOR", "PATCH"] {
        build.define(&format!("GFPQ_VERSION_{part}"), variable(&format!("CARGO_PKG_VERSION_{part}")).as_str());
    }

    build.flag_if_supported("-fstack-protector-strong");
    // glibc's checks need the optimiser. Some distributions' gcc defines the macro by itself.
    if variable("OPT_LEVEL") != "0" {
        build.flag("-U_FORTIFY_SOURCE").flag("-D_FORTIFY_SOURCE=2");
    }

    // The same bytes from every folder and at every time. The compiler takes __DATE__ and __TIME__, the build time that
    // HI_GFPQ_GetInfo gives, from SOURCE_DATE_EPOCH; without that variable and without git they are the time of the build.
    for (folder, name) in [("CARGO_MANIFEST_DIR", "gfpq"), ("OUT_DIR", "out")] {
        build.flag_if_supported(format!("-ffile-prefix-map={}={name}", variable(folder)));
    }
    if env::var_os("SOURCE_DATE_EPOCH").is_none()
        && let Some(date) = commit_date()
    {
        build.env("SOURCE_DATE_EPOCH", date.to_string());
    }
    build.compile("gfpq_ffi");

    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=src/ffi/mod.rs");
    println!("cargo::rerun-if-changed=src/ffi/hi_gfpq.cpp");
    println!("cargo::rerun-if-changed=templates/GFPQLibs/include");
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}

/// The date of the commit that is built, in seconds since 1970.
fn commit_date() -> Option<u64> {
    let output = Command::new("git").args(["log", "-1", "--no-show-signature", "--format=%ct"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
