//! Reading and writing files for the commands: `-` is standard input or output, and a file is written completely or
//! not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::prototxt::Document;

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if is_standard(path) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads and parses a prototxt, or standard input for `-`.
pub(super) fn read_document(path: &Path) -> anyhow::Result<Document> {
    // No context is added: the parser's message names the file.
    Document::parse(read(path)?, &name(path)).map_err(|error| anyhow!(error))
}

/// Writes a file, or standard output for `-`.
///
/// A file is replaced atomically and keeps its permissions: it is never missing or half written. For a symlink the file
/// it points to is replaced. Something that is not a regular file, such as `/dev/null`, is opened and written to.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    Staged::new(path, |out| out.write_all(bytes))?.commit()
}

/// A file's new content, written but not yet visible under its path. A command that writes several files stages them
/// all before it commits the first, so that content that cannot be written leaves every file unchanged.
pub(super) struct Staged {
    path: PathBuf,
    content: Content,
}

/// Where the staged content is until it is committed.
enum Content {
    /// In a temporary file in the target's folder, which is renamed to the target.
    TempFile { file: tempfile::NamedTempFile, target: PathBuf },
    /// In memory, for standard output and for paths that are not regular files.
    Memory(Vec<u8>),
}

impl Staged {
    /// Stages what `write` writes as the new content of `path`.
    pub(super) fn new(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<Staged> {
        let content = Content::stage(path, write).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Staged { path: path.to_owned(), content })
    }

    /// Makes the staged content the file's content.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        match self.content {
            Content::TempFile { file, target } => {
                file.persist(&target).map(drop).map_err(|e| e.error).with_context(failed)
            }
            Content::Memory(bytes) if is_standard(&self.path) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                Ok(out.flush()?)
            }
            Content::Memory(bytes) => fs::write(&self.path, bytes).with_context(failed),
        }
    }
}

impl Content {
    fn stage(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Content> {
        let Some((target, metadata)) = regular_file(path)? else {
            let mut bytes = Vec::new();
            write(&mut bytes)?;
            return Ok(Content::Memory(bytes));
        };

        let mut builder = tempfile::Builder::new();
        builder.prefix(".gfpq-");
        // Instead of tempfile's 0600: a new file gets 0666 less the user's umask, as from any other program.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(parent_of(&target))?;
        let mut buffered = io::BufWriter::new(file.as_file_mut());
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);

        if let Some(metadata) = metadata {
            file.as_file().set_permissions(metadata.permissions())?;
        }
        file.as_file().sync_all()?;
        Ok(Content::TempFile { file, target })
    }
}

/// The path that a regular file has or will have once symlinks are followed, and the metadata of an existing one; `None`
/// for standard output and for anything that is not a regular file.
fn regular_file(path: &Path) -> io::Result<Option<(PathBuf, Option<fs::Metadata>)>> {
    if is_standard(path) {
        return Ok(None);
    }
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => follow_links(path),
        Err(error) => return Err(error),
    };
    let metadata = fs::metadata(&target).ok();
    Ok(metadata.as_ref().is_none_or(fs::Metadata::is_file).then_some((target, metadata)))
}

/// Follows symlinks, even to a target that does not exist yet. Cannot loop: `canonicalize` has already refused cycles.
fn follow_links(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    while let Ok(next) = fs::read_link(&target) {
        // A relative target is relative to the folder that contains the link.
        target.pop();
        target.push(next);
    }
    target
}

/// The folder that contains a file.
fn parent_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether writing to both paths would write to the same regular file.
pub(super) fn is_same_file(a: &Path, b: &Path) -> bool {
    let absolute = |path: &Path| {
        let (target, _) = regular_file(path).ok()??;
        Some(fs::canonicalize(parent_of(&target)).ok()?.join(target.file_name()?))
    };
    absolute(a).is_some_and(|target_of_a| Some(target_of_a) == absolute(b))
}

/// The name of an input file in messages; `<stdin>` for `-`.
pub(super) fn name(path: &Path) -> String {
    if is_standard(path) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Whether the path stands for standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}
