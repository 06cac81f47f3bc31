//! The table on stdout: what was measured, the peer's, their ratio, the target, and whether it is met.

use std::fmt;

/// What a ratio or a value has to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
    fn words(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}{unit}"),
            Self::AtMost(most) => format!("≤ {most}{unit}"),
        }
    }
}

/// A line of the table.
#[derive(Debug, Default)]
struct Row {
    cells: [String; 6],
    met: Option<bool>,
}

/// All that was measured, in order.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

const HEAD: [&str; 6] = ["what", "airplanes", "peer", "ratio", "target", "met"];

impl Table {
    /// Ours beside the peer's: judged by their ratio, if there is a target.
    pub fn compare(
        &mut self,
        what: impl Into<String>,
        ours: impl Into<String>,
        peer: impl Into<String>,
        ratio: f64,
        target: Option<Target>,
    ) {
        let met = target.map(|t| t.is_met(ratio));
        let goal = target.map(|t| t.words("")).unwrap_or_default();
        let cells = [what.into(), ours.into(), peer.into(), format!("{ratio:.2}"), goal, word(met)];
        self.rows.push(Row { cells, met });
    }
    /// A value of ours alone, in `unit`, which begins with a space if one is wanted.
    pub fn value(&mut self, what: impl Into<String>, value: f64, unit: &str, target: Option<Target>) {
        let met = target.map(|t| t.is_met(value));
        let goal = target.map(|t| t.words(unit)).unwrap_or_default();
        let shown = if value >= 100.0 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") };
        self.rows.push(Row { cells: [what.into(), shown, String::new(), String::new(), goal, word(met)], met });
    }
    /// Whether every target is met.
    pub fn is_met(&self) -> bool {
        self.rows.iter().all(|row| row.met != Some(false))
    }
}

fn word(met: Option<bool>) -> String {
    match met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    }
    .to_owned()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let lines = || std::iter::once(&head).chain(self.rows.iter().map(|row| &row.cells));
        let width = |i: usize| lines().map(|cells| cells[i].chars().count()).max().unwrap_or_default();
        let widths: [usize; 6] = std::array::from_fn(width);
        for (n, cells) in lines().enumerate() {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "| {} |", padded.join(" | "))?;
            if n == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "| {} |", rules.join(" | "))?;
            }
        }
        Ok(())
    }
}
