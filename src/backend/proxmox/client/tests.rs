//! What each call sends, and what it makes of the answer.

use std::{fmt::Debug, time::Duration};

use rstest::rstest;
use secrecy::SecretString;

use super::{
    scripted::{Node, Step, answer, data, refusal},
    *,
};

const UPID: &str = "UPID:pve1:0001A2B3:00C0FFEE:6740AB12:vzstart:105:berth@pve!test:";

fn pve1() -> NodeName {
    "pve1".parse().unwrap()
}

fn ct(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

fn task() -> Step {
    data(format!("\"{UPID}\""))
}

fn clone(disk: CloneDisk) -> CloneRequest {
    CloneRequest {
        new_id: ct(105),
        disk,
        hostname: None,
        description: None,
        pool: None,
        snapshot: None,
        target: None,
    }
}

/// What a call sent: `METHOD ADDRESS` below the API's own address, and its form.
async fn sent<T: Debug>(step: Step, call: impl AsyncFnOnce(&Client) -> Result<T, Error>) -> String {
    let node = Node::start([step]).await;
    call(&node.client()).await.unwrap();
    let [request] = node.received().try_into().unwrap();
    let line = request.line().replace("/api2/json", "").replace("/nodes/pve1/lxc", "/..");
    if request.body.is_empty() { line } else { format!("{line} {}", request.body) }
}

#[tokio::test]
async fn clones() {
    let full = CloneRequest {
        hostname: "ws-1".parse().ok(),
        description: Some("nonce=1".into()),
        pool: "team/dev".parse().ok(),
        ..clone(CloneDisk::Full("local-lvm".parse().ok()))
    };
    assert_eq!(
        sent(task(), async |client| client.clone_container(&pve1(), ct(9000), &full).await).await,
        "POST /../9000/clone newid=105&full=1&storage=local-lvm&hostname=ws-1&description=nonce%3D1&\
         pool=team%2Fdev"
    );
    let linked = clone(CloneDisk::Linked);
    assert_eq!(
        sent(task(), async |client| client.clone_container(&pve1(), ct(9000), &linked).await).await,
        "POST /../9000/clone newid=105&full=0"
    );
}

#[tokio::test]
async fn creation() {
    let request = CreateRequest {
        vmid: ct(105),
        archive: "local:vztmpl/debian-12.tar.zst".parse().unwrap(),
        storage: "local-lvm".parse().unwrap(),
        disk_gib: 8,
        unprivileged: true,
        ssh_public_keys: Some("ssh-ed25519 AAAA me".into()),
        password: Some(SecretString::from("p&w")),
        pool: None,
        configuration: Change { memory: Some(512), tags: Some(Tags::read("a")), ..Change::default() },
    };
    assert_eq!(
        sent(task(), async |client| client.create_container(&pve1(), &request).await).await,
        "POST /.. vmid=105&ostemplate=local%3Avztmpl%2Fdebian-12.tar.zst&rootfs=local-lvm%3A8&\
         unprivileged=1&ssh-public-keys=ssh-ed25519+AAAA+me&password=p%26w&tags=a&memory=512"
    );
}

#[tokio::test]
async fn power() {
    let (node, vmid, grace) = (pve1(), ct(105), Duration::from_secs(30));
    let seen = [
        sent(task(), async |client| client.start(&node, vmid).await).await,
        sent(task(), async |client| client.stop(&node, vmid, false).await).await,
        sent(task(), async |client| client.stop(&node, vmid, true).await).await,
        sent(task(), async |client| client.shutdown(&node, vmid, grace, true).await).await,
        sent(task(), async |client| client.reboot(&node, vmid, grace).await).await,
    ];
    assert_eq!(
        seen,
        [
            "POST /../105/status/start",
            "POST /../105/status/stop",
            "POST /../105/status/stop overrule-shutdown=1",
            "POST /../105/status/shutdown timeout=30&forceStop=1",
            "POST /../105/status/reboot timeout=30",
        ]
    );
}

#[tokio::test]
async fn template_and_removal() {
    let request = DeleteRequest { purge: true, unreferenced_disks: true, force: false };
    assert_eq!(
        sent(task(), async |client| client.delete_container(&pve1(), ct(105), request).await).await,
        "DELETE /../105?force=0&purge=1&destroy-unreferenced-disks=1"
    );
    assert_eq!(
        sent(data("null"), async |client| client.make_template(&pve1(), ct(105)).await).await,
        "POST /../105/template"
    );
}

#[tokio::test]
async fn a_change_sets_and_unsets_under_a_digest() {
    let digest = {
        let node = Node::start([data(r#"{"digest":"0a1b"}"#)]).await;
        let read = node.client().configuration(&pve1(), ct(105), View::Current).await.unwrap();
        assert_eq!(node.lines(), ["GET /api2/json/nodes/pve1/lxc/105/config?current=1"]);
        read.digest
    };
    let change = Change {
        memory: Some(1024),
        tags: Some(Tags::default()),
        cores: Setting::Unset,
        ..Change::default()
    };
    assert_eq!(
        sent(data("null"), async |client| {
            client.change_configuration(&pve1(), ct(105), &change, Some(&digest)).await
        })
        .await,
        "PUT /../105/config memory=1024&delete=tags%2Ccores&digest=0a1b"
    );
}

#[tokio::test]
async fn a_change_of_nothing_asks_nobody_and_a_wrong_one_neither() {
    let node = Node::start([]).await;
    let client = node.client();
    assert_eq!(client.change_configuration(&pve1(), ct(105), &Change::default(), None).await, Ok(()));
    let wrong = Change { memory: Some(1), ..Change::default() };
    let error = client.change_configuration(&pve1(), ct(105), &wrong, None).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Unsendable(_)));
    assert_eq!(error.effect, Effect::Nothing);
    assert!(node.lines().is_empty());
}

#[rstest]
#[case::plain(Change { memory: Some(1024), ..Change::default() }, false, 2)]
#[case::with_a_digest(Change { memory: Some(1024), ..Change::default() }, true, 1)]
#[case::with_a_new_hardware_address(
    Change { networks: [(0, Setting::Set("name=eth0,ip=dhcp".parse().unwrap()))].into(), ..Change::default() },
    false,
    1
)]
#[tokio::test]
async fn a_change_is_repeated_only_when_that_changes_nothing_more(
    #[case] change: Change,
    #[case] with_digest: bool,
    #[case] requests: usize,
) {
    let node = Node::start([Step::HangUp, Step::HangUp]).await;
    let digest = with_digest.then(Digest::default);
    let error =
        node.client().change_configuration(&pve1(), ct(105), &change, digest.as_ref()).await.unwrap_err();
    assert_eq!(error.effect, Effect::Unknown);
    assert_eq!(node.received().len(), requests);
}

#[rstest]
#[case(8 * 1024, "PUT /../105/resize disk=rootfs&size=8G")]
#[case(8 * 1024 + 1, "PUT /../105/resize disk=rootfs&size=8193M")]
#[tokio::test]
async fn a_size_always_has_a_unit(#[case] size: u64, #[case] expected: &str) {
    let seen = sent(task(), async |client| client.resize(&pve1(), ct(105), Disk::Rootfs, size, None).await);
    assert_eq!(seen.await, expected);
}

#[rstest]
#[case(task(), Some(Resize::Started(UPID.parse().unwrap())))]
#[case(refusal("500 disk is already at specified size"), Some(Resize::AlreadyThatSize))]
#[case(refusal("500 unable to shrink disk size"), None)]
#[tokio::test]
async fn a_disk_that_has_its_size_is_success(#[case] step: Step, #[case] expected: Option<Resize>) {
    let node = Node::start([step]).await;
    let resized = node.client().resize(&pve1(), ct(105), Disk::MountPoint(3), 1024, None).await;
    assert_eq!(resized.ok(), expected);
}

#[rstest]
#[case("null", None)]
#[case("[]", Some(0))]
#[case(r#"[{"name":"eth0","hwaddr":"bc:24:11:00:00:01","inet":"10.0.0.5/24"}]"#, Some(1))]
#[tokio::test]
async fn a_stopped_container_has_no_interfaces(#[case] sent: &str, #[case] expected: Option<usize>) {
    let node = Node::start([data(sent)]).await;
    let interfaces = node.client().interfaces(&pve1(), ct(105)).await.unwrap();
    assert_eq!(interfaces.map(|interfaces| interfaces.len()), expected);
}

#[tokio::test]
async fn a_missing_container_is_told_from_a_forbidden_one() {
    let missing = refusal("500 Configuration file 'nodes/pve1/lxc/105.conf' does not exist");
    let forbidden = refusal("403 Permission check failed (/vms/105, VM.Audit)");
    let node = Node::start([missing, forbidden]).await;
    let client = node.client();
    assert!(client.container_status(&pve1(), ct(105)).await.unwrap_err().is_missing_container());
    let error = client.container_status(&pve1(), ct(105)).await.unwrap_err();
    assert!(!error.is_missing_container());
    assert!(matches!(error.failure, Failure::Denied { needs: Needs::Privilege { .. }, .. }));
}

#[tokio::test]
async fn a_number_is_free_or_taken() {
    let taken = answer(
        "400 Parameter verification failed.",
        r#"{"data":null,"errors":{"vmid":"VM 218 already exists"}}"#,
    );
    let node = Node::start([data("\"108\""), data(108), data("\"218\""), Step::Say(taken)]).await;
    let client = node.client();
    assert_eq!(client.next_id().await, Ok(ct(108)));
    assert_eq!(client.next_id().await, Ok(ct(108)));
    assert_eq!(client.is_free(ct(218)).await, Ok(true));
    assert_eq!(client.is_free(ct(218)).await, Ok(false));
    assert_eq!(node.lines()[2], "GET /api2/json/cluster/nextid?vmid=218");
}

#[tokio::test]
async fn the_cluster() {
    let node = Node::start([
        data(r#"{"version":"9.2.11","release":"9.2","repoid":"1a"}"#),
        data(
            r#"[{"node":"pve1","status":"online","maxcpu":8,"maxmem":1,"mem":"1"},
                 {"node":"pve2","status":"unknown"}]"#,
        ),
        data(
            r#"[{"id":"lxc/105","vmid":105,"node":"pve1","type":"lxc","status":"running","tags":"b;a"},
                 {"id":"qemu/9000","vmid":9000,"node":"pve1","type":"qemu","template":1}]"#,
        ),
        data(r#"[{"vmid":"105","status":"stopped","name":"CT105","type":"lxc"}]"#),
    ])
    .await;
    let client = node.client();
    assert_eq!(client.version().await.unwrap().version, "9.2.11");
    let online = client.nodes().await.unwrap().iter().map(|node| node.online).collect::<Vec<_>>();
    assert_eq!(online, [true, false]);
    let guests = client.guests().await.unwrap();
    assert_eq!(guests[0].tags, Tags::read("a b"));
    assert_eq!((guests[1].kind, guests[1].template), (GuestKind::Other, true));
    assert_eq!(client.containers(&pve1()).await.unwrap()[0].status, RunState::Stopped);
    assert_eq!(node.lines()[2], "GET /api2/json/cluster/resources?type=vm");
}

#[tokio::test]
async fn pools_and_permissions() {
    let node = Node::start([
        data(
            r#"[{"poolid":"team","members":[{"id":"lxc/105","vmid":105,"type":"lxc"},
                 {"id":"storage/pve1/nfs","storage":"nfs","type":"storage"}]}]"#,
        ),
        refusal("500 pool 'team' does not exist"),
        data(r#"{"/vms/105":{"VM.Audit":1,"VM.Clone":0}}"#),
    ])
    .await;
    let client = node.client();
    let team = "team".parse().unwrap();
    let pool = client.pool(&team).await.unwrap().unwrap();
    assert_eq!((pool.guests, pool.storages), ([ct(105)].into(), ["nfs".to_owned()].into()));
    assert_eq!(client.pool(&team).await, Ok(None));
    let permissions = client.permissions(Some("/vms/105")).await.unwrap();
    assert!(permissions.allows("/vms/105", "VM.Clone"), "it holds, though not below the path");
    assert!(!permissions.allows("/vms/105", "VM.Allocate"));
    assert_eq!(
        node.lines()[1..],
        ["GET /api2/json/pools?poolid=team", "GET /api2/json/access/permissions?path=%2Fvms%2F105"]
    );
}

#[tokio::test]
async fn storages_and_archives() {
    let node = Node::start([
        data(
            r#"[{"storage":"local-lvm","type":"lvmthin","content":"rootdir,images","active":1,
                  "enabled":"1","shared":0,"total":100,"avail":40}]"#,
        ),
        data(r#"[{"volid":"local:iso/a name.iso","size":5,"ctime":1}]"#),
        data(
            r#"[{"template":"debian-12-standard_12.7-1_amd64.tar.zst","package":"debian-12-standard",
                  "version":"12.7-1","os":"debian-12","headline":"x"}]"#,
        ),
        task(),
    ])
    .await;
    let client = node.client();
    let [storage] =
        client.storages(&pve1(), Some(Content::ContainerDisks)).await.unwrap().try_into().unwrap();
    assert!(storage.active && storage.enabled && !storage.shared);
    assert_eq!((storage.content.len(), storage.available), (2, Some(40)));
    let local = "local".parse().unwrap();
    assert_eq!(client.stored_volumes(&pve1(), &local, Content::Archives).await.unwrap()[0].size, Some(5));
    let [appliance] = client.appliances(&pve1()).await.unwrap().try_into().unwrap();
    client.download_appliance(&pve1(), &local, &appliance).await.unwrap();
    let received = node.received();
    assert_eq!(received[0].line(), "GET /api2/json/nodes/pve1/storage?content=rootdir");
    assert_eq!(received[1].line(), "GET /api2/json/nodes/pve1/storage/local/content?content=vztmpl");
    assert_eq!(received[3].body, "storage=local&template=debian-12-standard_12.7-1_amd64.tar.zst");
}

#[tokio::test]
async fn pending_and_features() {
    let node = Node::start([
        data(r#"[{"key":"memory","value":512,"pending":1024},{"key":"tags","value":"a","delete":1}]"#),
        data(r#"{"hasFeature":1}"#),
        data(r#"{"hasFeature":false}"#),
    ])
    .await;
    let client = node.client();
    let pending = client.pending(&pve1(), ct(105)).await.unwrap();
    assert_eq!(pending[0].pending.as_deref(), Some("1024"));
    assert!(pending[1].delete && !pending[0].delete);
    assert_eq!(client.has_feature(&pve1(), ct(105), Feature::Clone).await, Ok(true));
    assert_eq!(client.has_feature(&pve1(), ct(105), Feature::Snapshot).await, Ok(false));
    assert_eq!(node.lines()[1], "GET /api2/json/nodes/pve1/lxc/105/feature?feature=clone");
}

#[tokio::test]
async fn snapshots() {
    let list = data(r#"[{"name":"saved","snaptime":1,"description":"x\n"},{"name":"current"}]"#);
    let node = Node::start([list, task(), task(), task()]).await;
    let (client, name) = (node.client(), "saved".parse().unwrap());
    let [snapshot] = client.snapshots(&pve1(), ct(105)).await.unwrap().try_into().unwrap();
    assert_eq!((snapshot.name.as_str(), snapshot.made), ("saved", Some(1)));
    client.make_snapshot(&pve1(), ct(105), &name, "").await.unwrap();
    client.roll_back(&pve1(), ct(105), &name).await.unwrap();
    client.delete_snapshot(&pve1(), ct(105), &name).await.unwrap();
    assert_eq!(node.received()[1].body, "snapname=saved");
    assert_eq!(
        node.lines()[1..],
        [
            "POST /api2/json/nodes/pve1/lxc/105/snapshot",
            "POST /api2/json/nodes/pve1/lxc/105/snapshot/saved/rollback",
            "DELETE /api2/json/nodes/pve1/lxc/105/snapshot/saved",
        ]
    );
}

#[tokio::test]
async fn an_answer_of_another_shape_is_no_success() {
    let node = Node::start([data("\"OK\""), data("{}")]).await;
    let client = node.client();
    let error = client.start(&pve1(), ct(105)).await.unwrap_err();
    assert_eq!(error.effect, Effect::Unknown, "it may have been started");
    let error = client.nodes().await.unwrap_err();
    assert!(matches!(error.failure, Failure::Unexpected { status: 200, .. }));
}
