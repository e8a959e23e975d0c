//! Where a host is: in the own network, a metadata service, a collector of stolen data, or outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use url::Host;

/// Hosts that hand out a machine's credentials.
const METADATA_HOSTS: [&str; 8] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "metadata.azure.com",
    "metadata.azure.internal",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
];
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

const INTERNAL_SUFFIXES: [&str; 12] = [
    ".internal",
    ".local",
    ".localhost",
    ".localdomain",
    ".intranet",
    ".corp",
    ".lan",
    ".home.arpa",
    ".cluster.local",
    ".svc",
    ".consul",
    ".localtest.me",
];
/// Names that answer with the address written in them.
const EMBEDDING_SUFFIXES: [&str; 5] = [".nip.io", ".sslip.io", ".xip.io", ".1u.ms", ".rbndr.us"];
const LOOPBACK_NAMES: [&str; 7] =
    ["localhost", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "yoogle.com", "spoofed.burpcollaborator.net"];

/// Places that take what anyone sends, to be fetched by whoever knows the name.
const EXFIL_HOSTS: [&str; 49] = [
    "webhook.site",
    "requestbin.com",
    "requestbin.net",
    "requestbin.io",
    "pipedream.net",
    "beeceptor.com",
    "hookbin.com",
    "postb.in",
    "requestcatcher.com",
    "request.bin",
    "mockbin.org",
    "mockbin.io",
    "typedwebhook.tools",
    "webhook.cool",
    "pastebin.com",
    "paste.ee",
    "hastebin.com",
    "ghostbin.com",
    "dpaste.com",
    "dpaste.org",
    "rentry.co",
    "controlc.com",
    "termbin.com",
    "ix.io",
    "sprunge.us",
    "0x0.st",
    "transfer.sh",
    "file.io",
    "gofile.io",
    "anonfiles.com",
    "bashupload.com",
    "temp.sh",
    "catbox.moe",
    "tmpfiles.org",
    "uguu.se",
    "oshi.at",
    "ngrok.io",
    "ngrok.app",
    "ngrok-free.app",
    "ngrok.dev",
    "serveo.net",
    "localhost.run",
    "loca.lt",
    "trycloudflare.com",
    "burpcollaborator.net",
    "oastify.com",
    "interact.sh",
    "oast.fun",
    "dnslog.cn",
];

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Hands out credentials of the machine.
    Metadata,
    /// Loopback, private, link-local, or named so.
    Internal,
    /// A name without a dot: resolved by the own network.
    Unqualified,
    /// Collects what anyone sends.
    Collector,
    /// Anywhere else.
    External,
}

/// Whether a word alone names a place: the machine itself, or what hands out its credentials.
pub(super) fn is_bare_place(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    LOOPBACK_NAMES.contains(&lower.as_str()) || METADATA_HOSTS.contains(&lower.as_str())
}

/// Where this host is, however it is written.
pub(super) fn place_of(host: &Host<&str>) -> Place {
    match host {
        Host::Ipv4(v4) => place_of_ip(IpAddr::V4(*v4)),
        Host::Ipv6(v6) => place_of_ip(IpAddr::V6(*v6)),
        Host::Domain(name) => place_of_name(&name.trim_end_matches('.').to_ascii_lowercase()),
    }
}

fn place_of_name(name: &str) -> Place {
    if METADATA_HOSTS.contains(&name) {
        return Place::Metadata;
    }
    let is_below =
        |list: &[&str]| list.iter().any(|s| name == *s || name.strip_suffix(s).is_some_and(|r| r.ends_with('.')));
    if is_below(&LOOPBACK_NAMES) || INTERNAL_SUFFIXES.iter().any(|s| name.ends_with(s)) {
        return Place::Internal;
    }
    if let Some(prefix) = EMBEDDING_SUFFIXES.iter().find_map(|s| name.strip_suffix(s)) {
        return embedded(prefix).map_or(Place::Internal, |ip| place_of_ip(IpAddr::V4(ip)));
    }
    if is_below(&EXFIL_HOSTS) {
        return Place::Collector;
    }
    if name.contains('.') { Place::External } else { Place::Unqualified }
}

/// The IPv4 address at the end of `www.10.0.0.1` or `app-10-0-0-1`.
fn embedded(prefix: &str) -> Option<Ipv4Addr> {
    let mut parts = prefix.rsplit(['.', '-']);
    let (d, c, b, a) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(Ipv4Addr::new(a.parse().ok()?, b.parse().ok()?, c.parse().ok()?, d.parse().ok()?))
}

fn place_of_ip(ip: IpAddr) -> Place {
    let v4 = match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(v6) => inner_v4(v6),
    };
    if let Some(v4) = v4 {
        return place_of_v4(v4);
    }
    let IpAddr::V6(v6) = ip else { return Place::External };
    if METADATA_V6.contains(&v6) {
        Place::Metadata
    } else if v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_unique_local()
        || v6.is_unicast_link_local()
        || v6.is_multicast()
    {
        Place::Internal
    } else {
        Place::External
    }
}

/// The IPv4 address inside a mapped, compatible, 6to4 or NAT64 address.
fn inner_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        _ => None,
    }
}

fn place_of_v4(v4: Ipv4Addr) -> Place {
    let in_net = |a, b, c, d, bits| Ipv4Net::new(Ipv4Addr::new(a, b, c, d), bits).is_ok_and(|n| n.contains(&v4));
    if METADATA_V4.contains(&v4) {
        Place::Metadata
    } else if v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_multicast()
        || in_net(0, 0, 0, 0, 8)
        || in_net(100, 64, 0, 0, 10)
        || in_net(192, 0, 0, 0, 24)
        || in_net(198, 18, 0, 0, 15)
        || in_net(240, 0, 0, 0, 4)
    {
        Place::Internal
    } else {
        Place::External
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn place(url: &str) -> Place {
        place_of(&Url::parse(url).unwrap().host().unwrap())
    }

    #[test]
    fn every_spelling_of_an_inner_address_is_inner() {
        for url in [
            "http://127.0.0.1",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[64:ff9b::a00:1]/",
            "http://[fd12:3456::1]/",
            "http://[fe80::1]/",
            "http://0/",
            "http://10.1.2.3",
            "http://172.20.0.1",
            "http://192.168.1.1",
            "http://100.64.0.9",
            "http://user@example.org@10.0.0.1/",
            "http://localhost",
            "http://LOCALHOST.:80/",
            "http://db.internal",
            "http://api.default.svc.cluster.local",
            "http://10.0.0.1.nip.io",
            "http://app-192-168-0-9.sslip.io",
            "http://①②⑦.⓪.⓪.①/",
            "http://localtest.me",
        ] {
            assert_eq!(place(url), Place::Internal, "{url}");
        }
    }

    #[test]
    fn metadata_services_are_known() {
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[::ffff:169.254.169.254]/",
            "http://metadata.google.internal/",
            "http://100.100.100.200/",
            "http://[fd00:ec2::254]/",
            "http://169.254.169.254.nip.io/",
        ] {
            assert_eq!(place(url), Place::Metadata, "{url}");
        }
    }

    #[test]
    fn the_outside_is_outside() {
        for url in [
            "https://example.org/a?b=http://x",
            "http://8.8.8.8",
            "http://172.32.0.1",
            "http://100.128.0.1",
            "http://[2606:4700::1]/",
        ] {
            assert_eq!(place(url), Place::External, "{url}");
        }
        assert_eq!(place("https://a1b2.webhook.site/x"), Place::Collector);
        assert_eq!(place("https://notwebhook.site/x"), Place::External);
        assert_eq!(place("http://redis:6379/"), Place::Unqualified);
    }
}
