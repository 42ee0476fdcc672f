//! Another library with the vendor's interface, called as a program would call it.

use std::any::TypeId;
use std::ffi::c_void;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::quant::{Bits, Element, Mode, Param};

/// Why another library cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file does not load, or lacks a function of the interface.
    #[error("{path}: {reason}: give the file of a libgfpq.so", path = path.display())]
    Load {
        /// The library's file.
        path: PathBuf,
        /// The dynamic loader's error.
        reason: libloading::Error,
    },
    /// The library refused a call.
    #[error("{path}: a call returned {code:#010x}", path = path.display())]
    Call {
        /// The library's file.
        path: PathBuf,
        /// The call's return code.
        code: u32,
    },
}

/// The interface's `GFPQ_PARAM_ST`.
#[repr(C)]
struct PeerParam {
    mode: u32,
    buf: [u8; 16],
}

/// `HI_GFPQ_QuantAndDeQuant`, for either type of `data`.
type Quantise = unsafe extern "C" fn(*mut c_void, u32, u32, *mut PeerParam) -> u32;

/// A loaded library.
pub struct Peer {
    path: PathBuf,
    /// The call for float32.
    single: Quantise,
    /// The call for float64.
    double: Quantise,
    // Kept loaded: the functions above are in it.
    _library: Library,
}

impl Peer {
    /// Loads a library and finds its two CPU calls.
    ///
    /// # Safety
    /// Loading runs the library's initialisers, and its functions must have the types of the vendor's interface.
    ///
    /// # Errors
    /// When the library does not load or lacks one of the calls.
    pub unsafe fn load(path: &Path) -> Result<Peer, Error> {
        let load = || {
            // SAFETY: the caller vouches for the library.
            unsafe {
                let library = Library::new(path)?;
                let single = *library.get::<Quantise>(b"_Z23HI_GFPQ_QuantAndDeQuantPfjjP14_GFPQ_PARAM_ST")?;
                let double = *library.get::<Quantise>(b"_Z23HI_GFPQ_QuantAndDeQuantPdjjP14_GFPQ_PARAM_ST")?;
                Ok(Peer { path: path.to_owned(), single, double, _library: library })
            }
        };
        load().map_err(|reason| Error::Load { path: path.to_owned(), reason })
    }

    /// Makes one call, in place. The parameter is not written back.
    ///
    /// # Errors
    /// When the library returns anything but success.
    pub fn quantise<T: Element>(&self, data: &mut [T], bits: Bits, mode: Mode, param: &mut Param) -> Result<(), Error> {
        let call = if TypeId::of::<T>() == TypeId::of::<f32>() { self.single } else { self.double };
        let mut theirs = PeerParam { mode: mode as u32, buf: param.to_bytes() };
        // SAFETY: the caller of `load` vouched for the function, and it is the one for this type. The pointers are to
        // `data.len()` values and to a parameter.
        let code = unsafe { call(data.as_mut_ptr().cast(), data.len() as u32, bits.number(), &mut theirs) };
        if code != 0 {
            return Err(Error::Call { path: self.path.clone(), code });
        }
        Ok(())
    }
}
