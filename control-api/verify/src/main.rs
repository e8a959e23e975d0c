//! `aegis-verify`: one verdict per claim about a bundle of evidence, and an exit code.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aegis_verify::archive::{Archive, FileMedium};
use aegis_verify::attack;
use aegis_verify::check::{self, Question, RECEIPTS_MAX};
use aegis_verify::log::Presented;
use aegis_verify::note::NOTE_BYTES_MAX;
use aegis_verify::policy::{POLICY_BYTES_MAX, Policy};
use aegis_verify::receipt::{RECEIPT_BYTES_MAX, Receipt};
use aegis_verify::report::{EXIT_INVALID, EXIT_OK, EXIT_USAGE};
use clap::Parser;

/// Verifies a bundle of evidence offline, believing only the trust policy.
///
/// Exit codes: 0 everything holds, 1 invalid, 2 usage, 3 incomplete, 4 fewer witnesses than required, 5 split view.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The bundle, as `POST /audit/export` with format `evidence` gives it.
    bundle: PathBuf,
    /// The trust policy: origin, tenant and keys, from another way than the bundle.
    #[arg(long)]
    policy: PathBuf,
    /// A receipt that must be in the log; may be repeated.
    #[arg(long)]
    receipt: Vec<PathBuf>,
    /// A signed checkpoint kept from earlier or elsewhere that the log must agree with; may be repeated.
    #[arg(long)]
    checkpoint: Vec<PathBuf>,
    /// How many witnesses of the policy must have signed the last checkpoint.
    #[arg(long, default_value_t = 0, value_name = "K")]
    require_witness: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Tampers with the bundle in every known way, and shows by which check each is caught.
    #[arg(long)]
    self_attack: bool,
}

fn main() -> ExitCode {
    // clap's own exit code for a wrong command line is 2 too.
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok((text, code)) => {
            print!("{text}");
            ExitCode::from(code)
        }
        Err(fault) => {
            eprintln!("aegis-verify: {fault}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(String, u8), String> {
    let question = question(arguments)?;
    let medium = FileMedium::open(&arguments.bundle).map_err(|e| told(&arguments.bundle, &e))?;
    // A file that is no archive at all is no bundle to judge.
    let bundle = Archive::open(medium).map_err(|e| told(&arguments.bundle, &e))?;
    if arguments.self_attack {
        let outcome = attack::run(&bundle, &question);
        let text = if arguments.json { format!("{:#}\n", outcome.to_json()) } else { outcome.to_text() };
        return Ok((text, if outcome.all_caught() { EXIT_OK } else { EXIT_INVALID }));
    }
    let report = check::verify(&bundle, &question);
    let text = if arguments.json { format!("{:#}\n", report.to_json()) } else { report.to_text() };
    Ok((text, report.exit_code()))
}

fn question(arguments: &Arguments) -> Result<Question, String> {
    let policy = text(&arguments.policy, POLICY_BYTES_MAX)?;
    let policy = Policy::parse(&policy).map_err(|e| told(&arguments.policy, &e))?;
    if arguments.receipt.len() + arguments.checkpoint.len() > RECEIPTS_MAX {
        return Err(format!("more than {RECEIPTS_MAX} receipts and checkpoints"));
    }
    let mut question = Question { require_witness: arguments.require_witness, ..Question::new(policy) };
    for path in &arguments.receipt {
        let from = path.display().to_string();
        let receipt = Receipt::read(text(path, RECEIPT_BYTES_MAX)?.as_bytes(), &from);
        question.receipts.push(receipt.map_err(|e| told(path, &e))?);
    }
    for path in &arguments.checkpoint {
        let held = Presented::read(text(path, NOTE_BYTES_MAX)?, &path.display().to_string());
        question.held.push(held.ok_or_else(|| told(path, &"not a checkpoint"))?);
    }
    Ok(question)
}

fn text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|e| told(path, &e))?;
    let mut text = String::new();
    file.take(bytes_max as u64 + 1).read_to_string(&mut text).map_err(|e| told(path, &e))?;
    if text.len() > bytes_max { Err(told(path, &"it is too large")) } else { Ok(text) }
}

fn told(path: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("{}: {problem}", path.display())
}
