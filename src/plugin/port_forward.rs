//! `port-forward`: ports of this machine that lead to ports of a workspace. Each connection is a
//! WebSocket of its own.

use std::{net::IpAddr, str::FromStr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{channels, client::Cluster, exit::Failure, local, table::plain};

/// Channel of a port's bytes, where there is one port.
const DATA: u8 = 0;
/// Channel of its error.
const ERROR: u8 = 1;

/// A port of this machine and the port of the workspace that it leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortPair {
    /// The port here; 0 is any free one.
    pub local: u16,
    /// The port there.
    pub remote: u16,
}

impl FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port =
            |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port, from 1 to 65535"));
        let pair = match text.split_once(':') {
            None => {
                let both = port(text)?;
                Self { local: both, remote: both }
            }
            Some(("", remote)) => Self { local: 0, remote: port(remote)? },
            Some((local, remote)) => Self { local: port(local)?, remote: port(remote)? },
        };
        if pair.remote == 0 { Err("the port of the workspace can not be 0".to_owned()) } else { Ok(pair) }
    }
}

/// Forwards until it is interrupted.
pub async fn run(
    cluster: &Cluster,
    workspace: &str,
    address: IpAddr,
    pairs: &[PortPair],
) -> Result<u8, Failure> {
    let mut forwards = JoinSet::new();
    for pair in pairs {
        let listener = TcpListener::bind((address, pair.local)).await.map_err(|error| {
            Failure::failed(format!("port {} of this machine can not be listened on: {error}", pair.local))
        })?;
        local::line(&format!("Forwarding from {} to port {}", listener.local_addr()?, pair.remote))?;
        forwards.spawn(serve(cluster.clone(), workspace.to_owned(), listener, pair.remote));
    }
    tokio::select! {
        Some(ended) = forwards.join_next() => ended.map_err(|error| Failure::failed(error.to_string()))?,
        _ = tokio::signal::ctrl_c() => Ok(0),
    }
}

async fn serve(cluster: Cluster, workspace: String, listener: TcpListener, port: u16) -> Result<u8, Failure> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let (cluster, workspace) = (cluster.clone(), workspace.clone());
                connections.spawn(async move {
                    if let Err(failure) = carry(&cluster, &workspace, stream, port).await {
                        local::note(&format!("port {port}: {}", failure.text()));
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until both of its sides have ended.
async fn carry(cluster: &Cluster, workspace: &str, stream: TcpStream, port: u16) -> Result<(), Failure> {
    let query = [("ports", port.to_string())];
    let (mut sender, mut receiver) =
        channels::open(&cluster.workspace(workspace), "portforward", &query).await?;
    let (mut reader, mut writer) = stream.into_split();
    let up = async {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            if sender.send(DATA, &buffer[..length]).await.is_err() {
                break;
            }
        }
        let _ = sender.end(DATA).await;
        std::future::pending::<()>().await;
    };
    let down = async {
        // The first message on each channel names the port.
        let mut named = [false; 2];
        while let Some((channel, bytes)) = receiver.next().await {
            match (channel, named.get_mut(usize::from(channel))) {
                (_, Some(named)) if !*named => *named = true,
                (DATA, _) => writer.write_all(&bytes).await?,
                (ERROR, _) => return Err(Failure::failed(plain(&String::from_utf8_lossy(&bytes)))),
                _ => {}
            }
        }
        Ok(writer.shutdown().await?)
    };
    tokio::select! {
        ended = down => ended,
        () = up => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("80", Ok((80, 80)))]
    #[case("8080:80", Ok((8080, 80)))]
    #[case(":80", Ok((0, 80)))]
    #[case("0:80", Ok((0, 80)))]
    #[case("0", Err(()))]
    #[case("80:0", Err(()))]
    #[case("80:", Err(()))]
    #[case("http", Err(()))]
    #[case("65536", Err(()))]
    #[case("1:2:3", Err(()))]
    fn ports_are_paired(#[case] text: &str, #[case] expected: Result<(u16, u16), ()>) {
        let pair = text.parse::<PortPair>().map(|pair| (pair.local, pair.remote)).map_err(|_| ());
        assert_eq!(pair, expected);
    }
}
