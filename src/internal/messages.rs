//! What gateways and leader tell each other: one JSON object a line.

use berth_link::wire::process::DesiredProcesses;
use serde::{Deserialize, Serialize};

use crate::{backend::BodyId, link::hub::Report};

/// From a gateway to the leader. The first is [`Up::Hello`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Up {
    /// Who it is.
    Hello {
        /// Name of the replica.
        gateway: String,
        /// Where other replicas reach it: host and port.
        address: String,
    },
    /// Something about an agent.
    Report(Report),
}

/// From the leader to a gateway.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Down {
    /// The processes of a workspace, all of them; absent: nothing is said of them any more.
    Processes {
        /// The workspace.
        id: BodyId,
        /// The processes.
        desired: Option<DesiredProcesses>,
    },
    /// The bcrypt hash of the password of a preview; absent: it has none.
    Password {
        /// Host name of the preview.
        host: String,
        /// The hash.
        hash: Option<String>,
    },
    /// A gateway holds the link of an agent.
    Held {
        /// The workspace.
        id: BodyId,
        /// Where that gateway is reached; absent: none holds it any more.
        address: Option<String>,
    },
}
