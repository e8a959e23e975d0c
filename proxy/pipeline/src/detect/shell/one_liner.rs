//! Forms that are known by their whole text: fork bombs, sockets opened by interpreters, decoded scripts.

use aegis_core::finding::FindingId;

/// Adds what the lower-case line is known for.
pub(super) fn judge(lower: &str, add: &mut dyn FnMut(FindingId, u8)) {
    let has = |words: &[&str]| words.iter().all(|w| lower.contains(w));
    let any = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let bare: String = lower.chars().filter(|c| !c.is_whitespace()).take(4_096).collect();
    if bare.contains(":(){:|:&};:") || (bare.contains("(){") && bare.contains('|') && is_fork_bomb(&bare)) {
        add(FindingId::DestructiveShell, 95);
    }
    let connects = any(&["/dev/tcp/", "/dev/udp/"]);
    let pipes_socket = has(&["mkfifo"]) && any(&["nc ", "ncat ", "telnet ", "openssl s_client"]);
    let interpreter = any(&["python", "perl", "ruby", "php", "node", "lua", "awk", "powershell"]);
    let socket = any(&[
        "socket.socket",
        "socket.connect",
        "use socket",
        "tcpsocket",
        "fsockopen",
        "net.connect",
        "require('net')",
        "net.socket",
        "/inet/tcp/",
        "sockets.tcpclient",
        "-rsocket",
    ]);
    let shell = any(&[
        "subprocess",
        "pty.spawn",
        "os.dup2",
        "os.system",
        "/bin/sh",
        "/bin/bash",
        "exec(",
        "exec ",
        "iex",
        "invoke-expression",
        "cmd.exe",
        "spawn(",
    ]);
    if connects || pipes_socket || (interpreter && socket && shell) {
        add(FindingId::ReverseShell, 100);
    }
    let decodes = any(&[
        "base64 -d",
        "base64 --decode",
        "base64 -D",
        "b64decode",
        "frombase64string",
        "base64_decode",
        "fromhex",
        "xxd -r",
        "unhexlify",
        "atob(",
    ]);
    let runs = any(&[
        "eval",
        "exec(",
        "| sh",
        "|sh",
        "| bash",
        "|bash",
        "os.system",
        "iex",
        "bash -c",
        "sh -c",
        "invoke-expression",
    ]);
    if decodes && runs {
        add(FindingId::CodeExecution, 95);
        add(FindingId::ObfuscatedPayload, 60);
    }
    if any(&["stratum+tcp://", "stratum+ssl://", "--donate-level"]) {
        add(FindingId::CodeExecution, 95);
        add(FindingId::CostBomb, 70);
    }
}

/// `f(){f|f&};f` by any name.
fn is_fork_bomb(bare: &str) -> bool {
    let Some((name, body)) = bare.split_once("(){") else { return false };
    let name = name.rsplit(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or("");
    !name.is_empty() && name.len() < 16 && body.starts_with(&format!("{name}|{name}&"))
}
