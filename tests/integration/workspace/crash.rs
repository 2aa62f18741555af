//! The operator is killed when Docker has done what was asked, and nobody has written that down.

use rstest::rstest;
use serde_json::json;

use crate::{
    lifecycle::{DockerStage, Stage},
    support::objects::*,
};

#[rstest]
#[case::container_made("create", 1, false)]
#[case::container_made_and_status_lost("create", 1, true)]
#[case::container_started("start", 1, false)]
#[case::first_command_begins("exec_start", 1, false)]
#[case::first_command_ends("exec_die", 1, false)]
#[case::a_later_command_begins("exec_start", 3, false)]
#[tokio::test(flavor = "multi_thread")]
async fn killed_after_a_change_on_docker_it_goes_on_with_the_same_container(
    #[case] action: &'static str,
    #[case] count: usize,
    #[case] is_status_lost: bool,
) {
    let mut stage = DockerStage::open("crash", json!({})).await;
    stage.make().await;
    stage.creations.happened(action, count).await;
    stage.kill().await;
    if is_status_lost {
        lose_status(stage.namespace(), "one").await;
    }
    stage.restart().await;
    let made = ready(stage.namespace(), "one").await;
    stage.assert_body(&made);
    stage.assert_inside(&made);
    assert_eq!(stage.ever_made().await, 1);
    stage.remove().await;
    stage.close().await;
}
