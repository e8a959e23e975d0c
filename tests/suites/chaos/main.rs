//! Nothing is lost: parts killed at random moments, disks that fail, planes cut off.

mod control_plane;
mod disk;
mod load;
mod sidecar;
