//! The names and sizes of volumes.

use crate::settings::StorageType;

/// The part of `rootfs` or `mpN` before the first comma.
pub fn volume(value: &str) -> &str {
    let first = value.split(',').next().unwrap_or_default();
    first.strip_prefix("volume=").unwrap_or(first)
}

/// The storage of a volume; none for a path of the host.
pub fn storage(volume: &str) -> Option<&str> {
    if volume.starts_with('/') { None } else { volume.split_once(':').map(|(storage, _)| storage) }
}

/// Whether it can be cloned without a copy.
pub fn links(kind: StorageType) -> bool {
    matches!(kind, StorageType::Lvmthin | StorageType::Zfspool)
}

/// The volume of a container's disk.
pub fn name(storage: &str, kind: StorageType, vmid: u32, disk: usize) -> String {
    match kind {
        StorageType::Dir | StorageType::Nfs => format!("{storage}:{vmid}/vm-{vmid}-disk-{disk}.raw"),
        StorageType::Lvmthin => format!("{storage}:vm-{vmid}-disk-{disk}"),
        StorageType::Zfspool => format!("{storage}:subvol-{vmid}-disk-{disk}"),
    }
}

/// The volume after its container became a template.
pub fn base(volume: &str) -> String {
    volume.replacen("subvol-", "basevol-", 1).replacen("vm-", "base-", 1)
}

/// The volume of a linked clone.
pub fn linked(source: &str, kind: StorageType, vmid: u32, disk: usize) -> String {
    let (storage, base) = source.split_once(':').unwrap_or((source, ""));
    match kind {
        StorageType::Zfspool => {
            let base = base.rsplit('/').next().unwrap_or(base);
            format!("{storage}:{base}/subvol-{vmid}-disk-{disk}")
        }
        kind => name(storage, kind, vmid, disk),
    }
}

/// Bytes of a size such as `8G`, `1.5T` or `3000000000`.
pub fn bytes(size: &str) -> Option<u64> {
    let (number, shift) = match size.char_indices().next_back()? {
        (at, 'K') => (size.get(..at)?, 10),
        (at, 'M') => (size.get(..at)?, 20),
        (at, 'G') => (size.get(..at)?, 30),
        (at, 'T') => (size.get(..at)?, 40),
        _ => (size, 0),
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Err(_) => number.parse::<f64>().ok().map(|number| (number * (1_u64 << shift) as f64) as u64),
    }
}

/// A size as the configuration holds it: in the largest unit without a fraction.
pub fn size(bytes: u64) -> String {
    let mut number = bytes;
    for unit in ["", "K", "M", "G"] {
        if number == 0 || !number.is_multiple_of(1024) {
            return format!("{number}{unit}");
        }
        number /= 1024;
    }
    format!("{number}T")
}

/// The size in `rootfs` or `mpN`.
pub fn size_of(value: &str) -> Option<u64> {
    bytes(value.split(',').find_map(|part| part.strip_prefix("size="))?)
}
