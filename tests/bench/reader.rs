//! (c) Scan and edit of every deps.edn and bb.edn of the corpus, beside Clojure's own reader on the same texts.
//!
//! Clojure only reads (`reader.clj`, in a JVM that is warmed until its turns take no less time). Ours reads, finds the
//! coordinates, points the first that may move to another commit and gives the new text: what the daemon does at each
//! bump. Both begin with the text in memory; files that either refuses are left out.

use std::cell::Cell;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::deps::{To, plan_update};
use airplanes::model::Sha;
use anyhow::{Context, Result, bail, ensure};

use crate::Extent;
use crate::stats::{median, time};
use crate::table::{Table, Target};

/// How long the JVM may take to become steady.
const WARMING: Duration = Duration::from_secs(60);
/// How long a turn should take on either side.
const TURN: Duration = Duration::from_millis(400);

pub fn measure(extent: Extent, table: &mut Table) -> Result<()> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let mut files = Vec::new();
    for part in ["deps-edn/dev", "bb-edn/dev"] {
        let entries = fs::read_dir(folder.join(part)).with_context(|| {
            format!("the corpus is needed in {}; without it, name the other letters", folder.display())
        })?;
        files.extend(entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?);
    }
    files.sort();
    let mut texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let to: Sha = "0123456789abcdef0123456789abcdef01234567".parse()?;
    let mut clojure = Clojure::start(&files)?;
    let mut keep = clojure.reads.iter();
    texts.retain(|text| keep.next().is_some_and(|reads| *reads) && edit(text, to).is_some());
    ensure!(texts.len() == clojure.reads.iter().filter(|r| **r).count(), "Clojure reads a file that we refuse");
    let edited = texts.iter().filter(|text| edit(text, to).as_deref() != Some(text.as_str())).count();
    let bytes: usize = texts.iter().map(String::len).sum();
    let megabytes = bytes as f64 / 1e6;

    let theirs = clojure.warm()?;
    let their_rounds = rounds(theirs);
    let our_rounds = rounds(all(&texts, to, 1).min(all(&texts, to, 1)));
    let (mut ratios, mut ours, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..extent.pick(15, 5) {
        let peer = clojure.all(their_rounds)?.as_secs_f64() / f64::from(their_rounds);
        let own = all(&texts, to, our_rounds).as_secs_f64() / f64::from(our_rounds);
        ratios.push(peer / own);
        ours.push(own);
        peers.push(peer);
    }
    let speed = |seconds: &[f64]| format!("{:.0} MB/s", megabytes / median(seconds));
    let what = format!("(c) scan and edit, {} files, {megabytes:.2} MB, {edited} bumped", texts.len());
    table.compare(what, speed(&ours), speed(&peers), median(&ratios), Some(Target::AtLeast(15.0)));

    // Each file by itself: what a big or an odd one hides in the sum.
    let (mut ours, mut peers) = (vec![Vec::new(); texts.len()], vec![Vec::new(); texts.len()]);
    for _ in 0..extent.pick(9, 3) {
        for (file, peer) in clojure.each(30)?.into_iter().enumerate() {
            peers[file].push(peer);
            ours[file].push(one(&texts[file], to, 300));
        }
    }
    let ours: Vec<f64> = ours.iter().map(|times| median(times)).collect();
    let peers: Vec<f64> = peers.iter().map(|times| median(times)).collect();
    let mut ratios: Vec<f64> = ours.iter().zip(&peers).map(|(own, peer)| peer / own).collect();
    ratios.sort_by(f64::total_cmp);
    let shown = |seconds: &[f64]| time(Duration::from_secs_f64(median(seconds)));
    let per_file = median(&ratios);
    table.compare("(c) a file, the median one", shown(&ours), shown(&peers), per_file, Some(Target::AtLeast(15.0)));
    let low = ratios[ratios.len() / 20];
    table.compare("(c) the file that 5% of them are below", "", "", low, None);
    Ok(())
}

/// How many rounds make a turn, if one takes so long.
fn rounds(one: Duration) -> u32 {
    u32::try_from(TURN.as_nanos() / one.as_nanos().max(1)).unwrap_or(u32::MAX).max(1)
}

/// The text with its first movable coordinate at another commit; the same text if it has none, nothing if it is no EDN.
fn edit(text: &str, to: Sha) -> Option<String> {
    let first = Cell::new(true);
    let update = plan_update(text, "deps.edn", |coord| {
        first.replace(false).then(|| To { sha: to, tag: coord.tag().map(|_| "v9.9.9".to_owned()), unique: 0 })
    });
    update.ok()?.edit.apply(text).ok()
}

/// All texts, so many times.
fn all(texts: &[String], to: Sha, rounds: u32) -> Duration {
    let began = Instant::now();
    for _ in 0..rounds {
        for text in texts {
            black_box(edit(black_box(text), to));
        }
    }
    began.elapsed()
}

/// Seconds for one text.
fn one(text: &str, to: Sha, rounds: u32) -> f64 {
    let began = Instant::now();
    for _ in 0..rounds {
        black_box(edit(black_box(text), to));
    }
    began.elapsed().as_secs_f64() / f64::from(rounds)
}

/// Clojure's reader in a JVM of its own.
struct Clojure {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Which of the files it reads.
    reads: Vec<bool>,
}

impl Clojure {
    fn start(files: &[PathBuf]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/reader.clj");
        let mut child = Command::new("clojure")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("clojure does not start; scripts/bench installs it")?;
        let ask = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut clojure = Self { child, ask, answers, reads: Vec::new() };
        for file in files {
            writeln!(clojure.ask, "{}", file.display())?;
        }
        writeln!(clojure.ask)?;
        clojure.ask.flush()?;
        for _ in files {
            let reads = clojure.answer()? != "refused";
            clojure.reads.push(reads);
        }
        Ok(clojure)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("clojure ended before it was done");
        }
        Ok(line.trim_end().to_owned())
    }

    /// How long all texts take, so many times.
    fn all(&mut self, rounds: u32) -> Result<Duration> {
        writeln!(self.ask, "all {rounds}")?;
        self.ask.flush()?;
        Ok(Duration::from_nanos(self.answer()?.parse()?))
    }

    /// Seconds for each text, of so many times.
    fn each(&mut self, rounds: u32) -> Result<Vec<f64>> {
        writeln!(self.ask, "each {rounds}")?;
        self.ask.flush()?;
        let seconds = |nanos: &str| Ok(nanos.parse::<f64>()? / f64::from(rounds) / 1e9);
        self.answer()?.split(' ').map(seconds).collect()
    }

    /// Reads until five turns bring nothing new, and gives the time of one round.
    fn warm(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let (mut best, mut idle) = (Duration::MAX, 0);
        while idle < 5 && began.elapsed() < WARMING {
            let turn = self.all(10)?;
            idle = if turn < best.mul_f64(0.98) { 0 } else { idle + 1 };
            best = best.min(turn);
        }
        eprintln!("bench: the JVM is warm after {}", time(began.elapsed()));
        Ok(best / 10)
    }
}

impl Drop for Clojure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
