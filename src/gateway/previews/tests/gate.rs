//! Who is let in.

use rstest::rstest;

use super::*;

async fn locked(access: Access) -> (Proxy, u16) {
    let port = mirror().await;
    let proxy = Proxy::before(port).await;
    proxy.world.set(Preview { access, ..preview(port) });
    (proxy, port)
}

fn password(password: &str) -> Access {
    Access::Password { bcrypt_hash: Some(bcrypt::hash(password, 4).unwrap()) }
}

fn form(path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Request::post(path).header("host", HOST).body(Body::from(body)).unwrap()
}

/// The cookie that an answer sets, as a client sends it.
fn cookie(response: &Response<Incoming>) -> String {
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
        "{cookie}"
    );
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_lets_in_until_it_changes() {
    let (proxy, port) = locked(password("open sesame")).await;
    let response = proxy.ask(nothing(get("/deep?x=1").header("accept", "text/html"))).await;
    assert_eq!(status(&response), 401);
    assert!(!response.headers().contains_key("www-authenticate"));
    let page = text(response).await;
    assert!(page.contains("action=\"/.berth/login\"") && page.contains("value=\"/deep?x=1\""), "{page}");

    let wrong = form("/.berth/login", &[("password", "wrong")]);
    assert_eq!(status(&proxy.ask(wrong).await), 401);

    let right = form("/.berth/login", &[("password", "open sesame"), ("next", "/deep?x=1")]);
    let response = proxy.ask(right).await;
    assert_eq!(status(&response), 303);
    assert_eq!(response.headers()["location"], "/deep?x=1");
    let cookie = cookie(&response);
    assert!(cookie.starts_with("berth-preview="), "{cookie}");

    let response = proxy.ask(nothing(get("/").header("cookie", &cookie))).await;
    assert_eq!(status(&response), 200);
    assert!(!text(response).await.contains("berth-preview"));

    proxy.world.set(Preview { access: password("another"), ..preview(port) });
    assert_eq!(status(&proxy.ask(nothing(get("/").header("cookie", &cookie))).await), 401);
}

#[tokio::test]
async fn through_tls_the_cookie_stays_on_its_host() {
    let (proxy, _) = locked(password("pw")).await;
    let peer = ([127, 0, 0, 1], 1).into();
    let response = proxy.previews.serve(form("/.berth/login", &[("password", "pw")]), peer, true).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-berth-preview=") && cookie.ends_with("; Secure"), "{cookie}");
}

#[tokio::test]
async fn programs_send_the_password_with_every_request() {
    let (proxy, _) = locked(password("pw")).await;
    let response = proxy.ask(nothing(get("/"))).await;
    assert_eq!(status(&response), 401);
    assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    // More often than wrong ones would be taken.
    for _ in 0..15 {
        let response = proxy.ask(nothing(get("/").header("authorization", "Basic YW5uOnB3"))).await;
        assert_eq!(status(&response), 200);
        assert!(!text(response).await.contains("authorization"));
    }
}

#[tokio::test]
async fn guessing_is_slow() {
    let (proxy, _) = locked(password("pw")).await;
    for _ in 0..10 {
        assert_eq!(status(&proxy.ask(form("/.berth/login", &[("password", "guess")])).await), 401);
    }
    let response = proxy.ask(form("/.berth/login", &[("password", "pw")])).await;
    assert_eq!(status(&response), 429);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn nobody_gets_in_while_the_password_is_not_known() {
    let (proxy, _) = locked(Access::Password { bcrypt_hash: None }).await;
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 503);
    assert_eq!(status(&proxy.ask(form("/.berth/login", &[("password", "")])).await), 503);
}

#[tokio::test]
async fn strangers_do_not_learn_how_a_locked_preview_is() {
    let (proxy, port) = locked(Access::Private).await;
    let availability = Availability::Starting("secret".to_owned());
    proxy.world.set(Preview { access: Access::Private, availability, ..preview(port) });
    assert_eq!(status(&proxy.ask(nothing(get("/"))).await), 401);
}

#[tokio::test]
async fn a_ticket_opens_a_private_preview() {
    let (proxy, _) = locked(Access::Private).await;
    let response = proxy.ask(nothing(get("/").header("accept", "text/html"))).await;
    assert_eq!(status(&response), 401);
    assert!(text(response).await.contains("kubectl berth open"));

    // To look at the address does not use the ticket up.
    let response = proxy.ask(nothing(get("/.berth/ticket?ticket=good"))).await;
    assert_eq!(status(&response), 200);
    assert!(!response.headers().contains_key("set-cookie"));
    assert!(text(response).await.contains("name=ticket value=\"good\""));

    let response = proxy.ask(form("/.berth/ticket", &[("ticket", "good")])).await;
    assert_eq!(status(&response), 303);
    let response = proxy.ask(nothing(get("/").header("cookie", cookie(&response)))).await;
    assert_eq!(status(&response), 200);
}

/// A private preview where it is asked so often who may see it, and Ann's cookie.
async fn opened(every: Duration) -> (Proxy, String) {
    let port = mirror().await;
    let proxy = Proxy::with(port, |settings| settings.authorize_every = every).await;
    proxy.world.set(Preview { access: Access::Private, ..preview(port) });
    let response = proxy.ask(form("/.berth/ticket", &[("ticket", "good")])).await;
    assert_eq!(status(&response), 303);
    (proxy, cookie(&response))
}

#[tokio::test]
async fn who_had_a_ticket_is_in_only_as_long_as_they_may() {
    let (proxy, cookie) = opened(Duration::ZERO).await;
    let ask = || proxy.ask(nothing(get("/").header("cookie", &cookie)));
    assert_eq!(status(&ask().await), 200);
    *proxy.world.say.lock().unwrap() = Say::Nothing;
    assert_eq!(status(&ask().await), 200, "who was in stays in while nobody can say");
    *proxy.world.say.lock().unwrap() = Say::No;
    assert_eq!(status(&ask().await), 401);
    *proxy.world.say.lock().unwrap() = Say::Nothing;
    assert_eq!(status(&ask().await), 503, "who was last sent away does not come in by that");
    *proxy.world.say.lock().unwrap() = Say::Yes;
    assert_eq!(status(&ask().await), 200);
}

#[tokio::test]
async fn it_is_not_asked_for_every_request() {
    let (proxy, cookie) = opened(Duration::from_secs(120)).await;
    for _ in 0..5 {
        assert_eq!(status(&proxy.ask(nothing(get("/").header("cookie", &cookie))).await), 200);
    }
    assert_eq!(proxy.world.asked.load(Ordering::Relaxed), 1);
}

#[rstest]
#[case("bad", 401)]
#[case("", 401)]
#[case("later", 503)]
#[tokio::test]
async fn other_tickets_open_nothing(#[case] ticket: &str, #[case] expected: u16) {
    let (proxy, _) = locked(Access::Private).await;
    let response = proxy.ask(form("/.berth/ticket", &[("ticket", ticket)])).await;
    assert_eq!(status(&response), expected);
    assert!(!response.headers().contains_key("set-cookie"));
}

#[rstest]
#[case::cookie("cookie", "berth-preview=9999999999.AAAA")]
#[case::basic("authorization", "Basic YTpi")]
#[tokio::test]
async fn a_private_preview_takes_nothing_else(#[case] name: &str, #[case] value: &str) {
    let (proxy, _) = locked(Access::Private).await;
    assert_eq!(status(&proxy.ask(nothing(get("/").header(name, value))).await), 401);
}

#[tokio::test]
async fn a_form_that_is_too_long_is_not_read() {
    let (proxy, _) = locked(password("pw")).await;
    let response = proxy.ask(form("/.berth/login", &[("password", &"x".repeat(9000))])).await;
    assert_eq!(status(&response), 400);
}

#[tokio::test]
async fn our_paths_are_never_passed_on() {
    let proxy = Proxy::before(mirror().await).await;
    assert_eq!(status(&proxy.ask(nothing(get("/.berth/else"))).await), 404);
    assert_eq!(status(&proxy.ask(form("/.berth/login", &[])).await), 404);
    assert_eq!(proxy.world.connections.load(Ordering::Relaxed), 0);
}
