//! NVRTC, NVIDIA's run-time compiler, looked for at run time. A CUDA installation or a Python package of NVIDIA's
//! brings it.
//!
//! Not loaded through cudarc, which knows the library's names only up to the CUDA version it was released for.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::ptr;

use libloading::Library;

type Program = *mut c_void;

/// Why the kernels were not compiled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The dynamic linker finds no NVRTC.
    #[error("no NVRTC (libnvrtc.so) on this machine")]
    Missing,
    /// The library lacks functions that every NVRTC since CUDA 11.2 has.
    #[error("the NVRTC found is older than CUDA 11.2")]
    TooOld,
    /// The library does not compile for the GPU's architecture.
    #[error("NVRTC {version} does not know this GPU")]
    UnknownGpu {
        /// NVRTC's version, such as 12.9.
        version: String,
    },
    /// The compilation failed.
    #[error("NVRTC {version} fails with code {code}: {log}")]
    Failed {
        /// NVRTC's version, such as 12.9.
        version: String,
        /// The result code, an nvrtcResult.
        code: c_int,
        /// The compiler's log.
        log: String,
    },
}

/// The library and its functions.
pub struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    log: Output,
    ptx: Output,
    cubin: Output,
    architectures: Vec<c_int>,
    version: String,
    // Kept loaded: the functions above are in it.
    _library: Library,
}

/// A pair of functions that return a result's size in bytes and copy the result.
#[derive(Clone, Copy)]
struct Output {
    size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    get: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
}

/// What to compile to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Machine code for one architecture, such as 90 for compute capability 9.0.
    Machine(i32),
    /// PTX for one architecture, which a driver can compile for this and any newer one.
    Ptx(i32),
}

impl Nvrtc {
    /// The newest NVRTC that the dynamic linker finds and that compiles for this architecture.
    ///
    /// # Errors
    /// Why the newest NVRTC found is unsuitable, or [`Error::Missing`] when there is none.
    pub fn find(architecture: i32) -> Result<Nvrtc, Error> {
        let numbered = (11..40).rev().map(|major| match major {
            11 => "libnvrtc.so.11.2".to_owned(),
            _ => format!("libnvrtc.so.{major}"),
        });

        let mut reason = Error::Missing;
        for name in numbered.chain(["libnvrtc.so".to_owned()]) {
            match Nvrtc::open(name).and_then(|nvrtc| nvrtc.knowing(architecture)) {
                Err(error) if matches!(reason, Error::Missing) => reason = error,
                Err(_) => {}
                found => return found,
            }
        }
        Err(reason)
    }

    /// Returns this NVRTC if it compiles for the architecture.
    fn knowing(self, architecture: i32) -> Result<Nvrtc, Error> {
        match self.architectures.contains(&architecture) {
            true => Ok(self),
            false => Err(Error::UnknownGpu { version: self.version }),
        }
    }

    /// Loads the NVRTC of this library name or path.
    ///
    /// # Errors
    /// [`Error::Missing`] when it does not load, [`Error::TooOld`] when it lacks a function.
    pub fn open(name: impl AsRef<OsStr>) -> Result<Nvrtc, Error> {
        // SAFETY: a library of this name is NVRTC, which is safe to load.
        let library = unsafe { Library::new(name) }.map_err(|_| Error::Missing)?;
        // SAFETY: the types are those of nvrtc.h, unchanged since CUDA 11.2.
        let nvrtc = unsafe {
            Nvrtc {
                create: symbol(&library, c"nvrtcCreateProgram")?,
                compile: symbol(&library, c"nvrtcCompileProgram")?,
                destroy: symbol(&library, c"nvrtcDestroyProgram")?,
                log: output(&library, c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?,
                ptx: output(&library, c"nvrtcGetPTXSize", c"nvrtcGetPTX")?,
                cubin: output(&library, c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")?,
                architectures: architectures(&library)?,
                version: version(&library)?,
                _library: library,
            }
        };
        Ok(nvrtc)
    }

    /// NVRTC's version, such as 12.9.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The architectures that this NVRTC compiles for, ascending.
    pub fn architectures(&self) -> &[i32] {
        &self.architectures
    }

    /// Compiles `source`. `headers` are the names of headers that it may include, with their texts.
    ///
    /// # Errors
    /// [`Error::Failed`], with the compiler's log.
    ///
    /// # Panics
    /// If a text holds a zero byte.
    pub fn compile(&self, source: &str, headers: &[(&str, &str)], target: Target) -> Result<Vec<u8>, Error> {
        let c_string = |text: &str| CString::new(text).expect("a source without zero bytes");
        let source = c_string(source);
        let names: Vec<_> = headers.iter().map(|(name, _)| c_string(name)).collect();
        let texts: Vec<_> = headers.iter().map(|(_, text)| c_string(text)).collect();
        let (name_pointers, text_pointers) = (pointers(&names), pointers(&texts));

        let mut compilation = Compilation { nvrtc: self, program: ptr::null_mut() };
        // SAFETY: all strings are zero-terminated, and there are as many names as texts.
        let code = unsafe {
            (self.create)(
                &raw mut compilation.program,
                source.as_ptr(),
                c"quantise.cu".as_ptr(),
                headers.len() as c_int,
                text_pointers.as_ptr(),
                name_pointers.as_ptr(),
            )
        };
        compilation.check(code)?;

        let (architecture, result) = match target {
            Target::Machine(number) => (format!("--gpu-architecture=sm_{number}"), self.cubin),
            Target::Ptx(number) => (format!("--gpu-architecture=compute_{number}"), self.ptx),
        };
        let options = [c_string(&architecture), c_string("--std=c++11")];
        let option_pointers = pointers(&options);
        // SAFETY: the program is this library's, and the options are zero-terminated.
        let code = unsafe { (self.compile)(compilation.program, options.len() as c_int, option_pointers.as_ptr()) };
        compilation.check(code)?;
        compilation.output(result)
    }
}

/// A program of NVRTC, destroyed when dropped.
struct Compilation<'a> {
    nvrtc: &'a Nvrtc,
    /// Null until created.
    program: Program,
}

impl Compilation<'_> {
    /// Turns a result code into an error with the compiler's log.
    fn check(&self, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let log = if self.program.is_null() { Vec::new() } else { self.read(self.nvrtc.log).unwrap_or_default() };
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        Err(Error::Failed { version: self.nvrtc.version.clone(), code, log })
    }

    /// A result of the compilation.
    fn output(&self, output: Output) -> Result<Vec<u8>, Error> {
        self.read(output).or_else(|code| self.check(code).map(|()| Vec::new()))
    }

    /// What a pair of functions returns, or their result code.
    fn read(&self, output: Output) -> Result<Vec<u8>, c_int> {
        let mut size = 0;
        // SAFETY: the program exists, and the second function writes as many bytes as the first returns.
        unsafe {
            match (output.size)(self.program, &raw mut size) {
                0 => {}
                code => return Err(code),
            }
            let mut bytes = vec![0u8; size];
            match (output.get)(self.program, bytes.as_mut_ptr().cast()) {
                0 => Ok(bytes),
                code => Err(code),
            }
        }
    }
}

impl Drop for Compilation<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: the program was created by this library and is destroyed once.
            unsafe { (self.nvrtc.destroy)(&raw mut self.program) };
        }
    }
}

/// Pointers to the strings, for functions of C.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// Looks up a function.
///
/// # Safety
/// `T` is the type of the function of this name.
unsafe fn symbol<T: Copy>(library: &Library, name: &CStr) -> Result<T, Error> {
    // SAFETY: the caller vouches for the type.
    unsafe { library.get::<T>(name.to_bytes_with_nul()) }.map(|symbol| *symbol).map_err(|_| Error::TooOld)
}

/// Looks up a pair of functions.
///
/// # Safety
/// The functions of these names have the types of [`Output`].
unsafe fn output(library: &Library, size: &CStr, get: &CStr) -> Result<Output, Error> {
    // SAFETY: the caller vouches for the types.
    unsafe { Ok(Output { size: symbol(library, size)?, get: symbol(library, get)? }) }
}

/// The architectures that the library compiles for, ascending.
///
/// # Safety
/// The library is NVRTC.
unsafe fn architectures(library: &Library) -> Result<Vec<c_int>, Error> {
    // SAFETY: the types are those of nvrtc.h; the second function writes as many numbers as the first returns.
    unsafe {
        let count: unsafe extern "C" fn(*mut c_int) -> c_int = symbol(library, c"nvrtcGetNumSupportedArchs")?;
        let list: unsafe extern "C" fn(*mut c_int) -> c_int = symbol(library, c"nvrtcGetSupportedArchs")?;
        let mut number = 0;
        if count(&raw mut number) != 0 {
            return Err(Error::TooOld);
        }
        let mut architectures = vec![0; usize::try_from(number).unwrap_or(0)];
        list(architectures.as_mut_ptr());
        architectures.sort_unstable();
        Ok(architectures)
    }
}

/// The library's version, such as 12.9.
///
/// # Safety
/// The library is NVRTC.
unsafe fn version(library: &Library) -> Result<String, Error> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the type is that of nvrtc.h.
    unsafe {
        let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = symbol(library, c"nvrtcVersion")?;
        version(&raw mut major, &raw mut minor);
    }
    Ok(format!("{major}.{minor}"))
}
