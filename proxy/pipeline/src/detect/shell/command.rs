//! What the commands of a line do, each and in their pipeline.

use aegis_core::finding::FindingId;

use super::super::infra::is_production;
use super::super::path::PathPatterns;
use super::line::{Command, is_shell};

type Add<'a> = &'a mut dyn FnMut(FindingId, u8);

const DOWNLOADERS: [&str; 8] = ["curl", "wget", "fetch", "aria2c", "lwp-download", "http", "iwr", "invoke-webrequest"];
const INTERPRETERS: [&str; 12] =
    ["python", "python2", "python3", "perl", "ruby", "node", "php", "lua", "powershell", "pwsh", "iex", "osascript"];
const SENDERS: [&str; 9] = ["curl", "wget", "nc", "ncat", "netcat", "scp", "rsync", "ftp", "socat"];
const MINERS: [&str; 8] = ["xmrig", "minerd", "cpuminer", "ccminer", "ethminer", "cgminer", "bfgminer", "nbminer"];

/// Adds what the commands do.
pub(super) fn judge(commands: &[Command], add: Add<'_>, paths: &PathPatterns) {
    let mut downloaded = false;
    let mut decoded = false;
    let mut secret = false;
    let mut fetched_file = false;
    for command in commands {
        let (name, arguments) = command.name_and_arguments();
        if !command.piped {
            (downloaded, decoded, secret) = (false, false, false);
        }
        let runs = is_shell(&name) || INTERPRETERS.contains(&name.as_str()) || name == "source" || name == ".";
        if runs && command.piped && (downloaded || decoded) {
            add(FindingId::CodeExecution, 95);
        }
        if runs && arguments.iter().any(|a| substitutes_download(a)) {
            add(FindingId::CodeExecution, 95);
        }
        if name == "eval" && arguments.iter().any(|a| substitutes_download(a) || a.contains("base64")) {
            add(FindingId::CodeExecution, 95);
        }
        if fetched_file
            && (name == "chmod" || command.words.first().is_some_and(|w| w.starts_with("./") || w.starts_with("/tmp/")))
        {
            add(FindingId::CodeExecution, 85);
        }
        let sends = SENDERS.contains(&name.as_str());
        let reads = sensitive_word(command, paths);
        if sends && (secret || (reads.is_some() && is_upload(&name, arguments))) {
            add(FindingId::DataExfiltration, 95);
        }
        if let Some(id) = reads {
            add(id, id.registry().1);
        }
        downloaded |= DOWNLOADERS.contains(&name.as_str());
        fetched_file |= downloaded && arguments.iter().any(|a| a == "-o" || a == "-O" || a.starts_with("--output"))
            || name == "wget";
        decoded |= matches!(name.as_str(), "base64" | "base32" | "xxd" | "openssl" | "rev" | "tr" | "gunzip" | "zcat")
            && arguments
                .iter()
                .any(|a| a.starts_with("-d") || a.starts_with("-D") || a == "--decode" || a == "-r" || a == "enc");
        secret |= reads.is_some()
            || matches!(name.as_str(), "env" | "printenv" | "history")
            || command.words.iter().any(|w| w == "env")
            || (name == "tar" && command.words.len() > 2)
            || name.ends_with("dump");
        alone(command, &name, arguments, add);
    }
}

/// What one command does by itself.
fn alone(command: &Command, name: &str, arguments: &[String], add: Add<'_>) {
    destructive(command, name, arguments, add);
    privileged(command, name, arguments, add);
    infrastructure(name, arguments, add);
    if MINERS.contains(&name) || arguments.iter().any(|a| a.starts_with("stratum+")) {
        add(FindingId::CodeExecution, 95);
        add(FindingId::CostBomb, 70);
    }
    if matches!(name, "nc" | "ncat" | "netcat")
        && arguments.iter().any(|a| is_flag(a, 'e') || is_flag(a, 'c') || a == "--exec" || a == "--sh-exec")
    {
        add(FindingId::ReverseShell, 100);
    }
    if name == "socat"
        && arguments
            .iter()
            .any(|a| a.to_ascii_lowercase().starts_with("exec:") || a.to_ascii_lowercase().starts_with("system:"))
    {
        add(FindingId::ReverseShell, 100);
    }
    if matches!(name, "powershell" | "pwsh" | "powershell.exe") && arguments.iter().any(|a| is_encoded_option(a)) {
        add(FindingId::CodeExecution, 95);
    }
    if name == "crontab" && arguments.iter().any(|a| a == "-r") {
        add(FindingId::DestructiveShell, 80);
    }
}

fn destructive(command: &Command, name: &str, arguments: &[String], add: Add<'_>) {
    let has = |c: char| arguments.iter().any(|a| is_flag(a, c));
    let recursive = has('r') || has('R') || arguments.iter().any(|a| a == "--recursive");
    let targets: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let wide = targets.iter().any(|t| is_wide(t));
    match name {
        "rm" if arguments.iter().any(|a| a == "--no-preserve-root") || (recursive && wide) => {
            add(FindingId::DestructiveShell, 95);
        }
        "rm" if recursive
            && targets
                .iter()
                .any(|t| t.starts_with('/') || t.starts_with('~') || t.contains('$') || t.contains('*')) =>
        {
            add(FindingId::DestructiveShell, 80);
        }
        "rm" if recursive => add(FindingId::DestructiveShell, 40),
        "chmod" if recursive && wide => add(FindingId::DestructiveShell, 95),
        "chown" | "chgrp" if recursive && wide => add(FindingId::DestructiveShell, 90),
        "wipefs" | "blkdiscard" | "mkswap" | "sgdisk" | "fdisk" | "parted" if targets.iter().any(|t| is_device(t)) => {
            add(FindingId::DestructiveShell, 95);
        }
        "shred" | "srm" | "wipe" => {
            add(FindingId::DestructiveShell, if wide || targets.iter().any(|t| is_device(t)) { 95 } else { 70 });
        }
        "dd" if arguments.iter().any(|a| a.strip_prefix("of=").is_some_and(is_device)) => {
            add(FindingId::DestructiveShell, 95);
        }
        "find" if wide && arguments.iter().any(|a| a == "-delete" || a == "rm" || a == "shred") => {
            add(FindingId::DestructiveShell, 95);
        }
        "find" if arguments.iter().any(|a| a == "-delete") && targets.first().is_some_and(|t| t.starts_with('/')) => {
            add(FindingId::DestructiveShell, 80);
        }
        "mv" if targets.last() == Some(&"/dev/null") => add(FindingId::DestructiveShell, 90),
        "shutdown" | "reboot" | "halt" | "poweroff" => add(FindingId::DestructiveShell, 80),
        "init" | "telinit" if matches!(targets.first(), Some(&("0" | "6"))) => add(FindingId::DestructiveShell, 80),
        "kill" | "pkill" | "killall"
            if arguments.iter().any(|a| a == "-1") || targets.iter().any(|t| t.contains("aegis")) =>
        {
            let own = targets.iter().any(|t| t.contains("aegis"));
            add(
                if own { FindingId::ControlPlaneDestruction } else { FindingId::DestructiveShell },
                if own { 100 } else { 80 },
            );
        }
        "systemctl" | "service" if arguments.iter().any(|a| matches!(a.as_str(), "stop" | "disable" | "mask")) => {
            let guards = ["aegis", "auditd", "falco", "firewalld", "ufw", "apparmor", "crowdstrike", "osqueryd"];
            let guarded = arguments.iter().any(|a| guards.iter().any(|g| a.contains(g)));
            add(
                if guarded { FindingId::ControlPlaneWrite } else { FindingId::DestructiveShell },
                if guarded { 95 } else { 45 },
            );
        }
        "iptables" | "nft" if has('F') || arguments.iter().any(|a| a == "flush") => {
            add(FindingId::ControlPlaneWrite, 80);
        }
        "history" if has('c') => add(FindingId::ObfuscatedPayload, 60),
        "format" | "del" | "rd" | "rmdir"
            if arguments.iter().any(|a| a.eq_ignore_ascii_case("/s"))
                || (name == "format" && targets.iter().any(|t| t.ends_with(':'))) =>
        {
            add(FindingId::DestructiveShell, 90);
        }
        _ if name.starts_with("mkfs") => add(FindingId::DestructiveShell, 95),
        _ => {}
    }
    if command.writes.iter().any(|w| is_device(w)) {
        add(FindingId::DestructiveShell, 95);
    }
    if command.writes.iter().any(|w| {
        matches!(w.as_str(), "/etc/passwd" | "/etc/shadow" | "/etc/sudoers")
            || w.starts_with("/etc/cron")
            || w.ends_with("authorized_keys")
            || w.ends_with("/etc/ld.so.preload")
    }) {
        add(FindingId::CredentialArtifactWrite, 75);
        add(FindingId::PrivilegeEscalationAttempt, 95);
    }
}

fn privileged(command: &Command, name: &str, arguments: &[String], add: Add<'_>) {
    let any = |words: &[&str]| arguments.iter().any(|a| words.contains(&a.as_str()));
    let escalates = match name {
        "su" => !any(&["nobody"]),
        "pkexec" | "visudo" | "nsenter" | "setcap" => true,
        "chmod" => arguments
            .first()
            .is_some_and(|mode| mode.contains("+s") || (mode.len() == 4 && mode.starts_with(['4', '6']))),
        "usermod" | "adduser" | "gpasswd" | "addgroup" => any(&["sudo", "wheel", "docker", "root", "admin"]),
        "useradd" => any(&["-o", "0"]) || arguments.iter().any(|a| a == "-u0"),
        "passwd" => any(&["root"]),
        "docker" | "podman" => arguments
            .iter()
            .any(|a| a == "--privileged" || a.starts_with("/:/") || a.contains("docker.sock") || a == "--pid=host"),
        _ => is_shell(name) && command.is_elevated(),
    };
    let interactive = command.is_elevated() && command.words.iter().any(|w| matches!(w.as_str(), "-i" | "-s"));
    if escalates || interactive {
        add(FindingId::PrivilegeEscalationAttempt, FindingId::PrivilegeEscalationAttempt.registry().1);
    } else if command.is_elevated() {
        add(FindingId::PrivilegeEscalationAttempt, 60);
    }
}

fn infrastructure(name: &str, arguments: &[String], add: Add<'_>) {
    let any = |words: &[&str]| arguments.iter().any(|a| words.contains(&a.as_str()));
    let production = arguments.iter().any(|a| is_production(a));
    let k8s = match name {
        "kubectl" | "oc" | "k" => any(&["delete", "drain"]),
        "helm" => any(&["uninstall", "delete"]),
        _ => false,
    };
    let iac = match name {
        "terraform" | "tofu" | "terragrunt" => any(&["destroy", "-destroy"]),
        "pulumi" | "cdk" | "sam" | "serverless" => any(&["destroy", "remove", "delete"]),
        "aws" | "az" | "gcloud" | "doctl" => {
            arguments.iter().any(|a| a.starts_with("delete") || a.starts_with("terminate") || a == "rb")
        }
        _ => false,
    };
    if k8s {
        let id = if production { FindingId::K8sProdDestruction } else { FindingId::K8sDestruction };
        add(id, id.registry().1);
    }
    if iac {
        let id = if production { FindingId::IacProdDestruction } else { FindingId::IacDestruction };
        add(id, id.registry().1);
    }
    if name == "kubectl" && arguments.iter().any(|a| a.contains("cluster-admin")) {
        add(FindingId::PrivilegeEscalationAttempt, 95);
    }
}

/// `-rf` has `r` and `f`; long options are not sets of letters.
fn is_flag(argument: &str, flag: char) -> bool {
    argument.strip_prefix('-').is_some_and(|flags| !flags.starts_with('-') && flags.len() <= 6 && flags.contains(flag))
}

fn is_encoded_option(argument: &str) -> bool {
    let lower = argument.to_ascii_lowercase();
    lower.len() >= 2 && ("-encodedcommand".starts_with(&lower) && lower.starts_with("-e"))
}

/// A target that takes a whole system or home with it.
fn is_wide(target: &str) -> bool {
    let trimmed = target.trim_end_matches(['/', '*', '.']);
    let system = [
        "", "~", "$HOME", "${HOME}", "/etc", "/usr", "/var", "/home", "/boot", "/bin", "/sbin", "/lib", "/lib64",
        "/root", "/opt", "/srv", "/dev", "/sys", "/data", "/mnt", "c:", "C:",
    ];
    system.contains(&trimmed)
}

fn is_device(target: &str) -> bool {
    target.strip_prefix("/dev/").is_some_and(|device| {
        ["sd", "hd", "vd", "nvme", "xvd", "mmcblk", "disk", "md", "dm-", "mapper/", "mem", "kmem"]
            .iter()
            .any(|d| device.starts_with(d))
    })
}

fn substitutes_download(argument: &str) -> bool {
    argument.contains("$(") && DOWNLOADERS.iter().any(|d| argument.contains(&format!("{d} ")))
}

fn is_upload(name: &str, arguments: &[String]) -> bool {
    match name {
        "curl" => arguments.iter().any(|a| {
            a.starts_with('@')
                || a.contains("=@")
                || a == "-T"
                || a == "-F"
                || a.starts_with("-d")
                || a.starts_with("--data")
                || a.starts_with("--upload")
                || a.contains("$(")
        }),
        "wget" => arguments.iter().any(|a| a.starts_with("--post") || a.contains("$(")),
        _ => true,
    }
}

/// The sensitive place among the command's words and redirected inputs.
fn sensitive_word(command: &Command, paths: &PathPatterns) -> Option<FindingId> {
    let (name, _) = command.name_and_arguments();
    if matches!(name.as_str(), "echo" | "printf" | "grep")
        && command.writes.is_empty()
        && !command.words.iter().skip(1).any(|w| w.starts_with('/'))
    {
        return None;
    }
    command
        .words
        .iter()
        .chain(&command.reads)
        .find_map(|word| paths.sensitive(word.to_ascii_lowercase().replace('\\', "/").as_bytes()))
}
