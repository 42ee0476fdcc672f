//! How many processors this process may use.
//!
//! The standard library's `available_parallelism` counts them in the same way, but allocates memory, and ends the process
//! if there is none left.

use crate::quant::variable::with_value;

/// The number of threads that share the work on a large tensor: as many as this process may use processors, or fewer if
/// the environment variable `RAYON_NUM_THREADS` says so. At least 1.
pub fn count() -> usize {
    let processors = system::processors();
    match with_value(c"RAYON_NUM_THREADS", str::parse::<usize>) {
        Ok(wanted) if wanted > 0 => wanted.min(processors),
        _ => processors,
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::File;
    use std::io::Read;
    use std::mem;
    use std::str;

    /// The processors that this process may run on, or fewer if its control group limits the time that it may use.
    pub(super) fn processors() -> usize {
        // SAFETY: a set of zeros is valid, and the kernel writes no more than its size.
        let count = unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            match libc::sched_getaffinity(0, size_of_val(&set), &mut set) {
                0 => libc::CPU_COUNT(&set) as usize,
                // More processors than the set holds.
                _ => libc::sysconf(libc::_SC_NPROCESSORS_ONLN).max(1) as usize,
            }
        };
        count.min(quota().unwrap_or(usize::MAX)).max(1)
    }

    /// The processors' worth of time that the control group allows, rounded down.
    fn quota() -> Option<usize> {
        let mut buffer = [0; 4096];
        let groups = read("/proc/self/cgroup", &mut buffer)?;
        let lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let least = |(controllers, path): (&str, &str)| match controllers {
            "" => limit("/sys/fs/cgroup", path, |folder| {
                let mut buffer = [0; 64];
                let (quota, period) = read_in(folder, "/cpu.max", &mut buffer)?.split_once(' ')?;
                Some((quota.parse().ok()?, period.parse().ok()?))
            }),
            _ if controllers.split(',').any(|name| name == "cpu") => limit("/sys/fs/cgroup/cpu", path, |folder| {
                let (mut quota, mut period) = ([0; 64], [0; 64]);
                let quota = read_in(folder, "/cpu.cfs_quota_us", &mut quota)?;
                let period = read_in(folder, "/cpu.cfs_period_us", &mut period)?;
                Some((quota.parse().ok()?, period.parse().ok()?))
            }),
            _ => None,
        };
        lines.filter_map(least).min()
    }

    /// The least quota divided by its period, of the group `path` and those around it.
    fn limit(root: &str, path: &str, read: impl Fn(&str) -> Option<(usize, usize)>) -> Option<usize> {
        let mut buffer = [0; 512];
        let mut folder = concat(&mut buffer, root, path.trim_end_matches('/'))?;
        let mut least = None;
        loop {
            if let Some((quota, period)) = read(folder).filter(|&(_, period)| period > 0) {
                let whole = (quota / period).max(1);
                least = Some(least.map_or(whole, |least: usize| least.min(whole)));
            }
            if folder.len() <= root.len() {
                return least;
            }
            folder = &folder[..folder.rfind('/')?];
        }
    }

    /// The text of a file in `folder`.
    fn read_in<'a>(folder: &str, name: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
        let mut path = [0; 600];
        read(concat(&mut path, folder, name)?, buffer)
    }

    /// The text of a file, as much of it as fits into the buffer, without the last line end.
    fn read<'a>(path: &str, buffer: &'a mut [u8]) -> Option<&'a str> {
        let len = File::open(path).ok()?.read(buffer).ok()?;
        str::from_utf8(&buffer[..len]).ok().map(str::trim_end)
    }

    /// Two texts joined, if they fit into the buffer.
    fn concat<'a>(buffer: &'a mut [u8], first: &str, second: &str) -> Option<&'a str> {
        let len = first.len() + second.len();
        buffer.get_mut(..first.len())?.copy_from_slice(first.as_bytes());
        buffer.get_mut(first.len()..len)?.copy_from_slice(second.as_bytes());
        str::from_utf8(&buffer[..len]).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn as_many_processors_as_the_standard_library_counts() {
            assert_eq!(processors(), std::thread::available_parallelism().unwrap().get());
        }

        #[test]
        fn the_least_limit_of_a_group_and_those_around_it_holds() {
            let limits = |folder: &str| match folder {
                "/root/a/b" => Some((400, 100)),
                "/root/a" => Some((250, 100)),
                "/root" => None,
                _ => panic!("{folder}"),
            };
            assert_eq!(limit("/root", "/a/b", limits), Some(2));
            assert_eq!(limit("/root", "/", |folder| (folder == "/root").then_some((50, 100))), Some(1));
            assert_eq!(limit("/root", "/", |_| None), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
