//! Provisioning runs over SSH as it does on any other backend.

use std::collections::BTreeMap;

use berth::{
    backend::{Guest, JobState},
    provision::{
        AgentSettings, AgentSetup, CloneRequest, Credential, Environment, GitIdentity, RemoteUrl, Setup,
        clone, clone_job, configure,
    },
};

use super::server::{PATIENCE, Server, output_of};
use crate::support::git_server;

fn setup() -> Setup {
    let mut environment = Environment::default();
    environment.public.insert("GREETING".to_owned(), "it's me".to_owned());
    environment.secret.insert("PASSWORD".to_owned(), "hidden".to_owned().into());
    Setup {
        name: "one".to_owned(),
        namespace: "team".to_owned(),
        user: "ada".to_owned(),
        environment,
        git: GitIdentity { name: Some("Ada".to_owned()), email: Some("ada@example.com".to_owned()) },
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_container_becomes_a_workspace() {
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    // Its init is not the agent's, and is left alone by what is said to that.
    server.sh("kill -0 1");
    let settings = AgentSettings {
        proxy: None,
        gateways: vec!["http://gateway".to_owned()],
        user: "ada".to_owned(),
        certificate_authorities: None,
        update: None,
    };
    let agent = Some(AgentSetup { settings, token: "token".to_owned().into() });
    let setup = Setup { agent, ..setup() };
    configure(&guest, &setup).await.unwrap();
    configure(&guest, &setup).await.unwrap();
    let shown = output_of(
        &guest,
        "ada",
        r#". /etc/profile.d/berth.sh; id -un; echo "$GREETING $PASSWORD $WORKSPACE_NAME"
        git config --global user.name; stat -c %U /workspace; stat -c '%U %a' /run/berth /run/berth/secrets.env"#,
    )
    .await;
    assert_eq!(shown, "ada\nit's me hidden one\nAda\nada\nroot 755\nada 600\n");
}

#[tokio::test]
async fn a_repository_is_cloned() {
    let git = git_server().await;
    let server = Server::start().await;
    let pool = server.pool();
    let guest = server.guest(&pool).await;
    configure(
        &guest,
        &Setup { environment: Environment { public: BTreeMap::new(), ..setup().environment }, ..setup() },
    )
    .await
    .unwrap();
    let request = CloneRequest {
        url: RemoteUrl::parse(&git.ssh()).unwrap(),
        branch: None,
        depth: None,
        submodules: false,
        credential: Credential::SshKey { key: git.ssh_key().into() },
        known_hosts: Some(git.known_hosts()),
        user: "ada".to_owned(),
    };
    guest.start_job(clone_job(&request)).await.unwrap();
    let state = guest.look_at_job(clone::JOB_NAME, PATIENCE).await.unwrap();
    assert!(matches!(state, JobState::Exited { code: 0, .. }), "{state:?}");
    let head = output_of(&guest, "ada", "cd /workspace && git rev-parse HEAD && stat -c %U secret.txt").await;
    assert_eq!(head, format!("{}\nada\n", git.head("private/secret", "main")));
}
