//! The Docker daemon of this machine, as the tests look at it.

use std::process::Command;

/// What one operator instance has on the daemon.
pub struct Docker {
    instance: String,
}

impl Docker {
    /// Looks at what carries this instance's mark.
    pub fn of(instance: &str) -> Self {
        Self { instance: instance.to_owned() }
    }

    fn filter(&self) -> String {
        format!("label=berth.dev/instance={}", self.instance)
    }

    /// Names of its containers, running or not.
    pub fn containers(&self) -> Vec<String> {
        docker(&["ps", "--all", "--filter", &self.filter(), "--format", "{{.Names}}"])
    }

    /// Names of its networks.
    pub fn networks(&self) -> Vec<String> {
        docker(&["network", "ls", "--filter", &self.filter(), "--format", "{{.Name}}"])
    }

    /// Names of its volumes.
    pub fn volumes(&self) -> Vec<String> {
        docker(&["volume", "ls", "--filter", &self.filter(), "--format", "{{.Name}}"])
    }

    /// Everything it has of workspaces: containers, networks, volumes. The agent's program is
    /// there for all of them, and stays.
    pub fn everything(&self) -> Vec<String> {
        let of_workspaces = |volume: &String| !volume.starts_with("berth-agent-");
        let volumes = self.volumes().into_iter().filter(of_workspaces).collect();
        [self.containers(), self.networks(), volumes].concat()
    }

    /// One field of a container, by a Go template.
    pub fn inspect(&self, container: &str, template: &str) -> String {
        docker(&["inspect", "--format", template, container]).join("\n")
    }

    /// What a command prints inside a container; panics when it fails.
    pub fn exec(&self, container: &str, user: &str, script: &str) -> String {
        docker(&["exec", "--user", user, container, "sh", "-lc", script]).join("\n")
    }

    /// Removes everything of the instance, for tests that failed half-way.
    pub fn clear(&self) {
        for container in self.containers() {
            let _ = run(&["rm", "--force", &container]);
        }
        for network in self.networks() {
            let _ = run(&["network", "rm", &network]);
        }
        for volume in self.volumes() {
            let _ = run(&["volume", "rm", "--force", &volume]);
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Runs docker and returns the lines it printed; panics when it fails.
pub fn docker(arguments: &[&str]) -> Vec<String> {
    let output = run(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Runs docker, however that ends.
pub fn run(arguments: &[&str]) -> std::process::Output {
    Command::new("docker").args(arguments).output().expect("docker does not start")
}
