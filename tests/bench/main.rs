//! The figures that airplanes stands for, each beside its peer: `scripts/bench [a|b|c|d|e|f|g|h …] [--quick]`.
//!
//! A figure of one machine says little, so what is judged is a ratio: ours and the peer's are measured in turns within
//! one run, and the ratio is the median of the turns' ratios. `door` is (a), `journey` (b), `reader` (c), `keeping` (d),
//! `plan` (e), `heads` (f), `waves` (g) and `fleet` (h); each gives rows of one table on stdout, and the exit code is 0 only if every
//! target is met. What is under way is told on stderr.
//!
//! Must never talk to anything but loopback and the lab's hosts, nor leave a process or a file behind.

mod door;
mod fleet;
mod heads;
mod journey;
mod keeping;
mod limit;
mod load;
mod machine;
mod plan;
mod push;
mod reader;
mod script;
mod stats;
#[allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "it is the tests', where a fault is a panic")]
#[path = "../it/support/mod.rs"]
mod support;
mod table;
mod waves;
mod webhook;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use table::Table;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it: about ten minutes.
    Full,
    /// Fewer and shorter turns: about three minutes, for a look while working.
    Quick,
}

impl Extent {
    /// One of two values.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// A measurement: it adds its rows to the table.
struct Part {
    letter: &'static str,
    what: &'static str,
    measure: fn(Extent, &mut Table) -> Result<()>,
}

/// The measurements.
const PARTS: [Part; 8] = [
    Part {
        letter: "a",
        what: "a signed push to its durable 202: requests a second, beside Debian's webhook and a bare hyper server",
        measure: door::measure,
    },
    Part {
        letter: "b",
        what: "a push until it is live on a host over ssh, beside a shell script of the same commands",
        measure: journey::measure,
    },
    Part { letter: "c", what: "scan and edit of the corpus, beside Clojure's reader", measure: reader::measure },
    Part {
        letter: "d",
        what: "idle memory, start, size, and 50 pushes a second beside two builds that take all they get",
        measure: keeping::measure,
    },
    Part { letter: "e", what: "a push to its plan among 10,000 apps, their start and memory", measure: plan::measure },
    Part {
        letter: "f",
        what: "the heads of 200 dependencies in 60 repositories, beside xargs and git ls-remote",
        measure: heads::measure,
    },
    Part {
        letter: "g",
        what: "a push through a plan of 12 apps over ssh, beside its longest chain done by hand",
        measure: waves::measure,
    },
    Part {
        letter: "h",
        what: "a commit to 10 and to 30 hosts with systemd, beside clush and ansible; only as root, where there can be a lab",
        measure: fleet::measure,
    },
];

fn usage() -> String {
    let parts: String = PARTS.iter().map(|part| format!("  {}  {}\n", part.letter, part.what)).collect();
    format!(
        "usage: scripts/bench [a|b|c|d|e|f|g|h …] [--quick]\n\n{parts}\nAll of them without a letter. --quick measures less, in about \
         three minutes. Exit code 0: every target is met."
    )
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every target was met.
fn run(args: Vec<String>) -> Result<bool> {
    let (mut extent, mut wanted) = (Extent::Full, Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // This program as the bare server of (a).
            "--serve-limit" => return limit::serve(&args.next().context("a file to append to")?).map(|()| true),
            // cargo says this to every bench.
            "--bench" => {}
            "--quick" => extent = Extent::Quick,
            "-h" | "--help" => {
                println!("{}", usage());
                return Ok(true);
            }
            letter if PARTS.iter().any(|part| part.letter == letter) => wanted.push(letter.to_owned()),
            other => bail!("`{other}` is none of its arguments\n{}", usage()),
        }
    }
    let mut table = Table::default();
    for line in machine::words() {
        println!("{line}");
    }
    for Part { letter, what, measure } in PARTS {
        if wanted.is_empty() || wanted.iter().any(|w| w == letter) {
            eprintln!("bench: ({letter}) {what}");
            measure(extent, &mut table).with_context(|| format!("({letter}) {what}"))?;
        }
    }
    print!("\n{table}");
    Ok(table.is_met())
}
