use std::os::unix::fs::PermissionsExt;

use super::*;

async fn put(house: &House, query: &str, content: &str) -> Response {
    house.ask(Method::PUT, &format!("/v1/files?path={query}"), content.to_owned()).await
}

async fn delete(house: &House, query: &str) -> Response {
    house.ask(Method::DELETE, &format!("/v1/files?path={query}"), Body::empty()).await
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_is_written_with_the_folders_above_it() {
    let house = House::new();
    assert_eq!(put(&house, "a/b/c", "content").await.status(), StatusCode::NO_CONTENT);
    let path = house.path("workspace/a/b/c");
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
    assert_eq!(mode(&path), 0o644);
    assert_eq!(names(&house.path("workspace/a/b")), ["c"]);
}

#[rstest]
#[case("a", 0o750)]
#[case("a%26mode", 0o644)]
#[case("a&mode=600", 0o600)]
#[tokio::test]
async fn permissions_are_kept_or_given(#[case] query: &str, #[case] expected: u32) {
    let house = House::new();
    let path = house.path("workspace/a");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    put(&house, query, "new").await;
    assert_eq!(
        mode(&house.path(&format!("workspace/{}", query.split('&').next().unwrap().replace("%26", "&")))),
        expected
    );
}

#[rstest]
#[case("888")]
#[case("4755")]
#[case("-1")]
#[case("")]
#[tokio::test]
async fn some_texts_are_no_permissions(#[case] digits: &str) {
    let answer = code(put(&House::new(), &format!("a&mode={digits}"), "").await).await;
    assert_eq!(answer, (400, "Invalid".to_owned()));
}

#[tokio::test]
async fn a_file_is_written_only_while_it_is_what_it_was() {
    let house = House::new();
    let tag = |response: Response| response.headers()[header::ETAG].to_str().unwrap().replace('"', "%22");
    let first = tag(put(&house, "a&ifMatch=*", "one").await);
    assert_eq!(first, tag(house.get("/v1/files?path=a").await), "what was written is what is read");
    assert_eq!(code(put(&house, "a&ifMatch=*", "two").await).await.0, 412);
    let second = tag(put(&house, &format!("a&ifMatch={first}"), "two").await);
    assert_eq!(code(put(&house, &format!("a&ifMatch={first}"), "three").await).await.0, 412);
    assert_eq!(code(put(&house, &format!("b&ifMatch={second}"), "three").await).await.0, 412);
    assert_eq!(code(delete(&house, &format!("a&ifMatch={first}")).await).await.0, 412);
    assert_eq!(fs::read_to_string(house.path("workspace/a")).unwrap(), "two");
    assert_eq!(names(&house.path("workspace")), ["a"]);
}

#[tokio::test]
async fn half_a_file_is_nothing() {
    let house = House::new();
    let broken = futures::stream::iter([Ok("half"), Err(std::io::Error::other("broken"))]);
    let answer = house.ask(Method::PUT, "/v1/files?path=a", Body::from_stream(broken)).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(names(&house.path("workspace")).is_empty());
}

#[tokio::test]
async fn what_a_link_points_to_is_written_and_the_link_is_deleted() {
    let house = House::new();
    fs::write(house.path("workspace/file"), "old").unwrap();
    symlink("file", house.path("workspace/link")).unwrap();
    put(&house, "link", "new").await;
    assert_eq!(fs::read_to_string(house.path("workspace/file")).unwrap(), "new");
    assert!(house.path("workspace/link").is_symlink());
    assert_eq!(delete(&house, "link").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(names(&house.path("workspace")), ["file"]);
}

#[rstest]
#[case("folder", 409, "NotAFile")]
#[case("folder/file/below", 409, "NotAFolder")]
#[case(".", 409, "NotAFile")]
#[case("out/new", 403, "PathNotAllowed")]
#[case("secret", 403, "PathNotAllowed")]
#[case("../outside/new", 403, "PathNotAllowed")]
#[tokio::test]
async fn some_things_can_not_be_written(#[case] path: &str, #[case] status: u16, #[case] expected: &str) {
    let house = House::new();
    fs::create_dir(house.path("workspace/folder")).unwrap();
    fs::write(house.path("workspace/folder/file"), "").unwrap();
    symlink("../outside", house.path("workspace/out")).unwrap();
    symlink("../outside/secret", house.path("workspace/secret")).unwrap();
    assert_eq!(code(put(&house, path, "new").await).await, (status, expected.to_owned()));
    assert_eq!(names(&house.path("outside")), ["secret"]);
    assert_eq!(names(&house.path("workspace")), ["folder", "out", "secret"]);
    assert_eq!(fs::read_to_string(house.path("outside/secret")).unwrap(), "secret");
}

#[tokio::test]
async fn a_full_folder_is_deleted_only_when_that_is_asked() {
    let house = House::new();
    put(&house, "a/b", "").await;
    symlink(house.path("outside"), house.path("workspace/a/out")).unwrap();
    assert_eq!(code(delete(&house, "a").await).await, (409, "NotEmpty".to_owned()));
    assert_eq!(delete(&house, "a&recursive=true").await.status(), StatusCode::NO_CONTENT);
    assert!(names(&house.path("workspace")).is_empty());
    assert_eq!(names(&house.path("outside")), ["secret"]);
}

#[rstest]
#[case("nothing", 404)]
#[case(".&recursive=true", 403)]
#[case("out/secret", 403)]
#[case("../outside/secret", 403)]
#[tokio::test]
async fn some_things_can_not_be_deleted(#[case] path: &str, #[case] status: u16) {
    let house = House::new();
    symlink("../outside", house.path("workspace/out")).unwrap();
    assert_eq!(code(delete(&house, path).await).await.0, status);
    assert_eq!(names(&house.path("outside")), ["secret"]);
}
