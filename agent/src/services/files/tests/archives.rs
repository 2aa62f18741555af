use std::io::Write;

use bytes::Bytes;
use tar::{Builder, EntryType, Header};

use super::*;

const ROUTE: &str = "/v1/files/archive?path=";

fn archive(kind: EntryType, name: &str, target: &str, content: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    // By hand: the crate refuses to write names that lead out.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut archive = Builder::new(Vec::new());
    archive.append(&header, content.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

async fn put(house: &House, path: &str, archive: Vec<u8>) -> Response {
    house.ask(Method::PUT, &format!("{ROUTE}{path}"), archive).await
}

#[tokio::test]
async fn a_folder_is_the_same_after_a_journey() {
    let house = House::new();
    let long = "long".repeat(50);
    fs::create_dir_all(house.path("workspace/from/sub")).unwrap();
    fs::write(house.path("workspace/from/sub").join(&long), vec![7; 200_000]).unwrap();
    fs::write(house.path("workspace/from/empty"), "").unwrap();
    symlink("/etc/passwd", house.path("workspace/from/link")).unwrap();
    let response = house.get(&format!("{ROUTE}from")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let archive = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(put(&house, "to/new", archive.to_vec()).await.status(), StatusCode::NO_CONTENT);
    let to = house.path("workspace/to/new");
    assert_eq!(fs::read(to.join("sub").join(&long)).unwrap(), vec![7; 200_000]);
    assert_eq!(fs::read(to.join("empty")).unwrap(), b"");
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
}

#[tokio::test]
async fn an_archive_of_another_program_is_unpacked() {
    let house = House::new();
    fs::create_dir(house.path("tmp/from")).unwrap();
    let name = "é".repeat(90);
    fs::write(house.path("tmp/from").join(&name), "content").unwrap();
    let made = std::process::Command::new("tar")
        .args(["--format=posix", "-c", "-C"])
        .arg(house.path("tmp/from"))
        .arg(".")
        .output()
        .unwrap();
    assert_eq!(put(&house, ".", made.stdout).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(fs::read_to_string(house.path("workspace").join(&name)).unwrap(), "content");
}

#[rstest]
#[case(EntryType::Regular, "/etc/new", "", 403)]
#[case(EntryType::Regular, "../outside/new", "", 403)]
#[case(EntryType::Regular, "a/../../outside/new", "", 403)]
#[case(EntryType::Regular, "out/new", "", 403)]
#[case(EntryType::Directory, "out/new", "", 403)]
#[case(EntryType::Symlink, "out/new", "a", 403)]
#[case(EntryType::Link, "new", "../outside/secret", 403)]
#[case(EntryType::Link, "new", "/etc/passwd", 403)]
#[case(EntryType::Link, "new", "out/secret", 403)]
#[case(EntryType::Char, "null", "", 400)]
#[case(EntryType::Fifo, "pipe", "", 400)]
#[tokio::test]
async fn an_archive_does_not_lead_out(
    #[case] kind: EntryType,
    #[case] name: &str,
    #[case] target: &str,
    #[case] status: u16,
) {
    let house = House::new();
    symlink("../outside", house.path("workspace/out")).unwrap();
    let content = if kind == EntryType::Regular { "content" } else { "" };
    assert_eq!(code(put(&house, ".", archive(kind, name, target, content)).await).await.0, status);
    assert_eq!(fs::read_dir(house.path("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(house.path("workspace")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_takes_the_place_of_a_link_rather_than_being_written_through_it() {
    let house = House::new();
    symlink(house.path("outside/secret"), house.path("workspace/a")).unwrap();
    let answer = put(&house, ".", archive(EntryType::Regular, "a", "", "content")).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(fs::read_to_string(house.path("workspace/a")).unwrap(), "content");
    assert_eq!(mode(&house.path("workspace/a")), 0o640);
    assert_eq!(fs::read_to_string(house.path("outside/secret")).unwrap(), "secret");
}

#[rstest]
#[case(vec![b'x'; 2_000])]
#[case(archive(EntryType::Regular, "a", "", &"x".repeat(5_000))[..2_000].to_vec())]
#[case(archive(EntryType::GNULongName, "a", "", &"x".repeat(100_000)))]
#[tokio::test]
async fn some_bytes_are_no_archive(#[case] bytes: Vec<u8>) {
    assert_eq!(code(put(&House::new(), ".", bytes).await).await, (400, "Invalid".to_owned()));
}

#[tokio::test]
async fn an_archive_larger_than_all_buffers_streams() {
    let house = House::new();
    let mut file = fs::File::create(house.path("workspace/large")).unwrap();
    (0..64).for_each(|_| file.write_all(&[1; 1 << 16]).unwrap());
    let body: Bytes = house.get(&format!("{ROUTE}.")).await.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() > 4 << 20);
}
