//! NVRTC, the compiler that a CUDA installation (or a Python package of NVIDIA's) brings, looked for at run time.
//!
//! Not through cudarc, whose names for the library end at the CUDA version that it was made for.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::ptr;

use libloading::Library;

type Program = *mut c_void;

/// Why nothing was compiled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No library of any of the names.
    #[error("no NVRTC (libnvrtc.so) on this machine")]
    Missing,
    /// A library without functions that every NVRTC since CUDA 11.2 has.
    #[error("the NVRTC found is older than CUDA 11.2")]
    TooOld,
    /// A library that does not compile for the architecture.
    #[error("NVRTC {version} does not know this GPU")]
    UnknownGpu {
        /// Such as 12.9.
        version: String,
    },
    /// The compiler's result code, and its log.
    #[error("NVRTC {version} fails with code {code}: {log}")]
    Failed {
        /// Such as 12.9.
        version: String,
        /// An nvrtcResult.
        code: c_int,
        /// What the compiler says.
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
    // The functions above are its own.
    _library: Library,
}

/// A pair of functions that tell a result's size and copy it.
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
    /// PTX of one architecture, which a driver compiles on for any newer one.
    Ptx(i32),
}

impl Nvrtc {
    /// The newest one that the dynamic linker finds and that compiles for an architecture.
    ///
    /// # Errors
    /// What is wrong with the newest that is there, [`Error::Missing`] when there is none.
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

    fn knowing(self, architecture: i32) -> Result<Nvrtc, Error> {
        match self.architectures.contains(&architecture) {
            true => Ok(self),
            false => Err(Error::UnknownGpu { version: self.version }),
        }
    }

    /// The one of this name or path.
    ///
    /// # Errors
    /// [`Error::Missing`] when it does not load, [`Error::TooOld`] when it lacks a function.
    pub fn open(name: impl AsRef<OsStr>) -> Result<Nvrtc, Error> {
        // SAFETY: whoever installs a library of this name makes it safe to load.
        let library = unsafe { Library::new(name) }.map_err(|_| Error::Missing)?;
        // SAFETY: the types are those of nvrtc.h, and have been since CUDA 11.2.
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

    /// Such as 12.9.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The architectures it compiles for, ascending.
    pub fn architectures(&self) -> &[i32] {
        &self.architectures
    }

    /// Compiles `source`; `headers` are names it includes, and their texts.
    ///
    /// # Errors
    /// [`Error::Failed`], with the compiler's log.
    pub fn compile(&self, source: &str, headers: &[(&str, &str)], target: Target) -> Result<Vec<u8>, Error> {
        let c_string = |text: &str| CString::new(text).expect("a source without zero bytes");
        let source = c_string(source);
        let names: Vec<_> = headers.iter().map(|(name, _)| c_string(name)).collect();
        let texts: Vec<_> = headers.iter().map(|(_, text)| c_string(text)).collect();
        let (name_pointers, text_pointers) = (pointers(&names), pointers(&texts));
        let mut compilation = Compilation { nvrtc: self, program: ptr::null_mut() };
        // SAFETY: zero-terminated strings, and as many names as texts.
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
        // SAFETY: a program of this library, and zero-terminated strings.
        let code = unsafe { (self.compile)(compilation.program, options.len() as c_int, option_pointers.as_ptr()) };
        compilation.check(code)?;
        compilation.output(result)
    }
}

/// A program, destroyed when it goes out of scope.
struct Compilation<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Compilation<'_> {
    fn check(&self, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let log = if self.program.is_null() { Vec::new() } else { self.read(self.nvrtc.log).unwrap_or_default() };
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        Err(Error::Failed { version: self.nvrtc.version.clone(), code, log })
    }

    fn output(&self, output: Output) -> Result<Vec<u8>, Error> {
        self.read(output).or_else(|code| self.check(code).map(|()| Vec::new()))
    }

    fn read(&self, output: Output) -> Result<Vec<u8>, c_int> {
        let mut size = 0;
        // SAFETY: the program exists, and there is room for its size, then for as many bytes.
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
            // SAFETY: made by this library, and destroyed once.
            unsafe { (self.nvrtc.destroy)(&raw mut self.program) };
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// # Safety
/// `T` is the type of the function of this name.
unsafe fn symbol<T: Copy>(library: &Library, name: &CStr) -> Result<T, Error> {
    // SAFETY: the caller's duty.
    unsafe { library.get::<T>(name.to_bytes_with_nul()) }.map(|symbol| *symbol).map_err(|_| Error::TooOld)
}

/// # Safety
/// The functions of these names are such a pair.
unsafe fn output(library: &Library, size: &CStr, get: &CStr) -> Result<Output, Error> {
    // SAFETY: the caller's duty.
    unsafe { Ok(Output { size: symbol(library, size)?, get: symbol(library, get)? }) }
}

/// # Safety
/// The library is NVRTC.
unsafe fn architectures(library: &Library) -> Result<Vec<c_int>, Error> {
    // SAFETY: the types are nvrtc.h's; the second call fills as many numbers as the first tells.
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

/// # Safety
/// The library is NVRTC.
unsafe fn version(library: &Library) -> Result<String, Error> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the type is nvrtc.h's.
    unsafe {
        let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = symbol(library, c"nvrtcVersion")?;
        version(&raw mut major, &raw mut minor);
    }
    Ok(format!("{major}.{minor}"))
}
