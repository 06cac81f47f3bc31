//! The keys that the large forges publish.

use super::HostKey;

/// Where each is from stands in it.
const TEXT: &str = include_str!("forges.txt");

/// The host keys that a forge's host (`github.com`, on port 22) publishes; none for hosts that are not known here.
pub fn published(host: &str) -> Vec<HostKey> {
    TEXT.lines().filter_map(HostKey::of_line).filter(|(name, _)| name == host).map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the forges' own pages show them, for ed25519, ECDSA and RSA.
    const SHOWN: [(&str, [&str; 3]); 5] = [
        (
            "github.com",
            [
                "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
                "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
                "uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
            ],
        ),
        (
            "gitlab.com",
            [
                "eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
                "HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
                "ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ",
            ],
        ),
        (
            "bitbucket.org",
            [
                "ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
                "FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
                "46OSHA1Rmj8E8ERTC6xkNcmGOw9oFxYr0WF6zWW8l1E",
            ],
        ),
        (
            "codeberg.org",
            [
                "mIlxA9k46MmM6qdJOdMnAQpzGxF4WIVVL+fj+wZbw0g",
                "T9FYDEHELhVkulEKKwge5aVhVTbqCW0MIRwAfpARs/E",
                "6QQmYi4ppFS4/+zSZ5S4IU+4sa6rwvQ4PbhCtPEBekQ",
            ],
        ),
        (
            "git.sr.ht",
            [
                "WXXNZu0YyoE3KBl5qh4GsnF1vR0NeEPYJAiPME+P09g",
                "1nUUjsHH0qwfjI3dYFWlXTjPUP/Un1oo6wfu9YL8tCQ",
                "rvz/I0S1T/9If9+/CU0HDTF8AV4MPu5Gkkxsb7vUTH4",
            ],
        ),
    ];

    #[test]
    fn the_keys_have_the_fingerprints_that_the_forges_show() {
        for (host, shown) in SHOWN {
            let keys = published(host);
            let kinds: Vec<&str> = keys.iter().map(HostKey::kind).collect();
            assert_eq!(kinds, ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"], "{host}");
            let fingerprints: Vec<String> = keys.iter().map(HostKey::fingerprint).collect();
            assert_eq!(fingerprints, shown.map(|shown| format!("SHA256:{shown}")), "{host}");
        }
        assert!(published("github.com.example.org").is_empty() && published("").is_empty());
    }
}
