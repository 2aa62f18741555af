//! What is refused before a call does something: exact status, reason and errors.

use berth_proxmox_simulator::access::Acl;
use rstest::rstest;
use serde_json::json;

use crate::client::{TOKEN, World};

#[rstest]
#[case::no_ticket("GET", "/version", "", "", 401, "No ticket")]
#[case::other_scheme("GET", "/version", "Authorization: Bearer x\r\n", "", 401, "No ticket")]
#[case::bad_token(
    "GET",
    "/version",
    "Authorization: PVEAPIToken=a@pve!b=c\r\n",
    "",
    401,
    "Authentication failed!"
)]
#[case::bad_cookie_wins(
    "GET",
    "/version",
    "Cookie: PVEAuthCookie=x\r\nAuthorization: PVEAPIToken=berth@pve!ci=secret\r\n",
    "",
    401,
    "Authentication failed!"
)]
#[case::unknown_method("PATCH", "/version", TOKEN, "", 501, "method 'PATCH' not available")]
#[case::auth_before_route("GET", "/x", "", "", 401, "No ticket")]
#[case::body_on_delete(
    "DELETE",
    "/nodes/pve1/lxc/105",
    "Authorization: PVEAPIToken=berth@pve!ci=secret\r\nContent-Length: 3\r\n",
    "a=b",
    501,
    "Unexpected content for method 'DELETE'"
)]
#[case::too_large(
    "POST",
    "/nodes/pve1/lxc",
    "Authorization: PVEAPIToken=berth@pve!ci=secret\r\nContent-Length: 524289\r\n",
    "",
    501,
    "for data too large"
)]
#[case::chunked(
    "POST",
    "/nodes/pve1/lxc",
    "Authorization: PVEAPIToken=berth@pve!ci=secret\r\nTransfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    501,
    "chunked transfer encoding not supported"
)]
#[tokio::test]
async fn the_proxy_refuses_without_json(
    #[case] method: &str,
    #[case] path: &str,
    #[case] headers: &str,
    #[case] body: &str,
    #[case] status: u16,
    #[case] reason: &str,
) {
    let world = World::new().await;
    let reply = world.raw(method, path, headers, body).await;
    assert_eq!((reply.status, reply.reason.as_str()), (status, reason));
    // What the proxy does not understand it says in plain text as well.
    let text = reply.text.as_str();
    assert!(text.is_empty() || (status == 501 && text == reason), "{reply:?}");
    assert!(reply.head.contains("connection: close"), "{}", reply.head);
}

#[tokio::test]
async fn another_content_type_is_506_and_bad_json_plain_text() {
    let world = World::new().await;
    let headers = format!("{TOKEN}Content-Type: text/xml\r\nContent-Length: 1\r\n");
    assert_eq!(world.raw("POST", "/pools", &headers, "x").await.status, 506);
    let headers = format!("{TOKEN}Content-Type: application/json\r\nContent-Length: 1\r\n");
    let reply = world.raw("POST", "/pools", &headers, "x").await;
    assert_eq!(reply.status, 500);
    assert!(reply.text.starts_with("malformed JSON string"), "{reply:?}");
}

#[rstest]
#[case("vmid", "POST", "/nodes/pve1/lxc/abc/status/start", "", "type check ('integer') failed - got 'abc'")]
#[case(
    "vmid",
    "POST",
    "/nodes/pve1/lxc/99/status/start",
    "",
    "invalid format - value does not look like a valid VM ID\n"
)]
#[case("memory", "PUT", "/nodes/pve1/lxc/105/config", "memory=15", "value must have a minimum value of 16")]
#[case(
    "hostname",
    "PUT",
    "/nodes/pve1/lxc/105/config",
    "hostname=a_b",
    "invalid format - value does not look like a valid DNS name\n"
)]
#[case(
    "tags",
    "PUT",
    "/nodes/pve1/lxc/105/config",
    "tags=a%2Fb",
    "invalid format - invalid characters in tag\n"
)]
#[case(
    "onboot",
    "PUT",
    "/nodes/pve1/lxc/105/config",
    "onboot=true",
    "type check ('boolean') failed - got 'true'"
)]
#[case(
    "size",
    "PUT",
    "/nodes/pve1/lxc/105/resize",
    "disk=rootfs&size=x",
    "value does not match the regex pattern"
)]
#[case(
    "net0",
    "PUT",
    "/nodes/pve1/lxc/105/config",
    "net0=bridge=vmbr0",
    "invalid format - format error\nnet0.name: property is missing and it is not optional\n"
)]
#[case(
    "bogus",
    "PUT",
    "/nodes/pve1/lxc/105/config",
    "bogus=1",
    "property is not defined in schema and the schema does not allow additional properties"
)]
#[case("newid", "POST", "/nodes/pve1/lxc/105/clone", "full=1", "property is missing and it is not optional")]
#[case(
    "skiplock",
    "POST",
    "/nodes/pve1/lxc/105/status/start",
    "skiplock=1",
    "Only root may use this option."
)]
#[case("upid", "GET", "/nodes/pve1/tasks/x/status", "", "unable to parse worker upid")]
#[case(
    "upid",
    "GET",
    "/nodes/pve1/tasks/UPID:pve2:00000001:00000001:00000001:vzstart:1:berth@pve!ci:/status",
    "",
    "no such task"
)]
#[tokio::test]
async fn a_wrong_parameter_is_named(
    #[case] parameter: &str,
    #[case] method: &str,
    #[case] path: &str,
    #[case] form: &str,
    #[case] words: &str,
) {
    let world = World::new().await;
    let reply =
        if method == "GET" { world.get(path).await } else { world.form(method, path, TOKEN, form).await };
    assert_eq!((reply.status, reply.reason.as_str()), (400, "Parameter verification failed."), "{reply:?}");
    assert_eq!(reply.error(parameter), words, "{reply:?}");
}

#[tokio::test]
async fn an_absent_container_is_403_without_audit_and_500_with_it() {
    let world =
        World::with(|settings| settings.add_token("poor@pve", "ci", "p", "NoAccess", "/"), 0.01).await;
    let path = "/nodes/pve1/lxc/105/config";
    let missing = world.get(path).await;
    assert_eq!(missing.status, 500);
    assert_eq!(missing.reason, "Configuration file 'nodes/pve1/lxc/105.conf' does not exist");
    assert_eq!(missing.json()["message"], format!("{}\n", missing.reason));
    let denied = world.raw("GET", path, "Authorization: PVEAPIToken=poor@pve!ci=p\r\n", "").await;
    assert_eq!(
        (denied.status, denied.reason.as_str()),
        (403, "Permission check failed (/vms/105, VM.Audit)")
    );
}

#[tokio::test]
async fn a_ticket_needs_its_token_on_writes_and_passes_checks_for_root() {
    let world = World::new().await;
    let login =
        world.form("POST", "/access/ticket", "", "username=root@pam&password=root-password").await.data();
    let cookie: String =
        url::form_urlencoded::byte_serialize(login["ticket"].as_str().unwrap().as_bytes()).collect();
    let cookie = format!("Cookie: PVEAuthCookie={cookie}\r\n");
    assert_eq!(world.raw("GET", "/version", &cookie, "").await.status, 200);
    let refused = world.form("POST", "/pools", &cookie, "poolid=p").await;
    assert_eq!((refused.status, refused.reason.as_str()), (401, "Permission denied - invalid csrf token"));
    let both = format!("{cookie}CSRFPreventionToken: {}\r\n", login["CSRFPreventionToken"].as_str().unwrap());
    assert_eq!(world.form("POST", "/pools", &both, "poolid=p").await.status, 200);
    world.template().await;
    let path = "/nodes/pve1/lxc/9000/config";
    assert_eq!(world.form("PUT", path, &both, "dev0=/dev/net/tun").await.status, 200);
    let denied = world.put(path, "dev0=/dev/net/tun").await;
    assert_eq!(
        denied.reason,
        "Permission check failed (configuring device passthrough is only allowed for root@pam)"
    );
    let bad = world.form("POST", "/access/ticket", "", "username=root@pam&password=x").await;
    assert_eq!(
        (bad.status, bad.reason.as_str(), &bad.json()["data"]),
        (401, "authentication failure", &json!(null))
    );
}

#[tokio::test]
async fn rights_of_a_group_are_its_users_unless_they_have_their_own() {
    let world = World::with(
        |settings| {
            for (name, groups) in [("ann@pve", vec!["people".to_owned()]), ("bob@pve", Vec::new())] {
                settings.add_token(name, "ci", "p", "PVEAdmin", "/nowhere");
                let user = settings.users.get_mut(name).unwrap();
                user.groups = groups;
                user.tokens.get_mut("ci").unwrap().privsep = false;
            }
            let entry = |path: &str, who: &str, role: &str| Acl {
                path: path.into(),
                who: who.into(),
                role: role.into(),
                propagate: true,
            };
            settings.acls.extend([
                entry("/vms", "@people", "PVEAuditor"),
                entry("/vms/106", "ann@pve", "NoAccess"),
                entry("/vms/106", "@people", "PVEAuditor"),
            ]);
        },
        0.01,
    )
    .await;
    let asked = async |user: &str, vmid: u32| {
        let token = format!("Authorization: PVEAPIToken={user}!ci=p\r\n");
        world.raw("GET", &format!("/nodes/pve1/lxc/{vmid}/config"), &token, "").await.status
    };
    // 500: it may be looked at, and is not there.
    assert_eq!(asked("ann@pve", 105).await, 500);
    assert_eq!(asked("bob@pve", 105).await, 403);
    assert_eq!(asked("ann@pve", 106).await, 403);
}
