//! What is sent to a host that has no access to the forge: commits as bundles, artifacts as releases.

use std::time::Duration;

use airplanes::git::{GitConfig, Mirrors};
use airplanes::host::{Brought, Error, MarkerState, Release, calls};
use airplanes::model::{Branch, RepoUrl, Sha};

use super::host::{Shop, git};

fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_commit_that_is_sent_needs_nothing_of_the_hosts_access_to_the_forge() {
    let shop = Shop::new(50);
    let folder = shop.site.folder.path();
    let remote = folder.join("remote.git");
    let url = RepoUrl::new(remote.to_str().unwrap()).unwrap();
    let mirrors = Mirrors::new(GitConfig::new(folder.join("state"))).unwrap();
    mirrors.fetch(&url, &shop.cancel).await.unwrap();
    std::fs::rename(&remote, folder.join("unreachable")).unwrap();
    let main = Branch::new("main").unwrap();
    let send = async |commit: Sha, have: Option<Sha>| {
        let file = folder.join(format!("{commit}.bundle"));
        mirrors.bundle(&url.id(), &main, commit, have, file.clone()).await.unwrap();
        let there = folder.join("cache").join(commit.to_string());
        let there = there.to_str().unwrap();
        assert_eq!(shop.with(async |remote| remote.send(&file, there).await).await.0.unwrap(), there);
        let head = std::fs::read(&file).unwrap();
        (there.to_owned(), String::from_utf8_lossy(&head[..60]).into_owned())
    };
    let (bundle, head) = send(shop.first, None).await;
    assert!(head.starts_with(&format!("# v2 git bundle\n{}", shop.first)), "{head}");
    assert_eq!(shop.bring_of(&shop.first, Some(&bundle), &[]).await.unwrap(), Brought { from: None, moved: true });
    shop.assert_at(&shop.first).await;
    // Only what is new, and git thinks well of it.
    let (bundle, head) = send(shop.second, Some(shop.first)).await;
    git(&shop.at(), &["bundle", "verify", "-q", &bundle]);
    assert!(head.starts_with(&format!("# v2 git bundle\n-{}", shop.first)), "{head}");
    let brought = shop.bring_of(&shop.second, Some(&bundle), &[]).await.unwrap();
    assert_eq!(brought, Brought { from: Some(shop.first), moved: true });
    shop.assert_at(&shop.second).await;
    assert_eq!(files(&folder.join("cache")), [""; 0], "nothing is left of what was sent");
    // The way back has it all already.
    shop.bring_of(&shop.first, None, &[]).await.unwrap();
    shop.assert_at(&shop.first).await;
    assert_eq!(git(&shop.at(), &["fsck", "--connectivity-only"]), "");
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
        shop.with(async |remote| remote.place(&path, &release, sent.as_deref(), &shas[..1]).await).await.0
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
    // Neither way takes the other's folder.
    let clone = shop.bring_of(&shop.first, None, &[]).await.unwrap_err();
    assert!(matches!(clone, Error::NotGit { .. }), "{clone}");
    std::fs::remove_dir_all(shop.at()).unwrap();
    shop.bring_of(&shop.first, None, &[]).await.unwrap();
    let release = place(&shas[0], Some("one")).await.unwrap_err();
    assert!(matches!(release, Error::NotReleases { .. }), "{release}");
}
