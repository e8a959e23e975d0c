//! Paths: climbing out of where they belong, and places that hold credentials.

use aegis_core::finding::FindingId;
use aegis_core::pattern::ToolName;
use aho_corasick::AhoCorasick;

use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::role::Role;
use super::words::has_word;

/// Places in a text that are looked at for one kind of path.
const PLACES_MAX: usize = 64;
/// What a place in the middle of prose counts: talking about a file is not reading it.
const MENTION_SCORE: u8 = 40;

/// How a needle must stand in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// As whole segments at the end of the path.
    Last,
    /// As whole segments anywhere.
    Within,
}

use FindingId::{CloudCredentialPath as Cloud, SshCredentialPath as Ssh, SystemSensitivePath as System};
use Stand::{Last, Within};

/// Lower case, segments joined by `/`.
const SENSITIVE: &[(&str, Stand, FindingId)] = &[
    ("etc/shadow", Last, System),
    ("etc/shadow-", Last, System),
    ("etc/passwd", Last, System),
    ("etc/passwd-", Last, System),
    ("etc/gshadow", Last, System),
    ("etc/group", Last, System),
    ("etc/sudoers", Last, System),
    ("etc/sudoers.d", Within, System),
    ("etc/master.passwd", Last, System),
    ("etc/security", Within, System),
    ("etc/ssl/private", Within, System),
    ("etc/krb5.keytab", Last, System),
    ("etc/hosts", Last, System),
    ("etc/issue", Last, System),
    ("etc/fstab", Last, System),
    ("etc/crontab", Last, System),
    ("etc/mysql/my.cnf", Last, System),
    ("etc/mysql/debian.cnf", Last, System),
    ("var/spool/cron", Within, System),
    ("var/log/auth.log", Last, System),
    ("var/log/secure", Last, System),
    ("boot.ini", Last, System),
    ("win.ini", Last, System),
    ("windows/system32/config", Within, System),
    ("windows/repair", Within, System),
    ("windows/system32/drivers/etc/hosts", Last, System),
    ("inetpub/wwwroot/web.config", Last, System),
    ("ntds.dit", Last, System),
    ("unattend.xml", Last, System),
    (".bash_history", Last, System),
    (".zsh_history", Last, System),
    (".mysql_history", Last, System),
    (".psql_history", Last, System),
    (".htpasswd", Last, System),
    (".pgpass", Last, System),
    (".my.cnf", Last, System),
    (".netrc", Last, System),
    (".git-credentials", Last, System),
    (".git/config", Last, System),
    (".vault-token", Last, System),
    ("wp-config.php", Last, System),
    ("config/master.key", Last, System),
    ("config/secrets.yml", Last, System),
    ("web-inf/web.xml", Last, System),
    (".gnupg", Within, System),
    (".password-store", Within, System),
    (".npmrc", Last, Cloud),
    (".pypirc", Last, Cloud),
    (".env", Last, Cloud),
    (".env.local", Last, Cloud),
    (".env.production", Last, Cloud),
    (".env.prod", Last, Cloud),
    (".aws/credentials", Last, Cloud),
    (".aws/config", Last, Cloud),
    (".boto", Last, Cloud),
    (".s3cfg", Last, Cloud),
    (".config/gcloud", Within, Cloud),
    ("application_default_credentials.json", Last, Cloud),
    (".azure", Within, Cloud),
    (".kube/config", Last, Cloud),
    ("etc/kubernetes/admin.conf", Last, Cloud),
    ("var/run/secrets", Within, Cloud),
    ("run/secrets", Within, Cloud),
    (".docker/config.json", Last, Cloud),
    ("terraform.tfstate", Last, Cloud),
    ("terraform.tfvars", Last, Cloud),
    (".ssh", Within, Ssh),
    ("id_rsa", Last, Ssh),
    ("id_dsa", Last, Ssh),
    ("id_ecdsa", Last, Ssh),
    ("id_ed25519", Last, Ssh),
    ("authorized_keys", Last, Ssh),
    ("ssh_host_rsa_key", Last, Ssh),
    ("ssh_host_ed25519_key", Last, Ssh),
];

/// Folders of the system: not secret by themselves, and not what a tool is for.
const SYSTEM_FOLDERS: [&[u8]; 14] = [
    b"/etc/",
    b"/root/",
    b"/proc/",
    b"/boot/",
    b"/var/log/",
    b"/var/lib/",
    b"/var/spool/",
    b"/usr/local/apache",
    b"/opt/bitnami/",
    b"c:/windows/",
    b"c:/winnt/",
    b"c:/inetpub/",
    b"c:/program files",
    b"/program files",
];
/// What a place below them counts.
const SYSTEM_FOLDER_SCORE: u8 = 50;

/// Where a written file gives lasting access.
const PERSISTENT: [&str; 12] = [
    "authorized_keys",
    "/etc/cron",
    "/etc/sudoers",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/systemd/system/",
    "/etc/ld.so.preload",
    "/etc/profile",
    "/.bashrc",
    "/.bash_profile",
    "/.zshrc",
    "/.config/autostart/",
];

const WRITING: [&str; 9] = ["write", "append", "create", "put", "upload", "save", "copy", "move", "edit"];

/// The table of places, compiled.
#[derive(Debug)]
pub(crate) struct PathPatterns {
    places: AhoCorasick,
}

/// How a text holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// It is one: by role, or by its shape.
    Whole,
    /// It stands among other words.
    Prose,
}

impl PathPatterns {
    /// Compiles the table.
    ///
    /// # Panics
    /// Never: the table is a constant and compiled by every test.
    pub(crate) fn new() -> Self {
        let places = AhoCorasick::new(SENSITIVE.iter().map(|(needle, _, _)| needle))
            .unwrap_or_else(|error| panic!("the table of sensitive places does not compile: {error}"));
        Self { places }
    }

    /// Adds what the view says about paths.
    pub(crate) fn scan(&self, tool: &ToolName, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        let text = normalised(&view.lower);
        if !text.contains(&b'/') && !text.contains(&b'.') && !view.overlong {
            return;
        }
        let setting = setting_of(leaf.role, &text);
        if let Some(score) = traversal_score(leaf.role, setting, &text, view) {
            findings.add(FindingId::PathTraversal, score, leaf.pointer);
        }
        if let Some(id) = self.sensitive(&text) {
            let score = if setting == Setting::Whole { id.registry().1 } else { MENTION_SCORE };
            findings.add(id, score, leaf.pointer);
        } else if setting == Setting::Whole
            && leaf.role != Role::Url
            && SYSTEM_FOLDERS.iter().any(|f| text.starts_with(f))
        {
            findings.add(FindingId::SystemSensitivePath, SYSTEM_FOLDER_SCORE, leaf.pointer);
        }
        let writes = setting == Setting::Whole && has_word(tool.as_str(), &WRITING);
        if writes && PERSISTENT.iter().any(|place| contains(&text, place.as_bytes())) {
            findings.add_base(FindingId::CredentialArtifactWrite, leaf.pointer);
        }
    }

    /// The sensitive place that is named in a text: lower case, with forward slashes.
    pub(crate) fn sensitive(&self, text: &[u8]) -> Option<FindingId> {
        let listed = self.places.find_overlapping_iter(text).take(PLACES_MAX).find_map(|found| {
            let (needle, stand, id) = SENSITIVE.get(found.pattern().as_usize())?;
            let starts =
                found.start() == 0 || !is_name_byte(*text.get(found.start() - 1)?) || needle.starts_with("win.ini");
            let next = text.get(found.end());
            let ends = match stand {
                Last => next.is_none_or(|b| !is_name_byte(*b) && *b != b'/'),
                Within => next.is_none_or(|b| !is_name_byte(*b)),
            };
            // A leading dot must begin its segment: `config.env` is not `.env`.
            (starts && ends).then_some(*id)
        });
        listed.or_else(|| is_process_file(text).then_some(System))
    }
}

/// `/proc/<pid>/environ` and its like.
fn is_process_file(text: &[u8]) -> bool {
    let mut rest = text;
    for _ in 0..PLACES_MAX {
        let Some(at) = find(rest, b"proc/") else { return false };
        rest = rest.get(at + 5..).unwrap_or_default();
        let mut segments = rest.split(|b| *b == b'/');
        let process = segments.next().unwrap_or_default();
        let named = process == b"self"
            || process == b"thread-self"
            || (!process.is_empty() && process.iter().all(u8::is_ascii_digit));
        let file = segments.next().unwrap_or_default();
        let secret: [&[u8]; 8] = [b"environ", b"cmdline", b"mem", b"maps", b"fd", b"status", b"root", b"cwd"];
        if named
            && secret.iter().any(|s| file.strip_prefix(*s).is_some_and(|r| r.first().is_none_or(|b| !is_name_byte(*b))))
        {
            return true;
        }
    }
    false
}

fn setting_of(role: Role, text: &[u8]) -> Setting {
    match role {
        Role::Path | Role::Url => Setting::Whole,
        Role::Sql | Role::Shell | Role::Text => {
            let spaces = text.trim_ascii().iter().filter(|b| b.is_ascii_whitespace()).count();
            if spaces == 0 { Setting::Whole } else { Setting::Prose }
        }
    }
}

/// How far the path climbs above where it starts, and how surely that is meant.
fn traversal_score(role: Role, setting: Setting, text: &[u8], view: &View<'_>) -> Option<u8> {
    let nul = text.contains(&0) && setting == Setting::Whole;
    if view.overlong || nul {
        return Some(FindingId::PathTraversal.registry().1);
    }
    if !contains(text, b"..") {
        return None;
    }
    let (climb, most) = climbs(text);
    let score = match (role, setting) {
        (Role::Path | Role::Url, _) if climb >= 1 => 90,
        (Role::Text, Setting::Whole) if climb >= 2 || (climb >= 1 && view.depth > 0) => 90,
        (Role::Text, Setting::Whole) if climb == 1 && !text.contains(&b'(') => 60,
        (Role::Text, Setting::Prose) if most >= 4 => 85,
        (Role::Text, Setting::Prose) if most == 3 => 45,
        _ => return None,
    };
    Some(score)
}

/// How far the path ends or passes above its start; and the longest run of steps up in one go.
fn climbs(text: &[u8]) -> (i64, i64) {
    let (mut level, mut lowest, mut run, mut most) = (0_i64, 0_i64, 0_i64, 0_i64);
    let is_break = |b: &u8| {
        matches!(b, b'/') || b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'=' | b'&' | b'?' | b'(' | b'`')
    };
    let mut rest = text;
    loop {
        let end = rest.iter().position(is_break).unwrap_or(rest.len());
        let (segment, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let plain = segment.split(|b| matches!(b, b';' | 0)).next().unwrap_or_default();
        // `....` is what a filter that removes `../` once leaves of `....//`.
        if plain == b".?"
            || (plain.len() >= 2 && plain.len() <= 4 && plain.len() != 3 && plain.iter().all(|b| *b == b'.'))
        {
            level -= 1;
            run += 1;
        } else if !plain.is_empty() && plain != b"." {
            level += 1;
            run = 0;
        }
        lowest = lowest.min(level);
        most = most.max(run);
        match after.split_first() {
            Some((b'/', tail)) => rest = tail,
            Some((_, tail)) => {
                (level, run, rest) = (0, 0, tail);
            }
            None => return (-lowest, most),
        }
    }
}

/// Forward slashes, `//` and `/./` as one step, control characters gone but for NUL and line ends.
fn normalised(lower: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(lower.len());
    let mut rest = lower;
    while let Some((&first, after)) = rest.split_first() {
        // Slashes spelled out after dots: `..0x2f`, `..0x5c`.
        let spelled = out.ends_with(b".") || out.ends_with(b"?");
        let tail =
            after.strip_prefix(b"x2f").or_else(|| after.strip_prefix(b"x5c")).filter(|_| spelled && first == b'0');
        rest = tail.unwrap_or(after);
        let byte = if first == b'\\' || tail.is_some() { b'/' } else { first };
        if matches!(byte, 0x01..=0x08 | 0x0e..=0x1f) {
            continue;
        }
        if byte == b'/' {
            if out.ends_with(b"/") {
                continue;
            }
            if out.ends_with(b"/.") {
                out.pop();
                continue;
            }
        }
        out.push(byte);
    }
    out
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether the needle is somewhere in the bytes.
pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    find(haystack, needle).is_some()
}

/// Where the needle first is.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbing_is_counted_from_the_start() {
        for (text, climb) in [
            ("../a", 1),
            ("a/../b", 0),
            ("a/../../b", 1),
            ("a/b/../../../etc", 1),
            ("....//....//etc", 2),
            ("..;/..;/x", 2),
            ("version 1..2", 0),
            ("wait... what", 0),
            ("/./../x", 1),
        ] {
            assert_eq!(climbs(&normalised(text.as_bytes())).0, climb, "{text}");
        }
    }

    #[test]
    fn sensitive_places_are_whole_segments() {
        let patterns = PathPatterns::new();
        for (text, id) in [
            ("/etc/shadow", Some(System)),
            ("/etc/shadowing/readme", None),
            ("/srv/netc/passwd", None),
            ("/home/a/.ssh/id_rsa", Some(Ssh)),
            ("id_rsa.pub", None),
            ("/app/.env", Some(Cloud)),
            ("/app/.env.example", None),
            ("/app/config.env", None),
            ("/proc/self/environ", Some(System)),
            ("/proc/17/cmdline", Some(System)),
            ("/proc/cpuinfo", None),
            ("/srv/proc/notes/fd", None),
            ("docs/authorized_keys.md", None),
        ] {
            assert_eq!(patterns.sensitive(text.as_bytes()), id, "{text}");
        }
    }
}
