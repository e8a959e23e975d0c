//! Shapes of commands in values that are no commands.

use aegis_core::finding::FindingId;

use super::super::path::contains;

/// A shape over lower-case bytes.
#[derive(Debug)]
pub(super) struct Shape {
    /// `SEP`, `SURE` and `MAYBE` stand for separators, names that only commands have, and names that are words too.
    pub(super) pattern: &'static str,
    pub(super) weight: u32,
    /// Counts in full only where little else is said.
    pub(super) only_terse: bool,
    /// A finding besides `code_execution`.
    pub(super) also: Option<FindingId>,
}

const fn shape(weight: u32, pattern: &'static str) -> Shape {
    Shape { pattern, weight, only_terse: false, also: None }
}

const fn terse(weight: u32, pattern: &'static str) -> Shape {
    Shape { pattern, weight, only_terse: true, also: None }
}

const fn also(weight: u32, id: FindingId, pattern: &'static str) -> Shape {
    Shape { pattern, weight, only_terse: false, also: Some(id) }
}

const SEPARATORS: &str = r"(?:;|\||&|\n|\r|\x00|\x1a|\$\(|\$\{|\{|%0a|%0d|<\(|>\()[ \t]*(?:sudo )?";
const SURE: &str = r"(?:/?(?:usr/)?(?:local/)?s?bin/[a-z0-9.]+|whoami|uname|ifconfig|ipconfig|netstat|nslookup|wget|curl|nc|ncat|netcat|nc\.traditional|bash|zsh|dash|ksh|chmod|chown|mkfifo|systeminfo|tasklist|powershell|cmd|cmd\.exe|perl|python[23]?|ruby|php|telnet|socat|tftp|xterm|tcpdump|crontab|useradd|nohup|base64|getent|printenv|phpinfo|lynx|dpkg|wmic|certutil|bitsadmin|regsvr32|rundll32|mshta)";
const MAYBE: &str = r"(?:id|ls|cat|ps|pwd|who|echo|sleep|ping6?|dir|type|net|env|set|find|grep|head|tail|more|less|cut|sort|rm|mv|cp|touch|kill|sh|sed|awk|tee|date|host|hostname|dig|ver|uptime|mail|ssh|ftp|reboot|shutdown|printf|which|ip|route|arp|df|du|mount|export|exec|eval|test|timeout|usleep|ls|su|tac|nl|od|dd|file|nice)";

/// The pattern with its names written out.
pub(super) fn expanded(pattern: &str) -> String {
    pattern.replace("SEP", SEPARATORS).replace("SURE", SURE).replace("MAYBE", MAYBE)
}

pub(super) const INJECTED: &[Shape] = &[
    terse(70, r"SEPSURE\b"),
    shape(85, r#"SEPSURE(?:[ \t]+(?:-|/|https?:|\$|['"\\]|\d|%)|[ \t]*(?:$|[;|&#`"')>}\x00\n]))"#),
    terse(
        85,
        r#"SEP(?:id|ls|ps|pwd|dir|sh|ver|cat|echo|env|set|reboot|hostname|uptime)[ \t]*(?:$|[&#`)>\x00}\n]|;[ \t]*(?:$|[^a-z0-9 ])|['"])"#,
    ),
    shape(
        85,
        r#"SEPMAYBE[ \t]+(?:-{1,2}[a-z]|/[a-z?*]|\.\.?/|~/|\$[a-z({]|\d+[ \t]*(?:$|[;&|#`)'"])|\*|c:|%[a-z]|>|&\d|127\.|localhost|\\|<)"#,
    ),
    terse(
        75,
        r"(?:\$\(|`|\n|;|\|\||&&)[ \t]*(?:id|ls|cat|ps|pwd|echo|sleep|ping|dir|rm|cp|mv|touch|sh|sed|awk|tee|printf|which|grep|ssh|eval|dig|kill)[ \t]+[a-z0-9'\x22$]",
    ),
    terse(45, r"^[ \t]*(?:;|&&|\|\||&|\n|`|\$\()[ \t]*[a-z/.$({'\x22]"),
    terse(45, r"^[ \t]*\|[ \t]*[a-z/.$({'\x22][^|]*$"),
    terse(
        70,
        r"(?:^|[;|&'\x22`{$@\n] ?)(?:system|exec|eval|passthru|shell_exec|popen|proc_open|phpversion|phpinfo)[ \t]*\(",
    ),
    shape(80, r"\$\{@?[a-z_]{2,20}\(|\{\$\{"),
    shape(
        80,
        r"\bdir[ +]+[c-z]:|\btype[ +]+(?:[c-z]:\\|%[a-z]+%)|^net (?:user|view|localgroup|share|use|start|stop)\b|^netsh [a-z]+|^reg (?:add|query|delete|save) |^(?:ipconfig|systeminfo|tasklist|wmic|schtasks|vssadmin)(?: [/a-z]|$)",
    ),
    terse(60, r"^['\x22]? ?(?:whoami|ifconfig|ipconfig|netstat|systeminfo|sleep \d+|uname)['\x22;]?$"),
    shape(80, r"\\[nr](?:/?(?:usr/)?s?bin/[a-z]+|SURE\b|id\b|ls\b|cat )"),
    shape(
        85,
        r"\b(?:cat|type|more|less|head|tail|nl|tac|strings|od|xxd|base64|grep|cp|vi|awk|sed|rev)\b[^a-z\n]{1,6}(?:/(?:etc|proc|root|var/log|home)/|c:\\|%systemroot|\.\./)",
    ),
    shape(90, r"\$\{?ifs\b"),
    shape(85, r"\{MAYBE,|\{SURE,"),
    also(95, FindingId::ReverseShell, r"/dev/(?:tcp|udp)/"),
    also(95, FindingId::ReverseShell, r"\bn(?:et)?c(?:at)?\b[^\n]{0,60}[ \t]-[a-z]{0,4}[ec]\b|\bbash -i\b|\bsh -i\b"),
    shape(95, r"\b(?:curl|wget)\b[^|;&\n]{1,300}(?:\||;|&&)[ \t]*(?:sudo )?(?:ba|z|da|k)?sh\b"),
    shape(80, r"\bcmd(?:\.exe)?[ \t]*/c\b|\bpowershell(?:\.exe)?[ \t]+-"),
    shape(60, r"\b2>&1\b|>[ \t]*/(?:dev/null|tmp/|var/)"),
    shape(85, r"(?:;|\||&)[ \t]*(?:system|exec|passthru|shell_exec|popen|eval)[ \t]*\("),
    terse(75, r"`[^`]{1,200}`"),
    terse(80, r"`[ \t]*(?:SURE|MAYBE)\b"),
    shape(60, r"\$\{[^}]{0,40}[:#%/][^}]{0,40}\}.*\$\{|\$\(\(|\$'\\x"),
    shape(
        70,
        r"(?:^|[;|&\n])[ \t]*[a-z_]{1,12}=\S{0,80};[ \t]*\$|\$\w+[ \t]*;[ \t]*$|[a-z]['\x22]{2}[a-z]|[a-z]\\[a-z]\\[a-z]|[a-z]\$@[a-z]",
    ),
    terse(
        60,
        r"^[ \t]*(?:uname|ifconfig|netstat|whoami|nslookup|wget|curl|chmod|tcpdump|which|ping|nc|cat|ls|perl|python)[ \t]+(?:-|/|['\x22]|[a-z.]+$)",
    ),
];

/// Whether a value has anything that a shell needs to break out.
pub(super) fn is_suspicious(lower: &[u8]) -> bool {
    lower.iter().any(|b| matches!(b, b';' | b'|' | b'&' | b'`' | b'$' | b'\n' | b'\r' | b'{' | b'>' | 0))
        || [
            &b"cat "[..],
            b"/bin/",
            b"/etc/",
            b"/dev/",
            b"uname",
            b"whoami",
            b"cmd",
            b"wget ",
            b"curl ",
            b"powershell",
            b"ping ",
            b"which ",
            b"ls ",
            b"perl ",
            b"python",
            b"ipconfig",
            b"ifconfig",
            b"netstat",
            b"systeminfo",
            b"net ",
            b"netsh ",
            b"dir ",
            b"reg ",
            b"sleep ",
            b"system(",
            b"exec(",
            b"eval(",
            b"\\n",
        ]
        .iter()
        .any(|word| contains(lower, word))
}

/// Whether the text is too short to be prose.
pub(super) fn is_terse(lower: &[u8]) -> bool {
    const WORDS_TERSE_MAX: usize = 7;
    const BYTES_TERSE_MAX: usize = 160;
    lower.len() <= BYTES_TERSE_MAX
        && lower.split(u8::is_ascii_whitespace).filter(|w| w.iter().any(u8::is_ascii_alphabetic)).count()
            <= WORDS_TERSE_MAX
        && !has_stop_word(lower)
}

/// Whether the text begins like a command and reads like no sentence.
pub(super) fn is_bare_command(lower: &[u8]) -> bool {
    const NAMES: [&[u8]; 40] = [
        b"rm",
        b"cat",
        b"curl",
        b"wget",
        b"bash",
        b"sh",
        b"nc",
        b"ncat",
        b"netcat",
        b"python",
        b"python3",
        b"perl",
        b"ruby",
        b"php",
        b"dd",
        b"mkfs",
        b"mkfs.ext4",
        b"chmod",
        b"chown",
        b"sudo",
        b"su",
        b"kubectl",
        b"terraform",
        b"helm",
        b"eval",
        b"echo",
        b"find",
        b"tar",
        b"scp",
        b"rsync",
        b"powershell",
        b"socat",
        b"shred",
        b"wipefs",
        b"base64",
        b"docker",
        b"aws",
        b"gcloud",
        b"crontab",
        b"systemctl",
    ];
    let mut words =
        lower.split(|b| b.is_ascii_whitespace() || matches!(b, b';' | b'|' | b'&')).filter(|w| !w.is_empty());
    let first = words.next().unwrap_or_default();
    let name = first.rsplit(|b| *b == b'/').next().unwrap_or_default();
    NAMES.contains(&name) && words.next().is_some() && !has_stop_word(lower)
}

/// Words of sentences, not of command lines.
fn has_stop_word(lower: &[u8]) -> bool {
    const STOP_WORDS: [&[u8]; 22] = [
        b"the", b"is", b"are", b"was", b"a", b"an", b"and", b"of", b"to", b"for", b"with", b"that", b"this", b"we",
        b"you", b"i", b"please", b"how", b"why", b"what", b"can", b"should",
    ];
    lower.split(u8::is_ascii_whitespace).any(|word| STOP_WORDS.contains(&word))
}
