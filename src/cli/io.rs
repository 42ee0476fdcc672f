//! What commands read and write: `-` is standard input or output, and a file is written whole or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Reads a file, or standard input for `-`.
pub fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if is_standard(path) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file, or standard output for `-`.
///
/// A file is replaced in one step, with the permissions it had: at no moment is it missing or half written. A link
/// stays one, and what it points to is replaced. What is no plain file, such as `/dev/null`, is written to.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    Staged::new(path, |out| out.write_all(bytes))?.commit()
}

/// A file that is written, but not yet in its place: of several, all are staged before the first is committed.
pub struct Staged {
    path: PathBuf,
    held: Held,
}

enum Held {
    /// Beside the file that it replaces.
    Beside(tempfile::NamedTempFile, PathBuf),
    /// For standard output, or for what is no plain file.
    Memory(Vec<u8>),
}

impl Staged {
    /// Has `write` write what is to become the file at `path`.
    pub fn new(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<Staged> {
        let held = Staged::hold(path, write).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Staged { path: path.to_owned(), held })
    }

    /// Puts the file in its place.
    pub fn commit(self) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        match self.held {
            Held::Beside(file, target) => file.persist(&target).map(drop).map_err(|e| e.error).with_context(failed),
            Held::Memory(bytes) if is_standard(&self.path) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                Ok(out.flush()?)
            }
            Held::Memory(bytes) => fs::write(&self.path, bytes).with_context(failed),
        }
    }

    fn hold(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Held> {
        let Some((target, known)) = plain_file(path)? else {
            let mut bytes = Vec::new();
            write(&mut bytes)?;
            return Ok(Held::Memory(bytes));
        };
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".gfpq-");
        // A new file gets what the user's umask leaves of this, as any program's would.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        let mut buffered = io::BufWriter::new(file.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        if let Some(known) = known {
            file.as_file().set_permissions(known.permissions())?;
        }
        file.as_file().sync_all()?;
        Ok(Held::Beside(file, target))
    }
}

/// Where a plain file is or is to be, links followed, and what is known of the one that is there; `None` for standard
/// output and what is no plain file.
fn plain_file(path: &Path) -> io::Result<Option<(PathBuf, Option<fs::Metadata>)>> {
    if is_standard(path) {
        return Ok(None);
    }
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => followed(path),
        Err(error) => return Err(error),
    };
    let known = fs::metadata(&target).ok();
    Ok(known.as_ref().is_none_or(fs::Metadata::is_file).then_some((target, known)))
}

/// Where links lead, be it to a file that is not there. Those that lead in a circle are known by then.
fn followed(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    while let Ok(next) = fs::read_link(&target) {
        // Relative to the folder that the link is in.
        target.pop();
        target.push(next);
    }
    target
}

/// Whether two paths are one file's, or would be.
pub fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let (target, _) = plain_file(path).ok()??;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(folder).ok()?.join(target.file_name()?))
    };
    place(a).is_some_and(|place_of_a| Some(place_of_a) == place(b))
}

/// The file's name for messages.
pub fn name(path: &Path) -> String {
    if is_standard(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Whether the path stands for standard input or output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}
