use rstest::rstest;

use super::*;
use crate::provision::ProvisionReason::*;

const SSH_END: &str = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";

#[rstest]
#[case(
    128,
    "Cloning into '/workspace/.berth-clone-a'...\nremote: Invalid username or password.\nfatal: Authentication failed for 'https://github.com/a/b.git/'\n",
    GitAuthFailed,
    "fatal: Authentication failed for 'https://github.com/a/b.git/'"
)]
#[case(
    128,
    "fatal: could not read Username for 'https://github.com': terminal prompts disabled\n",
    GitAuthFailed,
    "fatal: could not read Username for 'https://github.com': terminal prompts disabled"
)]
#[case(
    128,
    "remote: HTTP Basic: Access denied. The provided password or token is incorrect\nfatal: Authentication failed for 'https://gitlab.com/a/b.git/'\n",
    GitAuthFailed,
    "fatal: Authentication failed for 'https://gitlab.com/a/b.git/'"
)]
#[case(
    128,
    "remote: Write access to repository not granted.\nfatal: unable to access 'https://github.com/a/b/': The requested URL returned error: 403\n",
    GitAuthFailed,
    "fatal: unable to access 'https://github.com/a/b/': The requested URL returned error: 403"
)]
#[case(
    128,
    "git@github.com: Permission denied (publickey).\r\nSSH_END",
    GitAuthFailed,
    "git@github.com: Permission denied (publickey)."
)]
#[case(
    128,
    "Load key \"/run/berth/user/.berth-git.a/key\": error in libcrypto\r\ngit@github.com: Permission denied (publickey).\r\nSSH_END",
    GitAuthFailed,
    "Load key \"/run/berth/user/.berth-git.a/key\": error in libcrypto"
)]
#[case(
    128,
    "No ED25519 host key is known for git.example and you have requested strict checking.\r\nHost key verification failed.\r\nSSH_END",
    GitHostKeyMismatch,
    "Host key verification failed."
)]
#[case(
    128,
    "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\nHost key for git.example has changed and you have requested strict checking.\nHost key verification failed.\nSSH_END",
    GitHostKeyMismatch,
    "Host key verification failed."
)]
#[case(
    128,
    "remote: Repository not found.\nfatal: repository 'https://github.com/a/nope.git/' not found\n",
    GitRepositoryNotFound,
    "fatal: repository 'https://github.com/a/nope.git/' not found"
)]
#[case(128, "ERROR: Repository not found.\nSSH_END", GitRepositoryNotFound, "ERROR: Repository not found.")]
#[case(
    128,
    "remote: \nremote: ERROR: The project you were looking for could not be found or you don't have permission to view it.\nremote: \nSSH_END",
    GitRepositoryNotFound,
    "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it."
)]
#[case(
    128,
    "fatal: '/srv/x.git' does not appear to be a git repository\nSSH_END",
    GitRepositoryNotFound,
    "fatal: '/srv/x.git' does not appear to be a git repository"
)]
#[case(
    128,
    "fatal: https://example.com/info/refs not valid: is this a git repository?\n",
    GitRepositoryNotFound,
    "fatal: https://example.com/info/refs not valid: is this a git repository?"
)]
#[case(
    128,
    "fatal: transport 'file' not allowed\nfatal: clone of '/srv/sub' into submodule path '/workspace/.berth-clone-a/sub' failed\n",
    GitUrlInvalid,
    "fatal: transport 'file' not allowed"
)]
#[case(
    128,
    "git: 'remote-foo' is not a git command. See 'git --help'.\n",
    GitUrlInvalid,
    "git: 'remote-foo' is not a git command. See 'git --help'."
)]
#[case(
    128,
    "fatal: unable to access 'https://nope.invalid/a/': Could not resolve host: nope.invalid\n",
    GitNetwork,
    "fatal: unable to access 'https://nope.invalid/a/': Could not resolve host: nope.invalid"
)]
#[case(
    128,
    "ssh: Could not resolve hostname nope.invalid: Name or service not known\r\nSSH_END",
    GitNetwork,
    "ssh: Could not resolve hostname nope.invalid: Name or service not known"
)]
#[case(
    128,
    "ssh: connect to host 127.0.0.1 port 22: Connection refused\r\nSSH_END",
    GitNetwork,
    "ssh: connect to host 127.0.0.1 port 22: Connection refused"
)]
#[case(
    128,
    "fatal: unable to access 'https://h/a/': Failed to connect to h port 443 after 3 ms: Couldn't connect to server\n",
    GitNetwork,
    "fatal: unable to access 'https://h/a/': Failed to connect to h port 443 after 3 ms: Couldn't connect to server"
)]
#[case(
    128,
    "fatal: unable to access 'https://h/a/': server certificate verification failed. CAfile: none CRLfile: none\n",
    GitNetwork,
    "fatal: unable to access 'https://h/a/': server certificate verification failed. CAfile: none CRLfile: none"
)]
#[case(
    128,
    "fatal: unable to access 'https://h/a/': SSL certificate problem: self-signed certificate\n",
    GitNetwork,
    "fatal: unable to access 'https://h/a/': SSL certificate problem: self-signed certificate"
)]
#[case(
    128,
    "Receiving objects:  12% (1/8)\rerror: RPC failed; curl 56 Recv failure: Connection reset by peer\nerror: 932 bytes of body are still expected\nfetch-pack: unexpected disconnect while reading sideband packet\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n",
    GitNetwork,
    "fatal: early EOF"
)]
#[case(
    128,
    "fatal: unable to access 'https://h/a/': The requested URL returned error: 503\n",
    GitNetwork,
    "fatal: unable to access 'https://h/a/': The requested URL returned error: 503"
)]
#[case(
    128,
    "Receiving objects: 100% (8/8), done.\nfatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output\n",
    GitOutOfSpace,
    "fatal: write error: No space left on device"
)]
#[case(
    128,
    "error: index-pack died of signal 9\nfatal: fetch-pack: invalid index-pack output\n",
    OutOfMemory,
    "error: index-pack died of signal 9"
)]
#[case(
    137,
    "Receiving objects:  12% (1/8)\rKilled\n",
    OutOfMemory,
    "the clone was killed, most likely because the container ran out of memory"
)]
#[case(81, "berth: git is not installed in the image\n", GitMissing, "git is not installed in the image")]
#[case(83, "berth: ssh is not installed in the image\n", GitMissing, "ssh is not installed in the image")]
#[case(
    82,
    "berth: /workspace is not empty: notes.txt\n",
    WorkspaceNotEmpty,
    "/workspace is not empty: notes.txt"
)]
#[case(
    128,
    "fatal: bad config line 1 in file /home/dev/.gitconfig\n",
    GitFailed,
    "fatal: bad config line 1 in file /home/dev/.gitconfig"
)]
#[case(
    1,
    "Updating files: 100% (3/3), done.\nerror: unable to create file a/b: File name too long\n",
    GitFailed,
    "error: unable to create file a/b: File name too long"
)]
#[case(128, "Cloning into 'x'...\nSSH_END", GitFailed, "fatal: Could not read from remote repository.")]
#[case(1, "", GitFailed, "git ended without a word")]
fn failures(#[case] code: i64, #[case] output: &str, #[case] reason: ProvisionReason, #[case] message: &str) {
    let error = failure(code, &output.replace("SSH_END", SSH_END));
    assert_eq!((error.reason, error.message.as_str()), (reason, message));
    assert_eq!(error.retryable, reason == GitNetwork);
}

#[test]
fn a_token_is_never_shown() {
    let output = "remote: token ghp_0123456789abcdefABCDEF is bad\nfatal: Authentication failed for 'https://me:hunter2@h/a'\n";
    let error = failure(128, output);
    assert!(!error.message.contains("hunter2") && !error.message.contains("ghp_0"), "{error}");
}
