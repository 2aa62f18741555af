use super::*;

#[rstest]
#[case("", "0123456789")]
#[case("&offset=3", "3456789")]
#[case("&limit=3", "012")]
#[case("&offset=3&limit=4", "3456")]
#[case("&offset=3&limit=400", "3456789")]
#[case("&offset=10", "")]
#[case("&offset=4000", "")]
#[tokio::test]
async fn a_file_is_read_in_part(#[case] part: &str, #[case] expected: &str) {
    let house = House::new();
    fs::write(house.path("workspace/a"), "0123456789").unwrap();
    let response = house.get(&format!("/v1/files?path=a{part}")).await;
    assert_eq!(response.headers()[header::CONTENT_LENGTH], expected.len().to_string());
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn another_content_has_another_tag() {
    let house = House::new();
    let tag = async || house.get("/v1/files?path=a").await.headers()[header::ETAG].clone();
    fs::write(house.path("workspace/a"), "one").unwrap();
    let (first, again) = (tag().await, tag().await);
    fs::write(house.path("workspace/b"), "two").unwrap();
    fs::rename(house.path("workspace/b"), house.path("workspace/a")).unwrap();
    assert_eq!(first, again);
    assert_ne!(first, tag().await);
}

#[rstest]
#[case("nothing", 404, "NotFound")]
#[case(".", 409, "NotAFile")]
#[case("pipe", 409, "NotAFile")]
#[case("file/below", 409, "NotAFolder")]
#[case("../outside/secret", 403, "PathNotAllowed")]
#[case("out/secret", 403, "PathNotAllowed")]
#[case("out-relative/secret", 403, "PathNotAllowed")]
#[case("secret", 403, "PathNotAllowed")]
#[case("loop", 400, "Invalid")]
#[tokio::test]
async fn some_things_can_not_be_read(#[case] path: &str, #[case] status: u16, #[case] expected: &str) {
    let house = House::new();
    fs::write(house.path("workspace/file"), "").unwrap();
    symlink(house.path("outside"), house.path("workspace/out")).unwrap();
    symlink("../outside", house.path("workspace/out-relative")).unwrap();
    symlink(house.path("outside/secret"), house.path("workspace/secret")).unwrap();
    symlink("loop", house.path("workspace/loop")).unwrap();
    nix::unistd::mkfifo(&house.path("workspace/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let answer = code(house.get(&format!("/v1/files?path={path}")).await).await;
    assert_eq!(answer, (status, expected.to_owned()));
}

#[tokio::test]
async fn a_link_that_stays_is_followed() {
    let house = House::new();
    fs::create_dir(house.path("workspace/folder")).unwrap();
    fs::write(house.path("workspace/folder/file"), "content").unwrap();
    symlink("folder/../folder", house.path("workspace/link")).unwrap();
    let response = house.get("/v1/files?path=link/file").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "content");
}
