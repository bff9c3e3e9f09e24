//! The memory that this process holds, and the most that it ever held.

/// Peak resident set in bytes; `None` where the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Resident set now, in bytes; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// A line of Linux's account of this process: `VmHWM:     123456 kB`.
fn status_bytes(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_covers_what_was_held() {
        let block = vec![1u8; 64 << 20];
        std::hint::black_box(&block);
        assert!(super::resident_bytes().unwrap() > 64 << 20);
        drop(block);
        assert!(super::peak_rss_bytes().unwrap() > 64 << 20);
    }
}
