//! What was ever made on the Docker host, also what is already gone again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use crate::support::{
    docker::{docker, run},
    eventually,
    objects::IMAGE,
    word,
};

/// Events of what carries one operator's mark, from the start of this on.
pub struct Creations {
    instance: String,
    seen: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl Creations {
    /// Begins to listen.
    pub fn of(instance: &str) -> Self {
        let since = jiff::Timestamp::now().as_second().to_string();
        let mut child = Command::new("docker")
            .args(["events", "--since", &since, "--filter", "type=container"])
            .args(["--filter", &format!("label=berth.dev/instance={instance}")])
            .args(["--format", "{{.Action}} {{.Actor.Attributes.name}}"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker does not start");
        let lines = BufReader::new(child.stdout.take().expect("it has an output")).lines();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().expect("a test panicked").push(line);
            }
        });
        Self { instance: instance.to_owned(), seen, child }
    }

    /// Names of all containers made so far, in the order in which they were made.
    pub async fn containers(&self) -> Vec<String> {
        // Events come in order: when that of a container made now is here, so are all before it.
        let last = format!("berth-test-last-{}", word());
        let label = format!("berth.dev/instance={}", self.instance);
        docker(&["create", "--name", &last, "--label", &label, IMAGE]);
        let made = eventually(Duration::from_secs(20), "Docker tells of all containers", || async {
            let made = self.made();
            if made.contains(&last) { Ok(made) } else { Err(made) }
        })
        .await;
        let _ = run(&["rm", "--force", &last]);
        made.into_iter().filter(|name| !name.starts_with("berth-test-last-")).collect()
    }

    /// Waits until something happened to its containers for the n-th time.
    pub async fn happened(&self, action: &str, count: usize) {
        eventually(Duration::from_secs(60), &format!("{action} happens {count} times"), || async {
            let seen = self.seen.lock().expect("a test panicked").clone();
            let found = seen.iter().filter(|line| line.split([' ', ':']).next() == Some(action)).count();
            if found >= count { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    fn made(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("a test panicked");
        seen.iter().filter_map(|line| line.strip_prefix("create ")).map(str::to_owned).collect()
    }
}

impl Drop for Creations {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
