//! What the machine has left: memory, disk.

use std::path::Path;

pub use crate::peak_memory::resident_bytes;

/// Pages of the program's own code and stacks that are first touched in training.
pub const CODE: u64 = 3 << 20;

/// Memory that could be had now without swapping, in bytes; `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // A container may have less than the machine.
    let group = read("max").zip(read("current")).map(|(max, current)| max.saturating_sub(current));
    Some((1024 * kib).min(group.unwrap_or(u64::MAX)))
}

/// Bytes free on the disk of a folder that may not be there yet; `None` where the system does not say.
#[cfg(unix)]
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let absolute = std::path::absolute(folder).ok()?;
    let there = absolute.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes free on the disk of a folder; not known here.
#[cfg(not(unix))]
pub fn free_disk_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_memory_and_disk() {
        assert!(available_bytes().unwrap() > 1 << 20);
        let dir = tempfile::tempdir().unwrap();
        assert!(free_disk_bytes(&dir.path().join("not/there/yet")).unwrap() > 1 << 20);
    }
}
