use std::{fs, path::Path};

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::provision::{
    Checkout, ProvisionReason, outcome, progress,
    testing::{GitServer, git, run_job_locally},
};

/// `git:s3cret`
const AUTHORIZATION: &str = "Basic Z2l0OnMzY3JldA==";

/// A server with repositories, and an empty workspace.
struct Scene {
    folder: TempDir,
    server: GitServer,
    head: String,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        for name in ["work", "home", "workspace", "srv"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        let work = base.join("work");
        git(&work, &["init", "-q", "."]);
        for commit in ["one", "two"] {
            fs::write(work.join("file"), commit).unwrap();
            fs::write(work.join(".hidden"), commit).unwrap();
            fs::create_dir_all(work.join("folder")).unwrap();
            fs::write(work.join("folder/with space"), commit).unwrap();
            std::os::unix::fs::symlink("nowhere", work.join("dangling")).ok();
            git(&work, &["add", "."]);
            git(&work, &["commit", "-q", "-m", commit]);
        }
        git(&work, &["branch", "feature/x"]);
        git(&work, &["tag", "v1", "HEAD~1"]);
        let head = git(&work, &["rev-parse", "HEAD"]);
        for place in ["app.git", "private/app.git"] {
            git(base, &["clone", "-q", "--bare", "work", &format!("srv/{place}")]);
        }
        git(base, &["init", "-q", "--bare", "srv/empty.git"]);
        let server = GitServer::start(&base.join("srv"), AUTHORIZATION, None).await;
        Self { folder, server, head }
    }

    fn workspace(&self) -> std::path::PathBuf {
        self.folder.path().join("workspace")
    }

    fn request(&self, path: &str) -> CloneRequest {
        request(&format!("{}/{path}", self.server.url))
    }

    async fn run(
        &self,
        request: &CloneRequest,
    ) -> (Result<Checkout, crate::provision::ProvisionError>, String) {
        let job = clone_job_into(request, self.workspace().to_str().unwrap());
        let (code, output) = run_job_locally(&self.folder.path().join("home"), &job).await;
        (outcome(code, &output), output)
    }

    async fn clone(&self, request: &CloneRequest) -> Checkout {
        let (result, output) = self.run(request).await;
        result.map_err(|error| format!("{error:?}\n{output}")).unwrap()
    }

    async fn refusal(&self, request: &CloneRequest) -> crate::provision::ProvisionError {
        let (result, output) = self.run(request).await;
        result.expect_err(&output)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.workspace())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn assert_whole(&self) {
        assert_eq!(self.names(), [".git", ".hidden", "dangling", "file", "folder"]);
        assert_eq!(git(&self.workspace(), &["status", "--porcelain"]), "");
    }
}

fn request(url: &str) -> CloneRequest {
    CloneRequest {
        url: RemoteUrl::parse(url).unwrap(),
        branch: None,
        depth: None,
        submodules: false,
        credential: Credential::None,
        known_hosts: None,
        user: "dev".to_owned(),
    }
}

fn token(text: &str) -> Credential {
    Credential::Token { username: "git".to_owned(), token: text.to_owned().into() }
}

fn checkout(branch: Option<&str>, head: Option<&str>) -> Checkout {
    Checkout { branch: branch.map(str::to_owned), head: head.map(str::to_owned) }
}

/// Whether a text stands in any file below a folder.
fn stands_in(folder: &Path, text: &str) -> bool {
    let output = std::process::Command::new("grep").args(["-rF", "--", text]).arg(folder).output().unwrap();
    output.status.success()
}

#[tokio::test]
async fn clones_and_finds_itself_done_the_second_time() {
    let scene = Scene::new().await;
    let expected = checkout(Some("main"), Some(&scene.head));
    let (result, output) = scene.run(&scene.request("app.git")).await;
    assert_eq!(result.unwrap(), expected);
    assert!(progress(&output).is_some(), "{output}");
    scene.assert_whole();

    fs::write(scene.workspace().join("mine"), "work").unwrap();
    git(&scene.workspace(), &["checkout", "-q", "-b", "topic"]);
    // The same repository, however it is written.
    let again = scene.clone(&scene.request("app")).await;
    assert_eq!(again, checkout(Some("topic"), Some(&scene.head)));
    assert!(scene.workspace().join("mine").exists());
}

#[rstest]
#[case("app.git", Some("feature/x"), Some("feature/x"), true)]
#[case("app.git", Some("brand/new"), Some("brand/new"), true)]
#[case("empty.git", Some("first"), Some("first"), false)]
#[case("empty.git", None, None, false)]
#[tokio::test]
async fn branches(
    #[case] path: &str,
    #[case] wanted: Option<&str>,
    #[case] got: Option<&str>,
    #[case] has_head: bool,
    #[values(None, Some(1))] depth: Option<u32>,
) {
    let scene = Scene::new().await;
    let request = CloneRequest { branch: wanted.map(str::to_owned), depth, ..scene.request(path) };
    let got = scene.clone(&request).await.clone_with_branch_of(got);
    assert_eq!(got.head.as_ref(), has_head.then_some(&scene.head));
    if has_head {
        scene.assert_whole();
        let commits = if depth.is_some() { "1" } else { "2" };
        assert_eq!(git(&scene.workspace(), &["rev-list", "--count", "HEAD"]), commits);
    }
    // Done is done, also with no commit.
    assert_eq!(scene.clone(&request).await.head, got.head);
}

impl Checkout {
    /// Checks the branch where one is expected: an empty repository's is up to git.
    fn clone_with_branch_of(self, branch: Option<&str>) -> Self {
        if branch.is_some() {
            assert_eq!(self.branch.as_deref(), branch);
        }
        self
    }
}

#[tokio::test]
async fn a_tag_is_checked_out_without_a_branch() {
    let scene = Scene::new().await;
    let got = scene.clone(&CloneRequest { branch: Some("v1".into()), ..scene.request("app.git") }).await;
    assert_eq!(got.branch, None);
    assert_ne!(got.head.as_deref(), Some(scene.head.as_str()));
}

#[tokio::test]
async fn a_token_opens_and_is_written_nowhere() {
    let scene = Scene::new().await;
    let request = CloneRequest { credential: token("s3cret\n"), ..scene.request("private/app.git") };
    scene.clone(&request).await;
    scene.assert_whole();
    assert!(scene.server.authorizations().iter().all(|seen| seen == AUTHORIZATION));
    assert!(!stands_in(&scene.workspace(), "s3cret"));
    assert!(!stands_in(&scene.folder.path().join("home"), "s3cret"));
    assert!(!stands_in(&scene.workspace().join(".git"), "credential"));
}

#[rstest]
#[case(Credential::None)]
#[case(token("wrong"))]
#[tokio::test]
async fn the_wrong_token_is_refused(#[case] credential: Credential) {
    let scene = Scene::new().await;
    let error = scene.refusal(&CloneRequest { credential, ..scene.request("private/app.git") }).await;
    assert_eq!(error.reason, ProvisionReason::GitAuthFailed, "{error}");
    assert_eq!(scene.names(), [""; 0]);
}

#[tokio::test]
async fn a_redirect_elsewhere_gets_no_token() {
    let scene = Scene::new().await;
    let front =
        GitServer::start(&scene.folder.path().join("srv"), AUTHORIZATION, Some(&scene.server.url)).await;
    let mut request = request(&format!("{}/elsewhere/private/app.git", front.url));
    request.credential = token("s3cret");
    let error = scene.refusal(&request).await;
    assert_eq!(error.reason, ProvisionReason::GitAuthFailed, "{error}");
    assert_eq!(scene.server.authorizations(), [""; 0]);
}

#[tokio::test]
async fn submodules_come_along_with_the_same_token() {
    let scene = Scene::new().await;
    let work = scene.folder.path().join("work");
    let modules =
        format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {}/private/app.git\n", scene.server.url);
    fs::write(work.join(".gitmodules"), modules).unwrap();
    git(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{},lib", scene.head)]);
    git(&work, &["add", ".gitmodules"]);
    git(&work, &["commit", "-q", "-m", "submodule"]);
    git(scene.folder.path(), &["clone", "-q", "--bare", "work", "srv/private/super.git"]);

    for depth in [None, Some(1)] {
        let request = CloneRequest {
            credential: token("s3cret"),
            submodules: true,
            depth,
            ..scene.request("private/super.git")
        };
        scene.clone(&request).await;
        assert_eq!(fs::read_to_string(scene.workspace().join("lib/file")).unwrap(), "two");
        assert_eq!(git(&scene.workspace().join("lib"), &["rev-parse", "HEAD"]), scene.head);
        assert_eq!(git(&scene.workspace(), &["status", "--porcelain"]), "");
        fs::remove_dir_all(scene.workspace()).unwrap();
        fs::create_dir(scene.workspace()).unwrap();
    }
}

#[tokio::test]
async fn a_submodule_on_the_file_system_is_refused() {
    let scene = Scene::new().await;
    let work = scene.folder.path().join("work");
    let bare = scene.folder.path().join("srv/app.git");
    fs::write(
        work.join(".gitmodules"),
        format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {}\n", bare.display()),
    )
    .unwrap();
    git(&work, &["update-index", "--add", "--cacheinfo", &format!("160000,{},lib", scene.head)]);
    git(&work, &["add", ".gitmodules"]);
    git(&work, &["commit", "-q", "-m", "submodule"]);
    git(scene.folder.path(), &["clone", "-q", "--bare", "work", "srv/super.git"]);
    let error = scene.refusal(&CloneRequest { submodules: true, ..scene.request("super.git") }).await;
    assert_eq!(error.reason, ProvisionReason::GitUrlInvalid, "{error}");
    assert_eq!(scene.names(), [""; 0]);
}

#[rstest]
#[case("notes.txt")]
#[case(".env")]
#[case("..odd")]
#[case(".berth-clone-is-my-folder")]
#[tokio::test]
async fn what_is_there_is_left_alone(#[case] name: &str) {
    let scene = Scene::new().await;
    fs::write(scene.workspace().join(name), "mine").unwrap();
    let error = scene.refusal(&scene.request("app.git")).await;
    assert_eq!(error.reason, ProvisionReason::WorkspaceNotEmpty);
    assert!(error.message.contains(name), "{error}");
    assert_eq!(scene.names(), [name]);
}

#[tokio::test]
async fn another_repository_is_left_alone() {
    let scene = Scene::new().await;
    scene.clone(&scene.request("app.git")).await;
    let error = scene.refusal(&scene.request("empty.git")).await;
    assert_eq!(error.reason, ProvisionReason::WorkspaceNotEmpty);
    assert!(error.message.ends_with("/app"), "{error}");
    scene.assert_whole();
}

#[tokio::test]
async fn the_folder_of_a_new_file_system_is_empty() {
    let scene = Scene::new().await;
    fs::create_dir(scene.workspace().join("lost+found")).unwrap();
    scene.clone(&scene.request("app.git")).await;
    assert!(scene.workspace().join("lost+found").exists());
}

#[tokio::test]
async fn half_a_clone_is_thrown_away() {
    let scene = Scene::new().await;
    fs::create_dir_all(scene.workspace().join(".berth-clone-Ab12Cd/.git")).unwrap();
    scene.clone(&scene.request("app.git")).await;
    scene.assert_whole();
}

#[tokio::test]
async fn killed_while_moving_it_goes_on_where_it_was() {
    let scene = Scene::new().await;
    scene.clone(&scene.request("app.git")).await;
    let workspace = scene.workspace();
    let finished = workspace.join(".berth-clone-done");
    // Backwards through what the last run did, one entry further each time.
    let moved = [".git", "folder", "file", "dangling", ".hidden"];
    for count in 0..=moved.len() {
        fs::create_dir(&finished).unwrap();
        for name in &moved[..count] {
            fs::rename(workspace.join(name), finished.join(name)).unwrap();
        }
        scene.clone(&scene.request("app.git")).await;
        scene.assert_whole();
    }
}

#[tokio::test]
async fn a_finished_clone_of_another_repository_makes_way_only_when_unmoved() {
    let scene = Scene::new().await;
    scene.clone(&scene.request("app.git")).await;
    let workspace = scene.workspace();
    let finished = workspace.join(".berth-clone-done");
    fs::create_dir(&finished).unwrap();
    for name in [".git", "folder", "dangling", ".hidden"] {
        fs::rename(workspace.join(name), finished.join(name)).unwrap();
    }
    let error = scene.refusal(&scene.request("empty.git")).await;
    assert_eq!(error.reason, ProvisionReason::WorkspaceNotEmpty);
    assert_eq!(scene.names(), [".berth-clone-done", "file"]);

    fs::rename(workspace.join("file"), finished.join("file")).unwrap();
    scene.clone(&scene.request("empty.git")).await;
    assert_eq!(scene.names(), [".git"]);
}

#[tokio::test]
async fn a_file_in_the_way_of_the_move_stays() {
    let scene = Scene::new().await;
    scene.clone(&scene.request("app.git")).await;
    let workspace = scene.workspace();
    let finished = workspace.join(".berth-clone-done");
    fs::create_dir(&finished).unwrap();
    for name in [".git", "file"] {
        fs::rename(workspace.join(name), finished.join(name)).unwrap();
    }
    fs::write(workspace.join("file"), "mine").unwrap();
    let error = scene.refusal(&scene.request("app.git")).await;
    assert_eq!(error.reason, ProvisionReason::WorkspaceNotEmpty);
    assert_eq!(fs::read_to_string(workspace.join("file")).unwrap(), "mine");
}

#[rstest]
#[case("nope.git", ProvisionReason::GitRepositoryNotFound)]
#[tokio::test]
async fn a_missing_repository(#[case] path: &str, #[case] reason: ProvisionReason) {
    let scene = Scene::new().await;
    for branch in [None, Some("main".to_owned())] {
        let error = scene.refusal(&CloneRequest { branch, ..scene.request(path) }).await;
        assert_eq!(error.reason, reason, "{error}");
    }
    assert_eq!(scene.names(), [""; 0]);
}

#[rstest]
#[case("http://127.0.0.1:1/a")]
#[case("https://name.invalid/a")]
#[case("ssh://git@127.0.0.1:1/a")]
#[tokio::test]
async fn a_server_that_is_not_there(#[case] url: &str) {
    let scene = Scene::new().await;
    let credential = if url.starts_with("ssh") {
        Credential::SshKey { key: "key\r\n".to_owned().into() }
    } else {
        Credential::None
    };
    let error = scene.refusal(&CloneRequest { credential, ..request(url) }).await;
    assert_eq!((error.reason, error.retryable), (ProvisionReason::GitNetwork, true), "{error}");
}

#[tokio::test]
async fn hooks_of_the_image_do_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new().await;
    let home = scene.folder.path().join("home");
    let hook = home.join("templates/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ntouch \"$HOME/ran\"\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join(".gitconfig"), format!("[init]\n\ttemplateDir = {}/templates\n", home.display()))
        .unwrap();
    scene.clone(&CloneRequest { branch: Some("new".into()), ..scene.request("app.git") }).await;
    assert!(!home.join("ran").exists());
}

#[test]
fn keys_come_with_the_lines_that_openssh_reads() {
    let mut request = request("git@github.com:a/b");
    request.credential =
        Credential::SshKey { key: "-----BEGIN-----\r\nabc\r\n-----END-----".to_owned().into() };
    let job = clone_job(&request);
    assert_eq!(job.env["BERTH_GIT_SSH_KEY"].expose_secret(), "-----BEGIN-----\nabc\n-----END-----");
    assert!(!job.script.contains("BEGIN"));
    assert_eq!((job.name.as_str(), job.user.as_str()), ("clone", "dev"));
}
