//! `portforward`: connections to ports over a WebSocket, as kubelet speaks it.
//!
//! Port number `i` of the query has two channels, `2i` for its bytes and `2i + 1` for one error
//! text. The first message on each names the port, in two bytes, least significant first. A
//! client of version 5 can end its side of a port with [`super::channels::CLOSE`]; the server
//! closes the WebSocket once every port has ended.

use axum::{body::Body, response::Response};
use futures::{StreamExt, stream::SelectAll};
use http::Request;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio_util::io::ReaderStream;

use super::{
    agent::Agent,
    channels::{Gone, Handshake, Incoming, Receiver, Sender},
    gate::Admission,
    problem::Problem,
    query::Query,
};
use crate::gateway::access::Tunnel;

/// Most ports of one WebSocket.
const MOST_PORTS: usize = 16;
/// Bytes that are read from a port at a time.
const READ: usize = 32 << 10;

/// Opens connections to ports.
pub fn forward(agent: &Agent, mut request: Request<Body>, admission: Admission) -> Result<Response, Problem> {
    let ports = ports(request.uri().query())?;
    let handshake = Handshake::begin(&mut request)?;
    let agent = agent.clone();
    handshake.accept(move |sender, receiver| run(sender, receiver, agent, ports, admission))
}

fn ports(query: Option<&str>) -> Result<Vec<u16>, Problem> {
    let query = Query::parse(query, &["ports", "port"])?;
    let named: Vec<_> =
        query.all("ports").chain(query.all("port")).flat_map(|list| list.split(',')).collect();
    if named.is_empty() || named.len() > MOST_PORTS {
        return Err(Problem::invalid(format!("ports: from 1 to {MOST_PORTS} of them")));
    }
    named
        .iter()
        .map(|port| match port.parse() {
            Ok(0) | Err(_) => Err(Problem::invalid(format!("ports: {port:?} is no port, from 1 to 65535"))),
            Ok(port) => Ok(port),
        })
        .collect()
}

async fn run(
    mut sender: Sender,
    mut receiver: Receiver,
    agent: Agent,
    ports: Vec<u16>,
    admission: Admission,
) {
    let Ok((readers, mut writers)) = open(&mut sender, &agent, &ports).await else { return };
    tokio::select! {
        _ = down(&mut sender, readers) => {}
        () = up(&mut receiver, &mut writers) => {}
        _ = admission.until_revoked() => {}
    }
    sender.close().await;
}

type Readers = SelectAll<futures::stream::BoxStream<'static, Part>>;
/// What comes from a port: its place in the query, and bytes or how it ended.
type Part = (usize, std::io::Result<bytes::Bytes>);

async fn open(
    sender: &mut Sender,
    agent: &Agent,
    ports: &[u16],
) -> Result<(Readers, Vec<Option<WriteHalf<Tunnel>>>), Gone> {
    for (place, port) in ports.iter().enumerate() {
        for channel in [data(place), errors(place)] {
            sender.send(channel, &port.to_le_bytes()).await?;
        }
    }
    let mut readers = SelectAll::new();
    let mut writers = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        match sender.wait_for(agent.connect(*port)).await? {
            Ok(tunnel) => {
                let (reader, writer) = split(tunnel);
                readers.push(parts(place, reader));
                writers.push(Some(writer));
            }
            Err(problem) => {
                sender.send(errors(place), problem.message.as_bytes()).await?;
                writers.push(None);
            }
        }
    }
    Ok((readers, writers))
}

fn parts(place: usize, reader: ReadHalf<Tunnel>) -> futures::stream::BoxStream<'static, Part> {
    ReaderStream::with_capacity(reader, READ).map(move |part| (place, part)).boxed()
}

/// The channel of a port's bytes.
fn data(place: usize) -> u8 {
    u8::try_from(2 * place).unwrap_or(u8::MAX)
}

/// The channel of a port's error.
fn errors(place: usize) -> u8 {
    data(place).saturating_add(1)
}

/// From the ports to the client, until the last one ends.
async fn down(sender: &mut Sender, mut readers: Readers) -> Result<(), Gone> {
    while let Some((place, part)) = sender.wait_for(readers.next()).await? {
        match part {
            Ok(bytes) => sender.send(data(place), &bytes).await?,
            Err(error) => sender.send(errors(place), error.to_string().as_bytes()).await?,
        }
    }
    Ok(())
}

/// From the client to the ports, until it is gone.
async fn up(receiver: &mut Receiver, writers: &mut [Option<WriteHalf<Tunnel>>]) {
    while let Some(incoming) = receiver.next().await {
        let (channel, bytes) = match incoming {
            Incoming::Bytes(channel, bytes) => (channel, Some(bytes)),
            Incoming::Ended(channel) => (channel, None),
        };
        if channel % 2 == 1 {
            continue;
        }
        let Some(slot) = writers.get_mut(usize::from(channel / 2)) else { continue };
        let Some(writer) = slot else { continue };
        let written = match &bytes {
            Some(bytes) => writer.write_all(bytes).await,
            None => writer.shutdown().await,
        };
        if bytes.is_none() || written.is_err() {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn ports_are_named_one_by_one_or_in_a_list() {
        assert_eq!(ports(Some("ports=80,3000&ports=5173")).unwrap(), [80, 3000, 5173]);
    }

    #[rstest]
    #[case(None)]
    #[case(Some("ports=0"))]
    #[case(Some("ports=65536"))]
    #[case(Some("ports=http"))]
    #[case(Some("ports=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"))]
    fn other_ports_are_refused(#[case] query: Option<&str>) {
        assert!(ports(query).is_err());
    }
}
