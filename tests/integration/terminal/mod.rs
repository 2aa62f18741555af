//! The terminal page in a real browser: headless Chromium, driven over the DevTools protocol, with
//! a server of the test's own behind `attach` that echoes and can be cut.

mod browser;
mod echo;

use std::{sync::Arc, time::Duration};

use berth::gateway::{
    terminal::TerminalPage,
    tickets::{Grant, Sessions, Tickets},
};
use tokio::net::TcpListener;

use browser::Browser;
use echo::Echo;

use crate::support::eventually;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the terminal shows, line by line.
const SHOWN: &str = "Array.from({length: terminal.buffer.active.length}, (_, line) => terminal.buffer.active.getLine(line).translateToString(true)).join('\\n').trim()";

fn grant() -> Grant {
    Grant {
        user: "ann".to_owned(),
        user_uid: None,
        groups: Vec::new(),
        namespace: "team".to_owned(),
        workspace: "a".to_owned(),
        workspace_uid: "u".to_owned(),
        subresource: "attach".to_owned(),
    }
}

/// Waits until the terminal shows this, and nothing else.
async fn shows(browser: &mut Browser, expected: &str) {
    becomes(browser, SHOWN, expected).await;
}

/// Waits until the status line says this.
async fn says(browser: &mut Browser, expected: &str) {
    becomes(browser, "document.getElementById('state').textContent", expected).await;
}

async fn becomes(browser: &mut Browser, expression: &str, expected: &str) {
    let started = std::time::Instant::now();
    loop {
        let shown = browser.evaluate(expression).await;
        if shown.as_str() == Some(expected) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "shown: {shown:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_typed_and_seen_once_over_a_cut_connection() {
    let tickets = Arc::new(Tickets::new(&[3; 32]).unwrap());
    let page = TerminalPage {
        tickets: Arc::clone(&tickets),
        sessions: Sessions::new(&[3; 32]).unwrap(),
        secure: false,
    };
    let echo = Echo::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = page.router().merge(echo.router());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let ticket = tickets.mint(grant(), jiff::Timestamp::now()).unwrap();
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{address}/terminal/team/a#ticket={ticket}")).await;
    shows(&mut browser, "welcome").await;
    let fragment = browser.evaluate("location.hash").await;
    assert_eq!(fragment.as_str(), Some(""), "the ticket does not stay in the address");
    let before = echo.size();
    assert!(before.0 > 10 && before.1 > 3, "{before:?}");

    browser.type_text("hello").await;
    shows(&mut browser, "welcomehello").await;

    browser.resize(500, 300).await;
    eventually(PATIENCE, "the size changes", || async {
        if echo.size() == before { Err(before) } else { Ok(()) }
    })
    .await;

    echo.cut();
    echo.write(b"-meanwhile-");
    shows(&mut browser, "welcomehello-meanwhile-").await;
    eventually(PATIENCE, "the page comes back", || async {
        if echo.joined() == 2 { Ok(()) } else { Err(echo.joined()) }
    })
    .await;
    // What is typed while there is no connection goes nowhere.
    says(&mut browser, "connected").await;
    browser.type_text("again").await;
    shows(&mut browser, "welcomehello-meanwhile-again").await;
    assert_eq!(echo.joined(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ticket_the_page_says_how_to_get_one() {
    let page = TerminalPage {
        tickets: Arc::new(Tickets::new(&[3; 32]).unwrap()),
        sessions: Sessions::new(&[3; 32]).unwrap(),
        secure: false,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = page.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut browser = Browser::start().await;
    browser.open(&format!("http://{address}/terminal/team/a")).await;
    says(&mut browser, "not logged in; run: kubectl berth open --terminal a -n team").await;
}
