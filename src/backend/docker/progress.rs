//! How far a pull has come, in one line.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;

/// The layers of a pull.
pub(super) struct Progress {
    image: String,
    layers: BTreeMap<String, Layer>,
}

#[derive(Default)]
struct Layer {
    fetched: u64,
    size: u64,
    is_fetched: bool,
    is_done: bool,
}

impl Progress {
    pub(super) fn new(image: &str) -> Self {
        Self { image: image.to_owned(), layers: BTreeMap::new() }
    }

    /// Takes in one line of Docker's report.
    pub(super) fn note(&mut self, report: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&report.id, &report.status) else { return };
        let about_a_layer = status == "Pulling fs layer" || self.layers.contains_key(id);
        if !about_a_layer && !matches!(status.as_str(), "Already exists" | "Downloading" | "Extracting") {
            return;
        }
        let layer = self.layers.entry(id.clone()).or_default();
        let detail = report.progress_detail.as_ref();
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        match status.as_str() {
            "Downloading" => {
                layer.fetched = detail.and_then(|detail| number(detail.current)).unwrap_or(layer.fetched);
                layer.size = detail.and_then(|detail| number(detail.total)).unwrap_or(layer.size);
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => layer.is_fetched = true,
            "Pull complete" | "Already exists" => {
                layer.is_fetched = true;
                layer.is_done = true;
            }
            _ => {}
        }
    }

    /// Such as `pulling debian:bookworm: 45% of 52.1 MB`.
    pub(super) fn line(&self) -> String {
        let image = &self.image;
        let size: u64 = self.layers.values().map(|layer| layer.size).sum();
        let fetched: u64 =
            self.layers.values().map(|layer| if layer.is_fetched { layer.size } else { layer.fetched }).sum();
        let done = self.layers.values().filter(|layer| layer.is_done).count();
        let count = self.layers.len();
        if count == 0 {
            return format!("pulling {image}");
        }
        if self.layers.values().all(|layer| layer.is_fetched) {
            return format!("pulling {image}: unpacked {done} of {count} layers");
        }
        if size == 0 {
            return format!("pulling {image}: {done} of {count} layers");
        }
        let percent = fetched.min(size).saturating_mul(100) / size;
        format!("pulling {image}: {percent}% of {}", megabytes(size))
    }
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn report(id: &str, status: &str, progress: Option<(i64, i64)>) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: progress
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn a_pull_from_beginning_to_end() {
        let mut progress = Progress::new("debian:bookworm");
        let mut say = |id: &str, status: &str, detail| {
            progress.note(&report(id, status, detail));
            progress.line()
        };
        assert_eq!(say("bookworm", "Pulling from library/debian", None), "pulling debian:bookworm");
        assert_eq!(say("a", "Pulling fs layer", None), "pulling debian:bookworm: 0 of 1 layers");
        assert_eq!(say("b", "Pulling fs layer", None), "pulling debian:bookworm: 0 of 2 layers");
        assert_eq!(
            say("a", "Downloading", Some((10_000_000, 40_000_000))),
            "pulling debian:bookworm: 25% of 40.0 MB"
        );
        assert_eq!(
            say("b", "Downloading", Some((1_000_000, 12_150_000))),
            "pulling debian:bookworm: 21% of 52.1 MB"
        );
        assert_eq!(say("a", "Download complete", None), "pulling debian:bookworm: 78% of 52.1 MB");
        assert_eq!(say("b", "Download complete", None), "pulling debian:bookworm: unpacked 0 of 2 layers");
        assert_eq!(say("a", "Pull complete", None), "pulling debian:bookworm: unpacked 1 of 2 layers");
    }
}
