//! The OpenCV installation for Makefile.config.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An OpenCV installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCv {
    /// Its major version.
    pub major: u32,
    /// The folder of its headers, if the compiler does not search it by default.
    pub include: Option<PathBuf>,
}

/// The folders that compilers search by default.
const SEARCHED: [&str; 2] = ["/usr/include", "/usr/local/include"];

impl OpenCv {
    /// Finds the headers in the folder that pkg-config names for OpenCV 4, else in the usual folders.
    pub(super) fn detect() -> Option<OpenCv> {
        let answer = Command::new("pkg-config").args(["--cflags-only-I", "opencv4"]).output().ok();
        let named = answer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let mut folders: Vec<PathBuf> =
            named.split_whitespace().filter_map(|flag| flag.strip_prefix("-I")).map(PathBuf::from).collect();
        folders.extend(SEARCHED.map(|folder| Path::new(folder).join("opencv4")));
        folders.extend(SEARCHED.map(PathBuf::from));
        folders.iter().find_map(|folder| OpenCv::in_folder(folder))
    }

    /// The installation with headers in this folder, if they are all there that Caffe needs.
    fn in_folder(folder: &Path) -> Option<OpenCv> {
        let text = std::fs::read_to_string(folder.join("opencv2/core/version.hpp")).ok()?;
        let major = major(&text)?;
        let has = |name: &str| folder.join("opencv2").join(name).exists();
        // From version 3 on, imread and VideoCapture are in modules that a distribution packages separately.
        let complete = has("highgui/highgui.hpp") && (major < 3 || (has("imgcodecs.hpp") && has("videoio.hpp")));
        let include = (!SEARCHED.contains(&folder.to_str()?)).then(|| folder.to_owned());
        complete.then_some(OpenCv { major, include })
    }
}

/// The major version that OpenCV's version.hpp defines: in 2.4 it is called the epoch, and stands before the rest.
fn major(version_header: &str) -> Option<u32> {
    let is_major = |line: &&str| line.contains("CV_VERSION_MAJOR") || line.contains("CV_VERSION_EPOCH");
    version_header.lines().find(is_major)?.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_epoch_of_opencv_2_is_its_major_version() {
        assert_eq!(major("#define CV_VERSION_EPOCH    2\n#define CV_VERSION_MAJOR    4\n"), Some(2));
        assert_eq!(major("#define CV_VERSION_MAJOR    4\n#define CV_VERSION_MINOR    6\n"), Some(4));
        assert_eq!(major(""), None);
    }

    #[test]
    fn an_installation_without_the_headers_for_images_is_none() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = root.path().join("opencv2").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("core/version.hpp", "#define CV_VERSION_MAJOR    4\n");
        put("highgui/highgui.hpp", "");
        assert_eq!(OpenCv::in_folder(root.path()), None);

        put("imgcodecs.hpp", "");
        put("videoio.hpp", "");
        let expected = OpenCv { major: 4, include: Some(root.path().into()) };
        assert_eq!(OpenCv::in_folder(root.path()), Some(expected));
    }
}
