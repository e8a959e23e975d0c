//! Writes a bundle of synthetic entries and verifies it, with the time both took: `million [entries] [batch]`.

use std::io::BufWriter;

use aegis_core::time::{Clock as _, SystemClock};
use aegis_verify::archive::{Archive, FileMedium};
use aegis_verify::check::{Question, verify};
use aegis_verify::policy::Policy;
use aegis_verify::testing;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |n| n.parse().expect("a number"));
    let (entries, batch) = (number(1_000_000), number(64));
    let clock = SystemClock::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let began = clock.monotonic();
    testing::sample(BufWriter::new(file.as_file()), entries, batch);
    let bytes = file.as_file().metadata().expect("its size").len();
    println!(
        "wrote {entries} calls, {batch} a signature: {} MB, {:.1?}",
        bytes / 1_000_000,
        clock.monotonic().since(began)
    );
    let archive = Archive::open(FileMedium::open(file.path()).expect("the file")).expect("an archive");
    let question = Question::new(Policy::parse(&testing::policy()).expect("a policy"));
    let began = clock.monotonic();
    let report = verify(&archive, &question);
    let took = clock.monotonic().since(began);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    print!("{}", report.to_text());
    println!("verified in {took:.1?}, exit {}, {peak}", report.exit_code());
}
