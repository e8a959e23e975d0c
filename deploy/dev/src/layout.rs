//! Where everything lives: the files of one data folder, the ports above one base, and the generated configuration.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, at};

/// The routes to the sample tools; `{port}` is filled in.
const TOOLS: &str = include_str!("../tools.toml");

/// The ports of one deployment.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The sidecar, for agents and people.
    pub sidecar: u16,
    /// The sidecar's liveness, readiness and metrics.
    pub admin: u16,
    /// The control plane.
    pub control: u16,
    /// The sample tools.
    pub tools: u16,
}

impl Ports {
    /// Base, base + 1, base + 80 and base + 90; none if they do not fit.
    pub fn above(base: u16) -> Option<Self> {
        Some(Self {
            sidecar: base,
            admin: base.checked_add(1)?,
            control: base.checked_add(80)?,
            tools: base.checked_add(90)?,
        })
    }
}

/// One deployment: its folder and its ports.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The folder that holds all state.
    pub dir: PathBuf,
    /// The ports.
    pub ports: Ports,
}

impl Layout {
    /// Makes the folders, for the owner only.
    ///
    /// # Errors
    /// If the folder can't be made.
    pub fn create(dir: &Path, ports: Ports) -> Result<Self, Fault> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let dir = dir.canonicalize().map_err(at(dir))?;
        for sub in ["control-api", "proxy", "tools", "logs"] {
            let path = dir.join(sub);
            std::fs::create_dir_all(&path).map_err(at(&path))?;
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&path, private).map_err(at(&path))?;
        }
        Ok(Self { dir, ports })
    }

    /// Takes the folder; a second `aegis-dev` is refused until the returned file is dropped.
    ///
    /// # Errors
    /// If another one has it.
    pub fn lock(&self) -> Result<File, Fault> {
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(at(&path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Fault::FolderTaken(self.dir.clone()))?;
        Ok(file)
    }

    /// Base address of the sidecar, the one address that offers everything.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.sidecar)
    }

    /// Address of the control plane itself.
    pub fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.control)
    }

    /// Address of the sidecar's admin port.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The control plane's configuration file.
    pub fn control_config(&self) -> PathBuf {
        self.file("control-api.toml")
    }

    /// The sidecar's configuration file.
    pub fn proxy_config(&self) -> PathBuf {
        self.file("proxy.toml")
    }

    /// Where the join token lies until the sidecar has used it.
    pub fn join_token(&self) -> PathBuf {
        self.file("join-token")
    }

    /// Writes the configuration of all parts anew, for the ports of this start.
    ///
    /// # Errors
    /// If the files can't be written.
    pub fn write_configuration(&self) -> Result<(), Fault> {
        let Ports { sidecar, admin, control, tools } = self.ports;
        let dir = &self.dir;
        let control_toml = format!(
            "# Written by aegis-dev at each start.\ndeployment = \"local\"\npublic_base_url = \"{}\"\ndev_mode = true\n\n\
             [listen]\naddress = \"127.0.0.1:{control}\"\n\n[database]\nurl = {}\n\n[data]\ndir = {}\n\n[log]\nformat = \"pretty\"\n",
            self.base_url(),
            quoted(&format!("sqlite:{}", dir.join("control-api/control.db").display())),
            quoted(&dir.join("control-api").display().to_string()),
        );
        let proxy_toml = format!(
            "# Written by aegis-dev at each start.\npublic_url = \"{}\"\ntools_file = {}\n\n\
             [listen]\naddress = \"127.0.0.1:{sidecar}\"\nadmin = \"127.0.0.1:{admin}\"\n\n\
             [control]\nurl = \"{}\"\njoin_token_file = {}\n\n[data]\ndir = {}\n\n[timeouts]\ngrace_s = 10\n\n[log]\nformat = \"pretty\"\n",
            self.base_url(),
            quoted(&dir.join("tools.toml").display().to_string()),
            self.control_url(),
            quoted(&self.join_token().display().to_string()),
            quoted(&dir.join("proxy").display().to_string()),
        );
        write_private(&self.control_config(), control_toml.as_bytes())?;
        write_private(&self.proxy_config(), proxy_toml.as_bytes())?;
        write_private(&self.file("tools.toml"), TOOLS.replace("{port}", &tools.to_string()).as_bytes())
    }
}

/// A TOML string (its basic strings escape as JSON does).
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Replaces a file at once, readable by its owner only.
///
/// # Errors
/// If it can't be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Fault> {
    // Dying before the rename leaves the old file whole; the new one is on disk before it gets its name.
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next).map_err(at(&next))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(at(&next))?;
    std::fs::rename(&next, path).map_err(at(path))
}
