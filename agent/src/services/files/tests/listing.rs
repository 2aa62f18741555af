use berth_link::wire::files::{EntryKind, Listing};

use super::*;

async fn list(house: &House, path: &str) -> Listing {
    serde_json::from_str(&text(house.get(&format!("/v1/files/list?path={path}")).await).await).unwrap()
}

#[tokio::test]
async fn entries_stand_in_order_with_what_they_are() {
    let house = House::new();
    fs::create_dir(house.path("workspace/folder")).unwrap();
    fs::write(house.path("workspace/a"), "four").unwrap();
    symlink("/nowhere", house.path("workspace/link")).unwrap();
    let listing = list(&house, ".").await;
    let seen: Vec<_> = listing.entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
    assert_eq!(seen, [("a", EntryKind::File), ("folder", EntryKind::Folder), ("link", EntryKind::Link)]);
    assert_eq!((listing.entries[0].size, listing.entries[0].mode.as_str()), (4, "644"));
    assert!(listing.entries[0].modified_at.is_some());
    assert_eq!(listing.entries[2].target.as_deref(), Some("/nowhere"));
    assert!(!listing.truncated);
}

#[tokio::test]
async fn a_list_has_an_end() {
    let house = House::new();
    (0..=10_000)
        .for_each(|number| drop(fs::File::create(house.path(&format!("workspace/{number}"))).unwrap()));
    let listing = list(&house, ".").await;
    assert_eq!((listing.entries.len(), listing.truncated), (10_000, true));
}

#[rstest]
#[case("nothing", 404, "NotFound")]
#[case("file", 409, "NotAFolder")]
#[case("out", 403, "PathNotAllowed")]
#[tokio::test]
async fn some_things_can_not_be_listed(#[case] path: &str, #[case] status: u16, #[case] expected: &str) {
    let house = House::new();
    fs::write(house.path("workspace/file"), "").unwrap();
    symlink(house.path("outside"), house.path("workspace/out")).unwrap();
    let answer = code(house.get(&format!("/v1/files/list?path={path}")).await).await;
    assert_eq!(answer, (status, expected.to_owned()));
}
