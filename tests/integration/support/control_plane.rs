//! One control plane for all tests of this binary: etcd, kube-apiserver and
//! kube-controller-manager, on free ports and in a folder of their own.
//!
//! The script that runs it ends it when its standard input closes, so it ends with this process
//! however that ends.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use k8s_openapi::{
    api::core::v1::Namespace as NamespaceObject,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{checkout, eventually, word};

/// A running control plane.
pub struct ControlPlane {
    folder: PathBuf,
    // Held for its standard input: the control plane lives for as long as that is open.
    _script: Child,
}

/// The control plane of this test binary, started by the first test that asks for it.
pub async fn control_plane() -> &'static ControlPlane {
    static RUNNING: OnceLock<ControlPlane> = OnceLock::new();
    static INSTALLED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let plane = tokio::task::spawn_blocking(|| RUNNING.get_or_init(|| ControlPlane::start("tests")))
        .await
        .expect("starting the control plane panicked");
    INSTALLED.get_or_init(|| plane.install_definitions()).await;
    plane
}

impl ControlPlane {
    /// Starts one. Panics with its own words when it does not start.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts one with additional environment variables for its script.
    pub fn start_with(name: &str, variables: &[(&str, &Path)]) -> Self {
        let tools =
            Command::new(checkout().join("hack/tools.sh")).status().expect("hack/tools.sh does not start");
        assert!(tools.success(), "hack/tools.sh failed");
        let folder = std::env::temp_dir().join(format!("berth-{name}-{}-{}", std::process::id(), word()));
        std::fs::create_dir_all(&folder).expect("no temporary folder");
        let mut script = Command::new(checkout().join("hack/control-plane.sh"))
            .arg("run")
            .arg(&folder)
            .arg("--stop-on-stdin-eof")
            .envs(variables.iter().copied())
            .env("BERTH_REMOVE_ON_STOP", "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("hack/control-plane.sh does not start");
        let mut line = String::new();
        let stdout = script.stdout.take().expect("it has an output");
        BufReader::new(stdout).read_line(&mut line).expect("its output can be read");
        assert_eq!(line.trim(), "ready", "the control plane did not start; see {}", folder.display());
        Self { folder, _script: script }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The administrator's client. A client belongs to the runtime that it was made on, so every
    /// test makes its own.
    pub async fn client(&self) -> Client {
        client_of(&self.kubeconfig()).await
    }

    /// Runs kubectl as the administrator and returns what it printed; panics when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.kubectl_with_input(arguments, "");
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs kubectl with something on its standard input.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> std::process::Output {
        use std::io::Write;
        let mut child = Command::new(tool("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl does not start");
        child
            .stdin
            .take()
            .expect("it has an input")
            .write_all(input.as_bytes())
            .expect("kubectl takes no input");
        child.wait_with_output().expect("kubectl does not end")
    }

    /// Makes a namespace of its own for a test.
    pub async fn namespace(&self, prefix: &str) -> Namespace {
        let client = self.client().await;
        let name = format!("{prefix}-{}", word());
        let object = NamespaceObject {
            metadata: kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() },
            ..Default::default()
        };
        let api: Api<NamespaceObject> = Api::all(client.clone());
        api.create(&PostParams::default(), &object).await.expect("the namespace can not be made");
        Namespace { name, client }
    }

    async fn install_definitions(&self) {
        install_definitions(&self.client().await).await;
    }
}

/// Installs our CustomResourceDefinitions and waits until they are served.
pub async fn install_definitions(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in berth::api::crd::all() {
        let name = definition.metadata.name.clone().expect("a definition has a name");
        let parameters = PatchParams::apply("tests").force();
        api.patch(&name, &parameters, &Patch::Apply(&definition)).await.expect("the definition is refused");
        eventually(std::time::Duration::from_secs(20), "the definition is established", || async {
            let found = api.get(&name).await.expect("the definition is gone");
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            match conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
                true => Ok(()),
                false => Err(conditions),
            }
        })
        .await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self._script.stdin.take());
        let _ = self._script.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client for a kubeconfig file.
pub async fn client_of(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can not be read");
    let config =
        Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("it is not valid");
    Client::try_from(config).expect("no client can be made")
}

/// Path of a tool that hack/tools.sh provides.
pub fn tool(name: &str) -> PathBuf {
    checkout().join(".local/bin").join(name)
}

/// A namespace of one test.
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The administrator's client, of the test's own runtime.
    pub client: Client,
}

impl Namespace {
    /// Objects of a kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Deletes it; nobody waits for that to end.
    pub async fn delete(&self) {
        let api: Api<NamespaceObject> = Api::all(self.client.clone());
        let _ = api.delete(&self.name, &DeleteParams::default()).await;
    }
}
