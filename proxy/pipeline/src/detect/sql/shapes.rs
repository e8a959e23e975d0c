//! Shapes of SQL in text that is not parsed: weighed, never decisive by one common word.

use aegis_core::finding::FindingId;

use super::super::findings::Findings;
use super::super::path::contains;

/// A shape of injected SQL over normalised text.
#[derive(Debug)]
pub(super) struct Shape {
    /// What, as a regular expression over normalised bytes.
    pub(super) pattern: &'static str,
    /// How much it says alone, 0–95.
    pub(super) weight: u32,
    /// Counts only where a kind of quote stands an odd number of times.
    pub(super) only_odd: bool,
}

/// A shape of a statement that no parser took.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) pattern: &'static str,
    pub(super) id: FindingId,
    pub(super) weight: u8,
    /// Counts only where no predicate follows.
    pub(super) only_whole: bool,
}

/// What a closing quote followed by a comment at the end counts.
pub(super) const OPEN_QUOTE_WEIGHT: u32 = 80;
/// What comments between keywords add.
pub(super) const HIDDEN_WEIGHT: u32 = 30;

const fn shape(weight: u32, pattern: &'static str) -> Shape {
    Shape { pattern, weight, only_odd: false }
}

const fn odd(weight: u32, pattern: &'static str) -> Shape {
    Shape { pattern, weight, only_odd: true }
}

/// White space is one blank and comments are gone; `q` stands for no letter here, all is lower case.
pub(super) const INJECTED: &[Shape] = &[
    // A second select.
    shape(90, r"\bunion[ (]+(all|distinct|distinctrow)?[ (]*select\b"),
    shape(60, r"\bunion[ (]+(all )?[ (]*(values|table)\b ?[(a-z]"),
    shape(70, r"\b(except|intersect|minus) (all )?\(?select\b.*\bfrom\b"),
    // Tautologies of constants.
    shape(
        85,
        r#"(\bor|\|\||\band|&&|\bhaving|\bwhere|\bxor)[ (!~+-]*['"]?\d+['"]? ?(=|<=>|<>|!=|<|>|like|rlike|regexp|is|in|between)[ (]*['"]?\d"#,
    ),
    shape(
        85,
        r"(\bor|\|\||\band|&&|\bhaving|\bwhere|\bxor)[ (!~+]*'[^' ]{0,20}' ?(=|<=>|<>|!=|<|>|like |rlike |regexp |in ?\(|between |is )",
    ),
    shape(
        80,
        r#"["')][ )]*(or|\|\||and|&&|xor)[ (!~+]*"[^" ]{0,20}" ?(=|<=>|<>|!=|<|>|like |rlike |regexp |in ?\(|between )"#,
    ),
    shape(
        80,
        r#"['")][ );]*(or|\|\||and|&&|xor|having|where|rlike|regexp)[ (!~+-]+[a-z0-9_.@]+['"]? ?(=|<=>|<>|!=|<|>|like ?['"(%]|rlike ?['"(]|in ?\(|between ?['"\d]|is (not )?null)"#,
    ),
    shape(85, r#"(^| |['")\d])(or|\|\||and|&&|xor)[ (!~+-]+(not )?(true|false|null|'\w*'?)[ )]*(--|#|/\*|;|$).{0,3}$"#),
    shape(
        80,
        r#"['")][ )]*(or|\|\||and|&&|xor|div|mod)[ (!~+-]*(not )?(true|false|null|\d+|'\w*|"\w*)[ )]*(--|#|/\*|;|$|limit\b|union\b)"#,
    ),
    shape(80, r"(^|[ \d')])(or|\|\||and|&&|xor)[ (!~+-]+\d+[ )]*(--|#|/\*|; ?$)"),
    shape(75, r#"^[ '")\d]*(or|and|\|\||&&) \(?[a-z_]{1,20} ?(=|like|>|<|is) ?[a-z'"_]\S{0,20} ?(--|#|/\*|;|$)"#),
    shape(75, r#"['"] ?(or|and|xor|\|\||&&) ?(''|""|\()"#),
    shape(85, r#"\b(or|and|having|where|xor) ?\(?(\d+|'[^']*'|"[^"]*") ?(=|like) ?\(?(\d+|'[^']*|"[^"]*)"#),
    odd(75, r#"['")] ?(=|<>|!=|<=>|<|>|\^|\*|%|\+|-|\|) ?['"(0]"#),
    shape(75, r#"^[^'"]{0,20}['"] ?(=|<>|!=|<=>|>=|<=|\^|\*|%|\+|-|\||&|like|in|is|mod|div) ?['"][^'"]{0,10}$"#),
    shape(70, r#"^[^ ]*['"][ )]*(like|rlike|regexp|in|between|is|<=>|div|mod)[ (]+['"%(\d]"#),
    // A further statement.
    shape(
        95,
        r#"(^|[;'"\d)]) ?;? ?\b(drop (table|database|schema|user|view|index|procedure|function|role|column)|truncate table) ?[\w`"\[.]+ ?(;|--|#|/\*|$|cascade|if )"#,
    ),
    shape(
        95,
        r"; ?(drop (table|database|schema|user|view|index|procedure|function|role|login)|delete from|insert into \S+|update \S+ set|alter (table|user|database|role|login)|create (table|user|login|role|function|procedure|database|or replace|view|trigger)|truncate (table )?\w|exec(ute)?[ (]+(master|xp_|sp_|immediate|\(|@|')|declare ?@|shutdown\b|waitfor delay|grant \w+|copy \w+|select .*(from|\(|@@|into))",
    ),
    shape(
        75,
        r#"(^\d+|['")]) ?; ?(load|do|select|drop|delete|insert|update|alter|create|truncate|exec|execute|declare|shutdown|waitfor|grant|begin|call|copy|merge|set|if|rollback|commit)\b"#,
    ),
    shape(85, r"\b(exec|execute)[ (]+(master\.|master\.\.|\.\.|xp_|sp_|@|immediate|\(? ?@|')"),
    shape(85, r"\bdeclare ?@\w+ (as )?(n?varchar|n?char|int|cursor|table|varbinary)"),
    shape(70, r"\bexec ?\( ?@?\w+ ?\)|\bshutdown (with nowait)|; ?shutdown\b|^shutdown ?(--|;|#)"),
    // A comment after what closes the value.
    odd(80, r#"^[^'"]*['"][ )]*(--|#|;--|;%00|;? ?/\*).{0,12}$"#),
    shape(70, r"\d ?\)+ ?(--|#|/\*|;--)|^ ?\)+ ?(--|#|/\*|;)"),
    shape(45, r"\w(--|--\+|-- |#|/\*|;%00)$"),
    // Sorting, grouping and limits that probe the number of columns.
    shape(75, r#"(^|['")\d]) ?\)* ?(order|group) by \(?\d+( ?, ?\d+)*\)? ?(--|#|/\*|;|%23|\+|$)"#),
    shape(70, r#"['")\d] ?\)* ?(order|group) by [\w.]+ ?(--|#|/\*|asc|desc|having|$)"#),
    shape(85, r"\bprocedure analyse ?\(|\blimit \d+ ?(,|offset) ?\d+ ?(--|#|/\*|into|union|procedure)"),
    shape(60, r"\bhaving \(?\w+\)? ?(=|<|>)"),
    // Waiting tells true from false.
    shape(90, r#"(['"()|&,;=!~+*/ -]|^|and|or|select|then|else)(sleep|benchmark|pg_sleep) ?\( ?[\d('"]"#),
    shape(80, r#"(\bor|\band|\)|;|'|,|"|\|\||&&) ?\(?(sleep|benchmark|pg_sleep) ?\("#),
    shape(90, r"waitfor (delay|time)\b|dbms_pipe\.receive_message|dbms_lock\.sleep|\brandomblob ?\( ?\d{4}"),
    // Subqueries and blind probes.
    shape(
        85,
        r"(\b(and|or|where|having|xor|rlike|then|else|when|not)|\|\||&&|[=<>+*/^,-]) ?\(+ ?(not )?(exists ?)?\(*select\b",
    ),
    shape(75, r"\( ?select\b.*(\bfrom\b|@@|\bconcat|\bcount|\bchar\(|\bcase\b|\bif\(|\d ?\)|user|version|top \d)"),
    shape(
        60,
        r"^ ?\(? ?select (top|distinct|\*|@@|count|concat|char\(|\d|null|user|version|name|case|if\(|load_file|sleep)",
    ),
    shape(
        60,
        r"\bselect\b ?['(]*(@@|null\b|\d+ ?,|char ?\(|concat|user ?\(|version|database ?\(|group_concat|load_file|password|pg_sleep|sleep)",
    ),
    shape(65, r"\bselect [\w.*, ()@`']{1,120} from [\w.`\[]+ ?(where|--|#|/\*|limit|;|order|group|\))"),
    shape(
        70,
        r"\b(and|or) (not )?(exists|isnull|ascii|ord|hex|mid|substr|substring|length|len|if|iif|nullif|char|bin|elt|make_set|row|least|greatest|extractvalue|updatexml|json_keys|gtid_subset|rlike|updatexml|unicode|db_name|is_srvrolemember|convert|cast|polygon|floor|count|ctxsys|utl_inaddr) ?\(",
    ),
    shape(
        80,
        r"\b(ascii|ord|hex|unicode|bitand|length|len) ?\( ?(lower ?\( ?)?\(?(mid|substr|substring|left|right|user|database|version|select|@@)",
    ),
    shape(
        60,
        r"\b(substr|substring|mid|left|right) ?\( ?\(?(select|@@|user|version|database|password|current_user|banner)",
    ),
    shape(
        75,
        r"\b(extractvalue|updatexml|xmltype|name_const|json_keys|gtid_subset|geometrycollection|linestring|multipoint|polygon|st_latfromgeohash) ?\( ?['\d(s]",
    ),
    shape(75, r"\bcase when\b.*\bthen\b.*(\belse\b|\bend\b)"),
    shape(70, r"\b(convert|cast) ?\( ?(int|\(select|@@|user|char|\w+ as (int|char|numeric|varchar|nvarchar))"),
    shape(60, r"\b(if|iif) ?\( ?[^,]*(=|<|>|like)[^,]*,[^,]*,"),
    // Functions and names that only databases have.
    shape(
        70,
        r"\b(group_concat|concat_ws|concat) ?\( ?(0x|char|'|@@|user|version|table_name|column_name|\(select|database|schema_name|distinct)",
    ),
    shape(70, r"\b(char|chr|nchar) ?\( ?\d{1,3} ?(,|\) ?(\+|\|\||&|,|=|--))"),
    shape(
        65,
        r"@@(version|hostname|datadir|basedir|servername|global|tmpdir|language|spid|rowcount|user|version_compile_os)",
    ),
    shape(
        60,
        r"\b(information_schema\b|sysobjects\b|syscolumns\b|sysdatabases\b|sysusers\b|pg_catalog\b|mysql\.user|sqlite_master|all_tables|all_tab_columns|user_tables|user_tab_columns|dba_users|sys\.(tables|objects|databases)|master\.\.|master\.dbo|pg_shadow|msysaccessobjects|msysobjects|systables|syscat\.|sysibm\.|rdb\$|v\$version)",
    ),
    shape(
        85,
        r"\binto (outfile|dumpfile)\b|\bload_file ?\(|\bload data (local )?infile\b|\bxp_cmdshell\b|\bxp_(dirtree|regread|fileexist|subdirs|availablemedia|loginconfig)\b|\bsp_(password|oacreate|makewebtask|addextendedproc|executesql|addlogin|addsrvrolemember|start_job)\b|\butl_(http|inaddr|smtp|file)\b|\bopenrowset ?\(|\bopendatasource ?\(|\bload_extension ?\(",
    ),
    shape(
        60,
        r"\b(user|version|database|current_user|session_user|system_user|schema|db_name|current_database|current_schema|sqlite_version|last_insert_id|connection_id|host_name|suser_name|pg_user) ?\( ?\)",
    ),
    shape(40, r"\b0x[0-9a-f]{6,}"),
    shape(60, r"=0x[0-9a-f]{4,}|\(0x[0-9a-f]{2,}|,0x[0-9a-f]{2,}"),
    shape(60, r"'[ )]*(\|\||\+)[ (]*(select|user|version|chr|char|current|cast|utl|'[^']{0,10}')"),
    shape(60, r"\bnull ?(, ?null ?){1,}"),
    shape(60, r"\bcollate \w*_\w+|\bregexp ?binary|\brlike ?\(|\bsounds like\b"),
    shape(55, r#"['"] ?\|\| ?['"(]|'' ?(or|and|union|;|--)|^'[ )]*(;|--|#|$)"#),
    shape(60, r"/\*!\d{0,6}"),
    shape(45, r"\binsert into\b.*\b(values|select)\b|\bdelete from \w+ where\b|\bupdate \w+ set \w+ ?="),
    shape(50, r"\b(drop|alter|create) (table|database|user|view|procedure|login|function) [\w.`\[\]]+"),
];

/// Statements that need no parser to be understood.
pub(super) const UNPARSED: &[Statement] = &[
    Statement {
        pattern: r"(^|; ?)(drop (table|database|schema|warehouse)|truncate (table )?\w)",
        id: FindingId::DestructiveSql,
        weight: 95,
        only_whole: false,
    },
    Statement {
        pattern: r"(^|; ?)alter table .*\bdrop (column|partition)?",
        id: FindingId::DestructiveSql,
        weight: 80,
        only_whole: false,
    },
    Statement {
        pattern: r"(^|; ?)drop (view|index|function|procedure|trigger|sequence|type|user|role)",
        id: FindingId::DestructiveSql,
        weight: 60,
        only_whole: false,
    },
    Statement {
        pattern: r"(^|; ?)(delete from [^ ;]+|update [^ ;]+ set )",
        id: FindingId::UnguardedMutation,
        weight: 90,
        only_whole: true,
    },
    Statement {
        pattern: r"(^|; ?)(grant .* to |create (user|role|login) |alter (user|role|login) )",
        id: FindingId::PrivilegeEscalationAttempt,
        weight: 70,
        only_whole: false,
    },
    Statement {
        pattern: r"\b(or|and) (\d+|'[^']*') ?= ?(\d+|'[^']*)|\bunion (all )?select\b.*(null|@@|information_schema|password|0x)",
        id: FindingId::SqlInjection,
        weight: 85,
        only_whole: false,
    },
    Statement {
        pattern: r"\bwaitfor delay\b|\b(pg_)?sleep ?\( ?\d|\bbenchmark ?\(",
        id: FindingId::SqlInjection,
        weight: 80,
        only_whole: false,
    },
    Statement {
        pattern: r"(^|; ?)(attach (database )?'|load '|install '?\w)",
        id: FindingId::DataExfiltration,
        weight: 70,
        only_whole: false,
    },
    Statement {
        pattern: r"\bcopy .* (to|from) program\b",
        id: FindingId::CodeExecution,
        weight: 95,
        only_whole: false,
    },
    Statement {
        pattern: r"\binformation_schema\b|\bsqlite_master\b|\bpg_catalog\b|^(show|describe|desc) ",
        id: FindingId::SchemaRecon,
        weight: 10,
        only_whole: false,
    },
];

/// Words that reach beyond the database wherever they stand in a statement.
pub(super) const REACHING_OUT: &[(&str, FindingId, u8)] = &[
    ("into outfile", FindingId::DataExfiltration, 95),
    ("into dumpfile", FindingId::DataExfiltration, 95),
    ("load_file(", FindingId::DataExfiltration, 85),
    ("load data infile", FindingId::DataExfiltration, 80),
    ("load data local infile", FindingId::DataExfiltration, 80),
    ("pg_read_file(", FindingId::DataExfiltration, 90),
    ("xp_cmdshell", FindingId::CodeExecution, 95),
    ("sp_oacreate", FindingId::CodeExecution, 95),
    ("sys_exec(", FindingId::CodeExecution, 95),
    ("load_extension(", FindingId::CodeExecution, 95),
    ("to program '", FindingId::CodeExecution, 95),
    ("from program '", FindingId::CodeExecution, 95),
];

/// A text with white space, comments and form encoding evened out.
#[derive(Debug)]
pub(super) struct Normalised {
    pub(super) text: Vec<u8>,
    /// Comments stood where blanks belong.
    pub(super) hidden: bool,
    /// How many comments there were.
    pub(super) comments: usize,
}

/// One blank for any white space, comment or control character; `MySQL`'s conditional comments keep their content.
pub(super) fn normalised(lower: &[u8]) -> Normalised {
    let form = !lower.contains(&b' ') && lower.contains(&b'+');
    let mut out: Vec<u8> = Vec::with_capacity(lower.len());
    let (mut hidden, mut comments, mut at) = (false, 0, 0);
    let mut conditional = 0_usize;
    while let Some(&byte) = lower.get(at) {
        let rest = lower.get(at..).unwrap_or_default();
        if rest.starts_with(b"/*!") {
            let digits = rest.iter().skip(3).take_while(|b| b.is_ascii_digit()).count();
            (hidden, conditional, comments) = (true, conditional + 1, comments + 1);
            at += 3 + digits;
            blank(&mut out);
        } else if rest.starts_with(b"*/") && conditional > 0 {
            conditional -= 1;
            at += 2;
            blank(&mut out);
        } else if let Some(length) = rest.starts_with(b"/*").then(|| comment_end(rest)).flatten() {
            hidden |= out.last().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'\'' | b'"' | b')'));
            comments += 1;
            at += length;
            blank(&mut out);
        } else if byte.is_ascii_whitespace() || byte < 0x20 || byte == 0x7f || (form && byte == b'+') {
            at += 1;
            blank(&mut out);
        } else {
            out.push(byte);
            at += 1;
        }
    }
    while out.last() == Some(&b' ') {
        out.pop();
    }
    Normalised { text: out, hidden, comments }
}

fn blank(out: &mut Vec<u8>) {
    if !out.is_empty() && out.last() != Some(&b' ') {
        out.push(b' ');
    }
}

/// Length of a comment that ends; one that does not is the tail of an injection and stays.
fn comment_end(text: &[u8]) -> Option<usize> {
    // A window keeps many unclosed openings from being searched to the end each.
    const COMMENT_BYTES_MAX: usize = 512;
    let body = text.get(2..text.len().min(COMMENT_BYTES_MAX))?;
    super::super::path::find(body, b"*/").map(|end| end + 4)
}

/// Whether a text has anything that SQL needs to break out: cheap, and no more than that.
pub(super) fn is_suspicious(lower: &[u8]) -> bool {
    lower.len() > 2
        && (lower.iter().any(|b| matches!(b, b'\'' | b'"' | b';' | b'#' | b'(' | b'=' | b'@' | b'`'))
            || [
                &b"--"[..],
                b"/*",
                b"select",
                b"union",
                b" or ",
                b" by ",
                b"||",
                b"having",
                b"0x",
                b"waitfor",
                b"drop ",
                b"shutdown",
                b"like",
                b"exec",
                b"+or+",
                b" null",
            ]
            .iter()
            .any(|word| contains(lower, word)))
}

/// Whether single or double quotes do not pair up.
pub(super) fn has_odd_quotes(text: &[u8]) -> bool {
    let odd = |quote: u8| memchr::memchr_iter(quote, text).count() % 2 == 1;
    odd(b'\'') || odd(b'"')
}

/// An odd quote that a comment at the very end makes whole again: `admin'--`.
pub(super) fn leaves_a_quote_open(text: &[u8]) -> bool {
    const QUOTED_BYTES_MAX: usize = 2_048;
    let text = text.get(..QUOTED_BYTES_MAX).unwrap_or(text);
    let trimmed = text.trim_ascii_end();
    let ends = [&b"--"[..], b"-- -", b"--+", b"#", b"/*", b"--%20", b";%00"].iter().any(|end| trimmed.ends_with(end));
    ends && has_odd_quotes(text)
}

/// Whether a mutation that could not be parsed has no predicate, or one of constants.
pub(super) fn is_unguarded(text: &[u8]) -> bool {
    let Some(at) = super::super::path::find(text, b" where ") else { return true };
    let predicate = text.get(at + 7..).unwrap_or_default();
    [&b"1=1"[..], b"1 = 1", b"true", b"'a'='a'", b"'1'='1'", b"1"].iter().any(|p| {
        predicate
            .strip_prefix(*p)
            .is_some_and(|rest| rest.trim_ascii().is_empty() || rest.trim_ascii().starts_with(b";"))
    })
}

/// Adds what comments in a statement hide.
pub(super) fn comments(lower: &[u8], plain: &Normalised, pointer: &str, findings: &mut Findings) {
    const SPLITTING_COMMENTS: usize = 4;
    let split = plain.hidden && plain.comments >= SPLITTING_COMMENTS && contains(lower, b"/**/");
    if split || contains(lower, b"/*!") {
        findings.add(FindingId::ObfuscatedPayload, 60, pointer);
    }
    // The rest of the original statement, cut off by what was put in: `name = 'admin' -- ' and password = '…'`.
    if let Some(at) = super::super::path::find(&plain.text, b"--") {
        let tail = plain.text.get(at + 2..).unwrap_or_default();
        let quotes = memchr::memchr_iter(b'\'', tail).count();
        if quotes % 2 == 1 && (contains(tail, b" and ") || contains(tail, b" or ")) {
            findings.add(FindingId::SqlInjection, 85, pointer);
        }
    }
}
