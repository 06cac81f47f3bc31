//! What is sent to a host that has no access to the forge: commits as bundles, artifacts as releases.

use std::time::Duration;

use airplanes::git::{GitConfig, Mirrors};
use airplanes::host::{Brought, Error, MarkerState, Release, Source, calls};
use airplanes::model::{Branch, FileSum, RepoId, RepoUrl, Sha, hex};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::host::{Shop, git};

fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A shop whose origin is out of its reach, and a mirror of that.
async fn mirrored(n: u8) -> (Shop, Mirrors, RepoId) {
    let shop = Shop::new(n);
    let folder = shop.site.folder.path();
    let remote = folder.join("remote.git");
    let url = RepoUrl::new(remote.to_str().unwrap()).unwrap();
    let mirrors = Mirrors::new(GitConfig::new(folder.join("state"))).unwrap();
    mirrors.fetch(&url, &shop.cancel).await.unwrap();
    std::fs::rename(&remote, folder.join("unreachable")).unwrap();
    (shop, mirrors, url.id())
}

#[tokio::test]
async fn a_commit_that_is_sent_needs_nothing_of_the_hosts_access_to_the_forge() {
    let (shop, mirrors, repo) = mirrored(50).await;
    let folder = shop.site.folder.path();
    let main = Branch::new("main").unwrap();
    let send = async |commit: Sha, have: Option<Sha>| {
        let file = folder.join(format!("{commit}.bundle"));
        mirrors.bundle(&repo, &main, commit, have, file.clone()).await.unwrap();
        let there = folder.join("cache").join(commit.to_string());
        let there = there.to_str().unwrap();
        assert_eq!(shop.with(async |remote| remote.send(&file, there).await).await.0.unwrap(), there);
        let head = std::fs::read(&file).unwrap();
        (there.to_owned(), String::from_utf8_lossy(&head[..60]).into_owned())
    };
    let (bundle, head) = send(shop.first, None).await;
    assert!(head.starts_with(&format!("# v2 git bundle\n{}", shop.first)), "{head}");
    assert_eq!(
        shop.bring_of(&shop.first, Source::Bundle(&bundle), &[]).await.unwrap(),
        Brought { from: None, moved: true }
    );
    shop.assert_at(&shop.first).await;
    // Only what is new, and git thinks well of it.
    let (bundle, head) = send(shop.second, Some(shop.first)).await;
    git(&shop.at(), &["bundle", "verify", "-q", &bundle]);
    assert!(head.starts_with(&format!("# v2 git bundle\n-{}", shop.first)), "{head}");
    let brought = shop.bring_of(&shop.second, Source::Bundle(&bundle), &[]).await.unwrap();
    assert_eq!(brought, Brought { from: Some(shop.first), moved: true });
    shop.assert_at(&shop.second).await;
    assert_eq!(files(&folder.join("cache")), [""; 0], "nothing is left of what was sent");
    // The way back has it all already.
    shop.bring_of(&shop.first, Source::Origin, &[]).await.unwrap();
    shop.assert_at(&shop.first).await;
    assert_eq!(git(&shop.at(), &["fsck", "--connectivity-only"]), "");
}

#[tokio::test]
async fn little_goes_along_with_the_call() {
    let (shop, mirrors, repo) = mirrored(57).await;
    let folder = shop.site.folder.path();
    let main = Branch::new("main").unwrap();
    let file = folder.join("first.bundle");
    mirrors.bundle(&repo, &main, shop.first, None, file.clone()).await.unwrap();
    shop.bring_of(&shop.first, Source::Bundle(file.to_str().unwrap()), &[]).await.unwrap();
    let small = async |have, most| mirrors.small_bundle(&repo, &main, shop.second, have, most).await.unwrap();
    let bytes = small(shop.first, 60_000).await.unwrap();
    assert_eq!(small(shop.first, bytes.len() - 1).await, None, "it is larger");
    assert_eq!(small(shop.first, 1).await, None);
    let unknown: Sha = "1234567890123456789012345678901234567890".parse().unwrap();
    assert_eq!(small(unknown, 60_000).await, None, "nobody knows what the host has");

    // One that does not do: the origin is asked where it may be.
    let text = STANDARD.encode(&bytes[..bytes.len() / 2]);
    let broken = async |or_origin| {
        let source = Source::Along { bundle: &text, or_origin };
        shop.bring_of(&shop.second, source, &[]).await.unwrap_err().to_string()
    };
    let said = broken(false).await;
    assert!(said.contains("airplanes.bundle"), "{said}");
    let said = broken(true).await;
    assert!(said.contains("remote.git"), "{said}");
    let text = STANDARD.encode(&bytes);
    let source = Source::Along { bundle: &text, or_origin: false };
    let brought = shop.bring_of(&shop.second, source, &[]).await.unwrap();
    assert_eq!(brought, Brought { from: Some(shop.first), moved: true });
    shop.assert_at(&shop.second).await;
    assert!(!shop.at().join(".git/airplanes.bundle").exists());
    assert_eq!(git(&shop.at(), &["rev-parse", "origin/main"]), shop.second.to_string());
}

#[tokio::test]
async fn a_file_is_there_whole_or_not_at_all() {
    let shop = Shop::new(51);
    let folder = shop.site.folder.path();
    let (file, there) = (folder.join("app.jar"), folder.join("cache/app.jar"));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let name = there.to_str().unwrap();
    // What comes is not what was promised: a connection that broke looks like this.
    let call = calls::receive(name, &"0".repeat(64));
    let input = tokio::fs::File::open(&file).await.unwrap();
    let wait = Duration::from_secs(20);
    let said = shop.site.hosts.send(&shop.site.host, &call, input, wait, &shop.cancel, &mut |_| ()).await.unwrap();
    assert!(said.text().contains("refused cut\nsaid 3000000 bytes came"), "{}", said.text());
    assert_eq!(files(&folder.join("cache")), [""; 0]);
    for _ in 0..2 {
        assert_eq!(shop.with(async |remote| remote.send(&file, name).await).await.0.unwrap(), name);
        assert!(std::fs::read(&there).unwrap() == bytes);
    }
    assert_eq!(files(&folder.join("cache")), ["app.jar"]);
    let missing = shop.with(async |remote| remote.send(&folder.join("nothing"), name).await).await.0.unwrap_err();
    assert!(missing.to_string().contains("nothing can't be sent"), "{missing}");
}

#[tokio::test]
async fn a_release_is_put_in_force_by_one_rename_and_some_are_kept_for_the_way_back() {
    let shop = Shop::new(52);
    let folder = shop.site.folder.path();
    let path = shop.path();
    let file = folder.join("target.jar");
    let shas: Vec<Sha> = (1..=5).map(|n| format!("{n:040}").parse().unwrap()).collect();
    let place = async |sha: &Sha, text: Option<&str>| {
        let sent = match text {
            None => None,
            Some(text) => {
                std::fs::write(&file, text).unwrap();
                let name = folder.join("sent").join(sha.to_string());
                Some(shop.with(async |remote| remote.send(&file, name.to_str().unwrap()).await).await.0.unwrap())
            }
        };
        let release = Release { sha, name: "app.jar", sum: None, keep: 2 };
        shop.with(async |remote| remote.place(&path, &release, sent.as_deref(), &[(shas[0], None)]).await).await.0
    };
    let in_force = || std::fs::read_to_string(shop.at().join("current/app.jar")).unwrap();
    assert_eq!(place(&shas[0], Some("one")).await.unwrap(), Brought { from: None, moved: true });
    assert_eq!(in_force(), "one");
    let seen = shop.observe().await;
    assert_eq!((seen.head, seen.marker.map(|marker| marker.state)), (Some(shas[0]), Some(MarkerState::Moving)));
    shop.with(async |remote| remote.mark_live(&path, &shas[0]).await.unwrap()).await;
    assert!(shop.observe().await.is_live_at(&shas[0]));
    assert_eq!(place(&shas[0], None).await.unwrap(), Brought { from: Some(shas[0]), moved: false });
    assert!(shop.observe().await.is_live_at(&shas[0]), "what is in force is not touched again");
    for (n, sha) in shas.iter().enumerate().skip(1) {
        place(sha, Some(&n.to_string())).await.unwrap();
        assert_eq!(in_force(), n.to_string());
    }
    // The first is one that may be gone back to; of the others two are kept beside what is in force.
    let kept: Vec<String> = [0, 2, 3, 4].iter().map(|n: &usize| shas[*n].to_string()).collect();
    assert_eq!(files(&shop.at().join("releases")), kept);
    assert_eq!(place(&shas[0], None).await.unwrap(), Brought { from: Some(shas[4]), moved: true });
    assert_eq!(in_force(), "one");
    let gone = place(&shas[1], None).await.unwrap_err();
    assert!(matches!(gone, Error::NoRelease { .. }), "{gone}");
    assert_eq!(in_force(), "one");
    // Another tool's releases are left as they are, whatever `current` leads to.
    std::fs::create_dir(shop.at().join("releases/20261120 1")).unwrap();
    let before = files(&shop.at().join("releases"));
    let theirs = place(&shas[2], Some("three")).await.unwrap_err();
    assert!(matches!(theirs, Error::NotReleases { .. }) && theirs.to_string().contains("20261120 1"), "{theirs}");
    std::fs::remove_dir(shop.at().join("releases/20261120 1")).unwrap();
    std::fs::remove_file(shop.at().join("current")).unwrap();
    std::os::unix::fs::symlink("releases/20261121", shop.at().join("current")).unwrap();
    let theirs = place(&shas[2], Some("three")).await.unwrap_err();
    assert!(matches!(theirs, Error::NotReleases { .. }) && theirs.to_string().contains("leads to"), "{theirs}");
    assert!(files(&shop.at().join("releases")).len() == before.len() - 1);
    // Neither way takes the other's folder.
    let clone = shop.bring_of(&shop.first, Source::Origin, &[]).await.unwrap_err();
    assert!(matches!(clone, Error::NotGit { .. }), "{clone}");
    std::fs::remove_dir_all(shop.at()).unwrap();
    shop.bring_of(&shop.first, Source::Origin, &[]).await.unwrap();
    let release = place(&shas[0], Some("one")).await.unwrap_err();
    assert!(matches!(release, Error::NotReleases { .. }), "{release}");
}

#[tokio::test]
async fn each_file_of_a_commit_is_a_release_of_its_own_and_those_of_before_that_stay_what_they_are() {
    let shop = Shop::new(53);
    let path = shop.path();
    let sha: Sha = format!("{:040}", 1).parse().unwrap();
    let sum = |text: &str| -> FileSum { hex(Sha256::digest(text)).parse().unwrap() };
    let send = async |text: &str| {
        let file = shop.site.folder.path().join("target.jar");
        std::fs::write(&file, text).unwrap();
        let name = shop.site.folder.path().join("sent");
        shop.with(async |remote| remote.send(&file, name.to_str().unwrap()).await).await.0.unwrap()
    };
    let place = async |sum: &FileSum, sent: Option<&str>| {
        let release = Release { sha: &sha, name: "app.jar", sum: Some(sum), keep: 1 };
        let brought = shop.with(async |remote| remote.place(&path, &release, sent, &[]).await).await.0?;
        shop.with(async |remote| remote.mark_live(&path, &sha).await).await.0?;
        Ok::<_, Error>(brought.moved)
    };
    let in_force = || {
        let release = std::fs::read_link(shop.at().join("current")).unwrap().display().to_string();
        (release, std::fs::read_to_string(shop.at().join("current/app.jar")).unwrap())
    };
    let named = |text: &str| format!("releases/{sha}-{}", sum(text).short());

    // As it was before the sum was in the name.
    let old = shop.at().join(format!("releases/{sha}"));
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("app.jar"), "one").unwrap();
    std::os::unix::fs::symlink(format!("releases/{sha}"), shop.at().join("current")).unwrap();
    let marker = format!("{{\"sha\":\"{sha}\",\"state\":\"live\",\"sum\":\"{}\"}}\n", sum("one"));
    std::fs::write(shop.at().join("airplanes.json"), &marker).unwrap();
    let seen = shop.observe().await;
    assert!(seen.is_live_at(&sha) && seen.has_file(Some(&sum("one"))) && !seen.has_file(Some(&sum("two"))));
    assert!(!place(&sum("one"), None).await.unwrap());
    assert_eq!(std::fs::read_to_string(shop.at().join("airplanes.json")).unwrap(), marker, "nothing was touched");

    // Another file of it: taken in beside what is in force, then in its place.
    let sent = send("two").await;
    let two = sum("two");
    let beside = Release { sha: &sha, name: "app.jar", sum: Some(&two), keep: 1 };
    let staged = shop.with(async |remote| remote.place_beside(&path, &beside, Some(&sent)).await).await.0.unwrap();
    assert_eq!((staged, in_force().1), (shop.at().join(named("two")).display().to_string(), "one".to_owned()));
    assert!(place(&two, None).await.unwrap());
    assert_eq!(in_force(), (named("two"), "two".to_owned()));
    let seen = shop.observe().await;
    assert_eq!((seen.head, seen.sum.as_ref()), (Some(sha), Some(&two)));
    assert!(seen.is_live_at(&sha) && !seen.has_file(Some(&sum("one"))));
    // The way back finds the old one, also by no more than how its sum begins.
    let first = sum("one").short().parse().unwrap();
    assert!(place(&first, None).await.unwrap());
    assert_eq!(in_force(), (format!("releases/{sha}"), "one".to_owned()));
    // So many stay, whatever their commit; and nothing else is taken for what is asked for.
    let sent = send("three").await;
    assert!(place(&sum("three"), Some(&sent)).await.unwrap());
    assert_eq!(in_force(), (named("three"), "three".to_owned()));
    let three = named("three").trim_start_matches("releases/").to_owned();
    assert_eq!(files(&shop.at().join("releases")), [sha.to_string(), three]);
    assert!(matches!(place(&two, None).await.unwrap_err(), Error::NoRelease { .. }));
    // Somebody who leads `current` elsewhere by hand is seen.
    std::fs::remove_file(shop.at().join("current")).unwrap();
    std::os::unix::fs::symlink(named("four"), shop.at().join("current")).unwrap();
    let seen = shop.observe().await;
    assert!(!seen.has_file(Some(&sum("three"))), "{seen:?}");
}
