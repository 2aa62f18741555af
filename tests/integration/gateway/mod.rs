//! The gateway's faces.

mod aggregated;
