//! Blocks of free ports below the ephemeral range, one per deployment, guarded by lock files.
//!
//! A port that the kernel handed out could be taken by an outgoing connection before the binary listens on it.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};

/// Ports of one block.
pub const BLOCK: u16 = 10;

const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_000;

/// A block of ports, ours until dropped.
pub struct Ports {
    first: u16,
    _lock: File,
}

impl Ports {
    /// Takes a block that nobody uses.
    pub fn take() -> Self {
        let dir = std::path::Path::new("/tmp/aegis-test-ports");
        std::fs::create_dir_all(dir).expect("a folder for lock files");
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for n in 0..BLOCKS {
            let first = FIRST + (start + n) % BLOCKS * BLOCK;
            let lock = File::create(dir.join(first.to_string())).expect("a lock file");
            let ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if ours && (first..first + BLOCK).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                return Self { first, _lock: lock };
            }
        }
        panic!("no block of {BLOCK} free ports above {FIRST}")
    }

    /// The block's `n`th port.
    pub fn port(&self, n: u16) -> u16 {
        assert!(n < BLOCK, "a block has {BLOCK} ports");
        self.first + n
    }
}
