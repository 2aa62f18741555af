//! The handlers before the agent's own routes.

use berth_agent::supervisor::{self, Supervisor};
use tempfile::TempDir;

use super::*;

/// A supervisor whose workspace is a temporary folder.
struct House {
    folder: TempDir,
    supervisor: Arc<Supervisor>,
}

impl House {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let below = |name: &str| folder.path().join(name);
        let settings = supervisor::Settings {
            socket: below("socket"),
            state: below("state"),
            logs: below("logs"),
            workspace: folder.path().to_owned(),
            home: folder.path().to_owned(),
            user: "root".to_owned(),
            shell: "/bin/bash".into(),
        };
        std::fs::create_dir_all(&settings.state).unwrap();
        std::fs::create_dir_all(&settings.logs).unwrap();
        Self { supervisor: Supervisor::take_over(settings).await.unwrap(), folder }
    }

    fn world(&self) -> World {
        world_of(supervisor::router(self.supervisor.clone()), Settings::default())
    }

    async fn leave(self) {
        self.supervisor.leave().await;
        drop(self.folder);
    }
}

/// Reads a terminal until this text has come; returns where its output began.
async fn until(channels: &mut Channels, text: &str) -> u64 {
    let (channel, position) = channels.next().await.expect("it ended");
    assert_eq!(channel, 5, "the position comes first");
    let position: Value = serde_json::from_slice(&position).unwrap();
    let mut seen = String::new();
    while !seen.contains(text) {
        let (channel, bytes) = channels.next().await.unwrap_or_else(|| panic!("it ended after {seen:?}"));
        assert_eq!(channel, 1, "{}", String::from_utf8_lossy(&bytes));
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    position["offset"].as_u64().unwrap()
}

#[tokio::test]
async fn a_terminal_stays_when_its_viewer_leaves() {
    let house = House::new().await;
    let world = house.world();
    let path = "workspaces/web/attach?terminal=main&cols=100&rows=30";
    let mut viewer = world.socket("developer", path).await.unwrap();
    viewer.send(0, b"echo first$((20+22)); tty\r").await;
    assert_eq!(until(&mut viewer, "first42").await, 0);
    drop(viewer);

    let (_, list) = world.asked("reader", "GET", "workspaces/web/terminals", "").await;
    assert_eq!(list["terminals"][0]["name"], "main", "{list}");
    assert_eq!(list["terminals"][0]["size"], json!({"cols": 100, "rows": 30}));

    let mut viewer =
        world.socket("developer", "workspaces/web/attach?terminal=main&existing=true").await.unwrap();
    until(&mut viewer, "first42").await;
    viewer.send(4, br#"{"Width":77,"Height":11}"#).await;
    viewer.send(0, b"stty size; exit 3\r").await;
    let mut seen = String::new();
    let status = loop {
        let (channel, bytes) = viewer.next().await.expect("it ended without a status");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match channel {
            3 => break serde_json::from_str::<Value>(&text).unwrap(),
            _ => seen.push_str(&text),
        }
    };
    assert!(seen.contains("11 77"), "{seen:?}");
    assert_eq!(status["details"]["causes"][0]["message"], "3", "{status}");
    house.leave().await;
}

#[tokio::test]
async fn a_terminal_that_is_not_there_is_not_made_when_only_looked_for() {
    let house = House::new().await;
    let path = "workspaces/web/attach?terminal=main&existing=true";
    let refused = house.world().socket("developer", path).await.err().expect("it was let in");
    assert_eq!(refusal(refused), 404);
    house.leave().await;
}

#[tokio::test]
async fn a_process_that_is_not_there_has_no_log() {
    let house = House::new().await;
    let world = house.world();
    for (method, path) in [("GET", "devservers/web/log"), ("POST", "devservers/web/restart")] {
        let (status, body) = world.asked("developer", method, path, "").await;
        assert_eq!((status.as_u16(), body["reason"].as_str()), (404, Some("ProcessNotFound")), "{body}");
    }
    house.leave().await;
}

#[tokio::test]
async fn a_process_has_a_state_a_log_and_errors() {
    let house = House::new().await;
    let desired = json!({"processes": [{
        "id": "web",
        "run": true,
        "command": "echo started; echo '{\"level\":50,\"msg\":\"it broke\"}'; exec sleep 600",
        "workdir": house.folder.path(),
        "env": {},
        "port": null,
        "restart": {"policy": "Always", "maxRestarts": 3, "initialDelay": 1000, "maxDelay": 1000, "resetAfter": 1000},
        "health": {"path": null, "interval": 1000, "timeout": 1000, "startupGrace": 1000, "failureThreshold": 0},
        "logs": {"maxLines": 1000, "maxBytes": 1_000_000},
        "errors": {"json": true, "text": false, "fatal": []},
        "restartNonce": "",
    }]});
    let request = Request::put("/v1/processes")
        .header("content-type", "application/json")
        .body(Body::from(desired.to_string()))
        .unwrap();
    let routes = supervisor::router(house.supervisor.clone());
    assert_eq!(routes.oneshot(request).await.unwrap().status(), StatusCode::OK);

    let world = house.world();
    let followed = world.request("reader", "GET", "devservers/web/log?follow=true", "").await;
    assert_eq!(followed.status(), StatusCode::OK);
    let mut parts = followed.into_body().into_data_stream();
    let mut seen = String::new();
    while !seen.contains("it broke") {
        let part = timeout(PATIENCE, parts.next()).await.expect("no more output").expect("it ended").unwrap();
        seen.push_str(&String::from_utf8_lossy(&part));
    }
    let (_, errors) = world.asked("reader", "GET", "devservers/web/errors", "").await;
    assert_eq!(errors["errors"][0]["message"], "it broke", "{errors}");
    let (_, processes) = world.asked("reader", "GET", "workspaces/web/processes", "").await;
    assert_eq!(processes["processes"][0]["id"], "web", "{processes}");
    let (restarted, body) = world.asked("developer", "POST", "devservers/web/restart", "").await;
    assert_eq!(restarted, StatusCode::NO_CONTENT, "{body}");
    house.leave().await;
}

/// The files of a temporary folder.
fn files(folder: &TempDir) -> World {
    let settings = berth_agent::services::Settings {
        workspace: folder.path().to_owned(),
        home: folder.path().to_owned(),
        ..berth_agent::services::Settings::default()
    };
    world_of(berth_agent::services::files::router(&settings), Settings::default())
}

#[tokio::test]
async fn files_are_written_read_and_deleted() {
    let folder = TempDir::new().unwrap();
    let world = files(&folder);
    let path = "workspaces/web/files?path=a%20b";
    let written = world.request("developer", "PUT", path, "hello").await;
    assert_eq!(written.status(), StatusCode::NO_CONTENT);
    let read = world.request("reader", "GET", path, "").await;
    assert_eq!(read.headers()["etag"], written.headers()["etag"]);
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "hello");
    let (_, listing) = world.asked("reader", "GET", "workspaces/web/files/list", "").await;
    assert_eq!(listing["entries"][0]["name"], "a b", "{listing}");
    let (deleted, body) = world.asked("developer", "DELETE", path, "").await;
    assert_eq!(deleted, StatusCode::NO_CONTENT, "{body}");
    let (missing, body) = world.asked("reader", "GET", path, "").await;
    assert_eq!((missing.as_u16(), body["reason"].as_str()), (404, Some("NotFound")), "{body}");
}

#[rstest]
#[case("if-none-match", "*")]
#[case("if-match", "\"another\"")]
#[tokio::test]
async fn a_file_is_not_written_over_anothers_work(#[case] name: &str, #[case] value: &str) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("a"), "before").unwrap();
    let request = Request::builder()
        .method("PUT")
        .uri(format!("/apis/{GROUP}/{VERSION}/namespaces/team/workspaces/web/files?path=a"))
        .header("test-user", "developer")
        .header(name, value)
        .body(Body::from("after"))
        .unwrap();
    let response = files(&folder).router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "before");
}

#[tokio::test]
async fn a_path_outside_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = "workspaces/web/files?path=/etc/passwd";
    let (status, body) = files(&folder).asked("reader", "GET", path, "").await;
    assert_eq!((status.as_u16(), body["reason"].as_str()), (403, Some("PathNotAllowed")), "{body}");
}
