//! Starting a child that never outlives us: `aegis-dev launch` binds its life to its parent's, then becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Becomes `command`, which the kernel kills when `parent` ends. Returns only what went wrong.
pub fn become_child_of(parent: i32, command: &[OsString]) -> std::io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return std::io::Error::other("no command");
    };
    if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return e.into();
    }
    // Had the parent died before the line above, nobody would tell us any more.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return std::io::Error::other("the parent is gone");
    }
    Command::new(program).args(arguments).exec()
}
