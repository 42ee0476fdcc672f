//! Another library with the vendor's interface, called as a program would call it.

use std::any::TypeId;
use std::ffi::c_void;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::quant::{Bits, Element, Mode, Param};

/// Why another library cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not load, or lacks the interface.
    #[error("{path}: {reason}: give the file of a libgfpq.so", path = path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        reason: libloading::Error,
    },
    /// It refused a call.
    #[error("{path}: a call returned {code:#010x}", path = path.display())]
    Call {
        /// The file.
        path: PathBuf,
        /// The return code.
        code: u32,
    },
}

#[repr(C)]
struct PeerParam {
    mode: u32,
    buf: [u8; 16],
}

type Quantise = unsafe extern "C" fn(*mut c_void, u32, u32, *mut PeerParam) -> u32;

/// A loaded library.
pub struct Peer {
    path: PathBuf,
    // The functions are good for as long as the library is loaded.
    single: Quantise,
    double: Quantise,
    _library: Library,
}

impl Peer {
    /// Loads a library and finds its two CPU calls.
    ///
    /// # Safety
    /// Loading runs the library's initialisers, and its calls must be what the vendor's interface says.
    ///
    /// # Errors
    /// When it does not load, or lacks a call.
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

    /// One call, in place.
    ///
    /// # Errors
    /// When the library returns anything but success.
    pub fn quantise<T: Element>(&self, data: &mut [T], bits: Bits, mode: Mode, param: &mut Param) -> Result<(), Error> {
        let call = if TypeId::of::<T>() == TypeId::of::<f32>() { self.single } else { self.double };
        let mut theirs = PeerParam { mode: mode as u32, buf: param.to_bytes() };
        // SAFETY: `load`'s caller vouched for the call, which is the one for this type; the pointers are to as many
        // values as it is told, and to a parameter.
        let code = unsafe { call(data.as_mut_ptr().cast(), data.len() as u32, bits.number(), &mut theirs) };
        if code != 0 {
            return Err(Error::Call { path: self.path.clone(), code });
        }
        Ok(())
    }
}
