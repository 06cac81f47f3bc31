//! The message of our commits: for people. Nothing is decided by it; own commits are known from the journal.

use crate::model::JobId;

/// `subject` (its first line, and perhaps a body), then the trailers `Airplanes-Job` and one `Airplanes-Bump` a
/// `(lib, from, to)`. The same input gives the same bytes.
pub fn message(subject: &str, job: JobId, bumps: &[(&str, &str, &str)]) -> String {
    let mut text = subject.trim_end().to_owned();
    text.push_str("\n\n");
    text.push_str(&format!("Airplanes-Job: {job}\n"));
    for (lib, from, to) in bumps {
        let line = format!("Airplanes-Bump: {lib} {from}..{to}");
        text.push_str(&line.replace(char::is_control, " "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailers_are_one_a_line_and_last() {
        let job: JobId = "1jq3m8x2k4a0c-000".parse().unwrap();
        let text = message("Update snow", job, &[("snow/snow", "aaa", "bbb"), ("x\ny/z", "v1", "v2")]);
        assert_eq!(
            text,
            "Update snow\n\nAirplanes-Job: 1jq3m8x2k4a0c-000\nAirplanes-Bump: snow/snow aaa..bbb\n\
             Airplanes-Bump: x y/z v1..v2\n"
        );
    }
}
