//! Watching files: every way an editor, a script or Kubernetes saves one is seen, and nothing else is.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use airplanes::watch::Watch;
use tempfile::TempDir;

/// A folder with two watched files, whose first change (that they are new) has been told.
struct Scene {
    folder: TempDir,
    watch: Watch,
}

impl Scene {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("config.edn"), "{:a 1}").unwrap();
        fs::write(folder.path().join("deploy.edn"), "{}").unwrap();
        let paths = ["config.edn", "deploy.edn"].map(|name| folder.path().join(name)).to_vec();
        let mut scene = Self { watch: Watch::start(paths).unwrap(), folder };
        scene.changes("the first look").await;
        scene
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    async fn changes(&mut self, after: &str) {
        let told = tokio::time::timeout(Duration::from_secs(10), self.watch.changed()).await;
        assert!(told.is_ok(), "no change was told after {after}");
    }
    /// Reads the files as a reload does, and again for each change told: ends unless the reading itself is told.
    async fn settles(&mut self, after: &str) {
        for _ in 0..5 {
            fs::read_dir(self.folder.path()).unwrap().for_each(|entry| drop(fs::read(entry.unwrap().path())));
            if tokio::time::timeout(Duration::from_millis(900), self.watch.changed()).await.is_err() {
                return;
            }
        }
        panic!("changes are told without end after {after}");
    }
    /// Longer than any look is put off.
    async fn is_quiet(&mut self, after: &str) {
        let told = tokio::time::timeout(Duration::from_millis(900), self.watch.changed()).await;
        assert!(told.is_err(), "a change was told after {after}");
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn a_plain_write_is_told_and_reading_the_file_is_not() {
    let mut scene = Scene::new().await;
    for text in ["{:a 2}", "{:a 3}", ""] {
        fs::write(scene.path("config.edn"), text).unwrap();
        scene.changes("a write").await;
        scene.settles("a write").await;
    }
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_is_told_again_and_again() {
    let mut scene = Scene::new().await;
    for round in 0..3 {
        replace(&scene.path("deploy.edn"), &format!("{{:round {round}}}"));
        scene.changes("a rename").await;
    }
    scene.is_quiet("the last rename").await;
}

#[tokio::test]
async fn an_editor_that_saves_by_way_of_a_backup_is_told() {
    let mut scene = Scene::new().await;
    for round in 0..3 {
        let path = scene.path("config.edn");
        fs::rename(&path, scene.path("config.edn~")).unwrap();
        fs::write(&path, format!("{{:round {round}}}")).unwrap();
        fs::remove_file(scene.path("config.edn~")).unwrap();
        scene.changes("a save").await;
    }
    scene.settles("the last save").await;
}

#[tokio::test]
async fn a_file_deleted_and_made_again_is_told_both_times() {
    let mut scene = Scene::new().await;
    fs::remove_file(scene.path("config.edn")).unwrap();
    scene.changes("the deletion").await;
    fs::write(scene.path("config.edn"), "{:a 1}").unwrap();
    scene.changes("its return").await;
    let all = scene.path("");
    fs::remove_dir_all(&all).unwrap();
    scene.changes("the folder's deletion").await;
    fs::create_dir(&all).unwrap();
    fs::write(scene.path("config.edn"), "{:a 1}").unwrap();
    scene.changes("the folder's return").await;
    fs::write(scene.path("config.edn"), "{:a 2}").unwrap();
    scene.changes("a write in the new folder").await;
}

#[tokio::test]
async fn a_folder_swapped_for_another_is_told() {
    let folder = TempDir::new().unwrap();
    let (live, next, old) = (folder.path().join("live"), folder.path().join("next"), folder.path().join("old"));
    for (folder, text) in [(&live, "1"), (&next, "2")] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("config.edn"), text).unwrap();
    }
    let mut scene = Scene { watch: Watch::start(vec![live.join("config.edn")]).unwrap(), folder };
    scene.changes("the first look").await;
    fs::rename(&live, old).unwrap();
    fs::rename(next, &live).unwrap();
    scene.changes("the swap").await;
    fs::write(live.join("config.edn"), "3").unwrap();
    scene.changes("a write in the new folder").await;
}

#[tokio::test]
async fn links_swapped_as_kubernetes_does_it_are_told() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().to_owned();
    let release = |name: &str, text: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("config.edn"), text).unwrap();
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    release("..2026_1", "{:a 1}");
    symlink("..data/config.edn", root.join("config.edn")).unwrap();
    let mut scene = Scene { watch: Watch::start(vec![root.join("config.edn")]).unwrap(), folder };
    scene.changes("the first look").await;
    for (name, text) in [("..2026_2", "{:a 2}"), ("..2026_3", "{:a 3}")] {
        release(name, text);
        scene.changes("the swap").await;
    }
    release("..2026_4", "{:a 3}");
    scene.is_quiet("a swap to the same content").await;
    fs::write(root.join("..2026_4/config.edn"), "{:a 4}").unwrap();
    scene.changes("a write behind the links").await;
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_told_when_that_is_written() {
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("real.edn");
    fs::write(&target, "1").unwrap();
    let folder = TempDir::new().unwrap();
    symlink(&target, folder.path().join("a.edn")).unwrap();
    let mut scene = Scene { watch: Watch::start(vec![folder.path().join("a.edn")]).unwrap(), folder };
    scene.changes("the first look").await;
    fs::write(&target, "2").unwrap();
    scene.changes("a write").await;
    replace(&target, "3");
    scene.changes("a rename").await;
}

#[tokio::test]
async fn neighbours_that_change_are_not_told_and_hide_nothing() {
    let mut scene = Scene::new().await;
    for i in 0..2000 {
        fs::write(scene.path(&format!("log-{}", i % 50)), i.to_string()).unwrap();
    }
    scene.is_quiet("neighbours changing").await;
    // A folder that is never quiet: the neighbour is written until the change has been told.
    let (done, stop) = std::sync::mpsc::channel::<()>();
    let log = scene.path("log");
    let noise = std::thread::spawn(move || {
        while stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            fs::write(&log, "x").unwrap();
        }
    });
    fs::write(scene.path("config.edn"), "{:a 9}").unwrap();
    scene.changes("a write amid noise").await;
    drop(done);
    noise.join().unwrap();
}

#[tokio::test]
async fn the_set_can_be_replaced_and_one_not_there_yet_is_waited_for() {
    let mut scene = Scene::new().await;
    let (config, included) = (scene.path("config.edn"), scene.path("more/deep/apps.edn"));
    scene.watch.set(vec![config.clone(), included.clone(), included.clone()]);
    scene.changes("a new file in the set").await;
    scene.watch.set(vec![config.clone(), included.clone(), included.clone()]);
    scene.is_quiet("the same set again").await;
    fs::write(scene.path("deploy.edn"), "{:not :watched}").unwrap();
    scene.is_quiet("a write to a file that left the set").await;
    fs::create_dir_all(included.parent().unwrap()).unwrap();
    fs::write(&included, "{}").unwrap();
    scene.changes("the included file's coming").await;
    fs::write(&included, "{:a 1}").unwrap();
    scene.changes("a write to the included file").await;
    fs::write(&config, "{:a 5}").unwrap();
    scene.changes("a write to the one that stayed").await;
}
