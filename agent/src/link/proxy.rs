//! The way to the gateway through an HTTP proxy: CONNECT, and then bytes as without one.

use std::io;

use axum::body::Body;
use http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::{
    client::proxy::matcher::{Intercept, Matcher},
    rt::TokioIo,
};

use super::dial::{Connection, direct};
use crate::config::Proxy;

/// The proxies that the settings name.
pub struct Proxies(Matcher);

impl Proxies {
    /// None where the settings name none.
    pub fn new(settings: Option<&Proxy>) -> Self {
        let settings = settings.cloned().unwrap_or_default();
        let matcher = Matcher::builder()
            .http(settings.http.unwrap_or_default())
            .https(settings.https.unwrap_or_default())
            .no(settings.no_proxy.unwrap_or_default());
        Self(matcher.build())
    }

    /// The proxy before a host and port that is reached with TLS or without.
    pub fn on_the_way_to(&self, place: &str, secure: bool) -> Option<Intercept> {
        let scheme = if secure { "https" } else { "http" };
        let gateway = Uri::builder().scheme(scheme).authority(place).path_and_query("/").build().ok()?;
        self.0.intercept(&gateway)
    }
}

/// Connects to a host and port by way of a proxy.
pub async fn through(proxy: &Intercept, place: &str) -> io::Result<Box<dyn Connection>> {
    let uri = proxy.uri();
    let host = uri.host().unwrap_or_default();
    if uri.scheme_str() != Some("http") {
        return Err(io::Error::other(format!("the proxy {host} is none that is spoken to in plain HTTP")));
    }
    let about = |error: String| io::Error::other(format!("through the proxy {host}: {error}"));
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let stream = direct(&address).await.map_err(|error| about(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| about(error.to_string()))?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::connect(place).header(header::HOST, place);
    if let Some(credentials) = proxy.basic_auth() {
        request = request.header(header::PROXY_AUTHORIZATION, credentials);
    }
    let request = request.body(Body::empty()).map_err(|error| about(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| about(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(about(format!("it answered {}", answer.status())));
    }
    let tunnel = hyper::upgrade::on(answer).await.map_err(|error| about(error.to_string()))?;
    Ok(Box::new(TokioIo::new(tunnel)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rstest::rstest;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn proxies(proxy: &str, no_proxy: Option<&str>) -> Proxies {
        let proxy = Some(proxy.to_owned());
        let no_proxy = no_proxy.map(str::to_owned);
        Proxies::new(Some(&Proxy { http: proxy.clone(), https: proxy, no_proxy }))
    }

    #[rstest]
    #[case::named("berth.example.com:443", None, true)]
    #[case::itself("berth.example.com:443", Some("localhost,berth.example.com"), false)]
    #[case::domain("berth.example.com:443", Some(".example.com"), false)]
    #[case::network("10.1.2.3:8480", Some("10.0.0.0/8"), false)]
    #[case::another_network("10.1.2.3:8480", Some("192.168.0.0/16"), true)]
    #[case::everything("berth.example.com:443", Some("*"), false)]
    fn hosts_without_a_proxy_are_reached_directly(
        #[case] place: &str,
        #[case] no_proxy: Option<&str>,
        #[case] proxied: bool,
    ) {
        let proxies = proxies("http://proxy:3128", no_proxy);
        for secure in [true, false] {
            assert_eq!(proxies.on_the_way_to(place, secure).is_some(), proxied);
        }
        assert!(Proxies::new(None).on_the_way_to(place, true).is_none());
    }

    /// A proxy, and the lines of the requests that it got. It lets through who shows the password.
    async fn small_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut request = Vec::new();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if line.trim().is_empty() {
                        break;
                    }
                    request.push(line.trim().to_owned());
                }
                let place = request[0].split(' ').nth(1).unwrap().to_owned();
                let known = request.iter().any(|line| line == "proxy-authorization: Basic bWU6cHc=");
                lines.lock().unwrap().extend(request);
                if !known {
                    let no = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(no).await.unwrap();
                    continue;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut gateway = TcpStream::connect(place).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut stream, &mut gateway).await });
            }
        });
        (address, seen)
    }

    /// Says back what it hears.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await
        });
        address
    }

    #[tokio::test]
    async fn bytes_go_through_the_proxy_as_without_one() {
        let ((proxy, seen), gateway) = (small_proxy().await, echo().await);
        let way = proxies(&format!("http://me:pw@{proxy}"), None).on_the_way_to(&gateway, false).unwrap();
        let mut stream = through(&way, &gateway).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        assert_eq!(seen.lock().unwrap()[0], format!("CONNECT {gateway} HTTP/1.1"));
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_without_its_password() {
        let (proxy, _) = small_proxy().await;
        let way =
            proxies(&format!("http://me:wrong@{proxy}"), None).on_the_way_to("gateway:1", true).unwrap();
        let error = through(&way, "gateway:1").await.err().unwrap().to_string();
        assert!(error.contains("through the proxy 127.0.0.1") && error.contains("407"), "{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
}
